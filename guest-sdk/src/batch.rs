//! What a handler of batches is given, and what it answers: the types of [`handler`](mod@crate::handler), several at
//! once.

use crate::handler::{Delivery, Failure, Response};

#[allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        world: "batch-worker",
        path: "wit",
        with: {
            "tidegate:plugin/handler@0.1.3": crate::handler::bindings::exports::tidegate::plugin::handler,
            "wasi:config/store@0.2.0-rc.1": crate::handler::bindings::wasi::config::store,
            "wasi:logging/logging@0.1.0-draft": crate::handler::bindings::wasi::logging::logging,
        },
        pub_export_macro: true,
        export_macro_name: "export",
        default_bindings_module: "tidegate_guest::batch::bindings",
    });
}

pub use bindings::exports::tidegate::plugin::batch_handler::Guest;

/// Makes a component of a function `fn(Vec<Delivery>) -> Vec<Result<Response, Failure>>`: a handler of batches.
///
/// There has to be one result for each delivery, in their order; [`each`] makes them of a function
/// for one. A crate has either this or [`handler!`](crate::handler!).
#[macro_export]
macro_rules! batch_handler {
    ($handle:path) => {
        const _: () = {
            struct Component;

            impl $crate::batch::Guest for Component {
                fn handle(
                    deliveries: ::std::vec::Vec<$crate::handler::Delivery>,
                ) -> ::std::vec::Vec<::core::result::Result<$crate::handler::Response, $crate::handler::Failure>>
                {
                    $crate::start();
                    $handle(deliveries)
                }
            }

    $crate::batch::bindings::export!(Component with_types_in $crate::batch::bindings);
        };
    };
}

/// Answers to each delivery by itself.
pub fn each(
    deliveries: Vec<Delivery>,
    handle: impl FnMut(Delivery) -> Result<Response, Failure>,
) -> Vec<Result<Response, Failure>> {
    deliveries.into_iter().map(handle).collect()
}

/// The same answer to so many deliveries, as where one request for all of them has failed.
#[must_use]
pub fn all(deliveries: usize, answer: &Result<Response, Failure>) -> Vec<Result<Response, Failure>> {
    vec![answer.clone(); deliveries]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(deliveries: Vec<Delivery>) -> Vec<Result<Response, Failure>> {
        each(deliveries, |delivery| Ok(Response::reply(delivery.payload)))
    }

    #[test]
    fn each_delivery_has_its_own_answer_in_order() {
        let answers = echo(vec![Delivery::test("a", "1"), Delivery::test("a", "2")]);
        assert_eq!(answers, [Ok(Response::reply("1")), Ok(Response::reply("2"))]);
    }

    #[test]
    fn what_failed_for_all_is_answered_to_each() {
        assert_eq!(all(2, &Err(Failure::retry())), [Err(Failure::retry()), Err(Failure::retry())]);
    }
}
