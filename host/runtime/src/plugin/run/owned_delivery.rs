//! How a handler of the asynchronous form is called.

use wasmtime::component::{ComponentType, Lower, TypedFunc};

use super::bindings::worker::exports::tidegate::plugin::handler as wit;
use crate::contract::Delivery;

/// The function `handle` of `async-handler`.
pub(super) type HandleAsync = TypedFunc<(OwnedDelivery,), (Result<wit::Response, wit::Failure>,)>;

/// A delivery as a guest gets it whose call may begin later. It is a copy, for the guest's memory is another one.
#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub struct OwnedDelivery {
    subject: String,
    headers: Vec<(String, String)>,
    payload: Vec<u8>,
    #[component(name = "stream-sequence")]
    stream_sequence: u64,
    attempt: u32,
    #[component(name = "published-at-ms")]
    published_at_ms: u64,
    #[component(name = "expects-reply")]
    expects_reply: bool,
}

impl From<&Delivery> for OwnedDelivery {
    fn from(delivery: &Delivery) -> Self {
        Self {
            subject: delivery.subject.clone(),
            headers: delivery.headers.clone(),
            payload: delivery.payload.to_vec(),
            stream_sequence: delivery.stream_sequence,
            attempt: delivery.attempt,
            published_at_ms: delivery.published_at_ms,
            expects_reply: delivery.reply_to.is_some(),
        }
    }
}
