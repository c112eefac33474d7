//! An empty reply to every message.
//!
//! The least that a handler can do: it takes part in measurements as the no-op, so it stays this short.

#[allow(unsafe_code, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ world: "worker", path: "../../wit", generate_all });
    export!(Handler with_types_in self);
    use super::Handler;
}

use bindings::exports::tidegate::plugin::handler::{Delivery, Failure, Guest, Response};

struct Handler;

impl Guest for Handler {
    fn handle(_: Delivery) -> Result<Response, Failure> {
        Ok(Response { reply: Some(Vec::new()), publications: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_reply_is_empty_and_nothing_is_published() {
        let response = Handler::handle(Delivery {
            subject: "test.1".into(),
            headers: vec![],
            payload: b"anything".to_vec(),
            stream_sequence: 1,
            attempt: 1,
            published_at_ms: 0,
            expects_reply: true,
        })
        .unwrap();
        assert_eq!(response.reply, Some(vec![]));
        assert!(response.publications.is_empty());
    }
}
