//! What a handler is given, and what it answers.

use std::time::Duration;

#[allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        world: "worker",
        path: "wit",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export",
        default_bindings_module: "tidegate_guest::handler::bindings",
        additional_derives: [PartialEq],
    });
}

pub use bindings::exports::tidegate::plugin::handler::{Delivery, Failure, Guest, Publication, Response};

/// Makes a component of a function `fn(Delivery) -> Result<Response, Failure>`: a handler.
#[macro_export]
macro_rules! handler {
    ($handle:path) => {
        const _: () = {
            struct Component;

            impl $crate::handler::Guest for Component {
                fn handle(
                    delivery: $crate::handler::Delivery,
                ) -> ::core::result::Result<$crate::handler::Response, $crate::handler::Failure> {
                    $crate::start();
                    $handle(delivery)
                }
            }

    $crate::handler::bindings::export!(Component with_types_in $crate::handler::bindings);
        };
    };
}

impl Delivery {
    /// A first delivery of a message on `subject`, for tests: without headers, at position 1 of its stream, with a
    /// requester that waits for a reply.
    #[must_use]
    pub fn test(subject: &str, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            subject: subject.to_owned(),
            headers: Vec::new(),
            payload: payload.into(),
            stream_sequence: 1,
            attempt: 1,
            published_at_ms: 1_700_000_000_000,
            expects_reply: true,
        }
    }

    /// The first value of a header. Names are compared as they are written, as NATS does.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The payload as text.
    ///
    /// # Errors
    /// [`Failure::Reject`] if it is not UTF-8, which no later attempt would change.
    pub fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.payload).map_err(|error| Failure::Reject(format!("the payload is not text: {error}")))
    }
}

impl Response {
    /// Neither a reply nor publications: the message is done.
    #[must_use]
    pub fn done() -> Self {
        Self { reply: None, publications: Vec::new() }
    }

    /// A reply. It is left out where no requester waits.
    #[must_use]
    pub fn reply(payload: impl Into<Vec<u8>>) -> Self {
        Self { reply: Some(payload.into()), publications: Vec::new() }
    }

    /// Besides, a publication without headers.
    #[must_use]
    pub fn publish(self, subject: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        self.with(Publication { subject: subject.into(), headers: Vec::new(), payload: payload.into() })
    }

    /// Besides, this publication.
    #[must_use]
    pub fn with(mut self, publication: Publication) -> Self {
        self.publications.push(publication);
        self
    }
}

impl Failure {
    /// The message can never be handled, for this reason.
    #[must_use]
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject(reason.into())
    }

    /// The message may be handled later, after the delay that the workload is configured with.
    #[must_use]
    pub fn retry() -> Self {
        Self::Retry(None)
    }

    /// The message may be handled later, not before this long, a day at most. Whole milliseconds; what is finer is cut
    /// off.
    #[must_use]
    pub fn retry_after(delay: Duration) -> Self {
        Self::Retry(Some(crate::duration::millis(delay)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_header_is_found_by_its_name_as_it_is_written() {
        let headers = vec![("Trace".into(), "1".into()), ("trace".into(), "2".into()), ("trace".into(), "3".into())];
        let delivery = Delivery { headers, ..Delivery::test("a.b", "") };
        assert_eq!(["Trace", "trace", "TRACE"].map(|name| delivery.header(name)), [Some("1"), Some("2"), None]);
    }

    #[test]
    fn a_payload_that_is_not_text_is_a_rejection() {
        assert_eq!(Delivery::test("a", "täxt").text(), Ok("täxt"));
        assert!(matches!(Delivery::test("a", [0xff]).text(), Err(Failure::Reject(why)) if why.contains("not text")));
    }

    #[test]
    fn a_response_is_put_together_in_order() {
        let response = Response::reply("r").publish("a", "1").publish("b", "2");
        let sent: Vec<_> = response.publications.iter().map(|one| (one.subject.as_str(), &*one.payload)).collect();
        assert_eq!(sent, [("a", &b"1"[..]), ("b", b"2")]);
        assert_eq!(Response::done().publish("a", "1").reply, None);
    }

    #[test]
    fn a_delay_is_told_in_milliseconds() {
        assert_eq!(Failure::retry_after(Duration::from_micros(1_500)), Failure::Retry(Some(1)));
        assert_eq!(Failure::retry_after(Duration::MAX), Failure::Retry(Some(u64::MAX)));
    }
}
