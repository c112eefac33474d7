//! What a handler of the asynchronous form is given, and what it answers: the types of [`handler`](mod@crate::handler),
//! in a function that waits. With the feature `async`.
//!
//! What it awaits has to be of the component model: an interface of WASI 0.3, as the crate
//! [`wasip3`](https://docs.rs/wasip3) has them. A call of WASI 0.2, such as `std::thread::sleep`, holds up all calls of
//! the instance.

#[allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        world: "async-worker",
        path: "wit",
        with: {
            "tidegate:plugin/handler@0.1.3": crate::handler::bindings::exports::tidegate::plugin::handler,
            "wasi:config/store@0.2.0-rc.1": crate::handler::bindings::wasi::config::store,
            "wasi:logging/logging@0.1.0-draft": crate::handler::bindings::wasi::logging::logging,
        },
        pub_export_macro: true,
        export_macro_name: "export",
        default_bindings_module: "tidegate_guest::asynchronous::bindings",
    });
}

pub use bindings::exports::tidegate::plugin::async_handler::Guest;

/// Makes a component of a function `async fn(Delivery) -> Result<Response, Failure>`: a handler whose instance has
/// several deliveries at once, each in a call of its own.
///
/// While one call awaits something, others of the same instance begin and go on. They share its state, and never run
/// at the same moment. A crate has either this, [`handler!`](crate::handler!) or
/// [`batch_handler!`](crate::batch_handler!).
#[macro_export]
macro_rules! async_handler {
    ($handle:path) => {
        const _: () = {
            struct Component;

            impl $crate::asynchronous::Guest for Component {
                async fn handle(
                    delivery: $crate::handler::Delivery,
                ) -> ::core::result::Result<$crate::handler::Response, $crate::handler::Failure> {
                    $crate::start();
                    $handle(delivery).await
                }
            }

    $crate::asynchronous::bindings::export!(Component with_types_in $crate::asynchronous::bindings);
        };
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::Guest;
    use crate::handler::{Delivery, Failure, Response};

    /// As what `async_handler!` makes of a function, without the exports.
    struct Echo;

    impl Guest for Echo {
        async fn handle(delivery: Delivery) -> Result<Response, Failure> {
            let mut turns = 1;
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                turns -= 1;
                if turns < 0 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            Ok(Response::reply(delivery.payload))
        }
    }

    #[test]
    fn a_call_that_waits_is_answered_when_it_goes_on() {
        let mut context = Context::from_waker(Waker::noop());
        let (mut one, mut two) =
            (pin!(Echo::handle(Delivery::test("a", "1"))), pin!(Echo::handle(Delivery::test("a", "2"))));
        assert!(one.as_mut().poll(&mut context).is_pending() && two.as_mut().poll(&mut context).is_pending());
        assert_eq!(two.as_mut().poll(&mut context), Poll::Ready(Ok(Response::reply("2"))));
        assert_eq!(one.as_mut().poll(&mut context), Poll::Ready(Ok(Response::reply("1"))));
    }
}
