//! Replies with the payload.

#[allow(unsafe_code, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ world: "worker", path: "../../wit", generate_all });
    export!(Handler with_types_in self);
    use super::Handler;
}

use bindings::exports::tidegate::plugin::handler::{Delivery, Failure, Guest, Response};

struct Handler;

impl Guest for Handler {
    fn handle(delivery: Delivery) -> Result<Response, Failure> {
        Ok(Response { reply: Some(delivery.payload), publications: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_reply_is_the_payload_byte_for_byte() {
        for payload in [&b""[..], b"text", &[0, 255, 10, 13]] {
            let response = Handler::handle(Delivery {
                subject: "test.1".into(),
                headers: vec![],
                payload: payload.to_vec(),
                stream_sequence: 1,
                attempt: 1,
                published_at_ms: 0,
                expects_reply: true,
            })
            .unwrap();
            assert_eq!(response.reply.as_deref(), Some(payload));
            assert!(response.publications.is_empty());
        }
    }
}
