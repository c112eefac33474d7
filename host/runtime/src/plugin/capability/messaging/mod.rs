//! `wasmcloud:messaging`: components that were written for wasmCloud run as handlers. Here is version 0.2.0; 0.3.0, the
//! asynchronous form, is in [`streamed`].
//!
//! Such a component exports `handler` of that package, and may import `consumer`. What it publishes in a call is kept
//! until the call has ended: with `ok` it becomes the call's [`Response`](crate::contract::Response), else it is
//! dropped. What it asks is asked at once.

mod access;
mod body;
mod call;
mod held_bytes;
mod refused;
mod state;
mod streamed;

use wasmtime::component::{ComponentType, HasData, Linker, Lower, TypedFunc};

pub(crate) use access::MessagingAccess;
pub(crate) use state::MessagingState;
pub(crate) use streamed::{HandleStreamed, STREAMED_HANDLER, handle, link_streamed};

use crate::contract::Delivery;
use generated::wasmcloud::messaging::{consumer, types};

/// The interface that such a component exports, in the version that this host has.
pub(crate) const HANDLER: &str = "wasmcloud:messaging/handler@0.2.0";
/// Its function.
pub(crate) const HANDLE: &str = "handle-message";

#[allow(missing_docs, clippy::pedantic)]
mod generated {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "
            package tidegate:messaging;
            world guest {
                import wasmcloud:messaging/consumer@0.2.0;
            }
        ",
        world: "tidegate:messaging/guest",
        imports: { default: async | trappable },
    });
}

/// The function of such a component. Typed here, and not by generated bindings, so that a payload is copied once.
pub(crate) type HandleMessage = TypedFunc<(Message<'static>,), (Result<(), String>,)>;

/// A delivery as `broker-message`.
#[derive(ComponentType, Lower)]
#[component(record)]
#[allow(unreachable_pub, reason = "the type of an instance's exports has it")]
pub struct Message<'a> {
    subject: &'a str,
    body: &'a [u8],
    #[component(name = "reply-to")]
    reply_to: Option<&'a str>,
}

/// The delivery as such a component takes it.
pub(crate) fn lower(delivery: &Delivery) -> Message<'_> {
    Message { subject: &delivery.subject, body: &delivery.payload, reply_to: delivery.reply_to.as_deref() }
}

struct HasMessaging;

impl HasData for HasMessaging {
    type Data<'a> = &'a mut MessagingState;
}

/// Lets handlers import it.
pub(crate) fn link<T: Send>(linker: &mut Linker<T>, state: fn(&mut T) -> &mut MessagingState) -> wasmtime::Result<()> {
    types::add_to_linker::<T, HasMessaging>(linker, state)?;
    consumer::add_to_linker::<T, HasMessaging>(linker, state)
}
