//! Counts words as long as its instance lives.
//!
//! [`totals`] counts; this file is the component around it, and holds the totals between two messages.

mod totals;

#[allow(unsafe_code, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ world: "worker", path: "../../wit", generate_all });
    export!(Handler with_types_in self);
    use super::Handler;
}

use bindings::exports::tidegate::plugin::handler::{Delivery, Failure, Guest, Response};
use std::cell::RefCell;
use totals::Totals;

thread_local! {
    /// What this worker has counted. Another worker has an instance, and so totals, of its own.
    static TOTALS: RefCell<Totals> = RefCell::default();
}

struct Handler;

impl Guest for Handler {
    fn handle(delivery: Delivery) -> Result<Response, Failure> {
        let text = std::str::from_utf8(&delivery.payload)
            .map_err(|error| Failure::Reject(format!("the payload is not text: {error}")))?;
        let reply = TOTALS.with_borrow_mut(|totals| {
            totals.add(text);
            delivery.expects_reply.then(|| totals.to_json())
        });
        Ok(Response { reply, publications: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn delivery(payload: &[u8], expects_reply: bool) -> Delivery {
        Delivery {
            subject: "words".into(),
            headers: vec![],
            payload: payload.to_vec(),
            stream_sequence: 1,
            attempt: 1,
            published_at_ms: 0,
            expects_reply,
        }
    }

    #[test]
    fn the_totals_grow_from_message_to_message() {
        assert!(Handler::handle(delivery(b"the sea", false)).unwrap().reply.is_none());
        let response = Handler::handle(delivery(b"the gate", true)).unwrap();
        let reply = String::from_utf8(response.reply.unwrap()).unwrap();
        assert!(reply.starts_with(r#"{"messages":2,"words":4,"distinct":3,"#), "{reply}");
    }

    #[test]
    fn a_payload_that_is_not_text_is_rejected() {
        let failure = Handler::handle(delivery(&[b'a', 0xff], true)).unwrap_err();
        assert!(matches!(failure, Failure::Reject(reason) if reason.starts_with("the payload is not text")));
    }
}
