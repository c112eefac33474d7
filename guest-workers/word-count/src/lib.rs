//! Counts words as long as its instance lives.
//!
//! [`totals`] counts; this file is the component around it, and holds the totals between two messages.

mod totals;

use std::cell::RefCell;

use tidegate_guest::handler::{Delivery, Failure, Response};
use totals::Totals;

tidegate_guest::handler!(handle);

thread_local! {
    /// What this worker has counted. Another worker has an instance, and so totals, of its own.
    static TOTALS: RefCell<Totals> = RefCell::default();
}

fn handle(delivery: Delivery) -> Result<Response, Failure> {
    let text = delivery.text()?;
    let reply = TOTALS.with_borrow_mut(|totals| {
        totals.add(text);
        delivery.expects_reply.then(|| totals.to_json())
    });
    Ok(Response { reply, publications: Vec::new() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn delivery(payload: &[u8], expects_reply: bool) -> Delivery {
        Delivery { expects_reply, ..Delivery::test("words", payload) }
    }

    #[test]
    fn the_totals_grow_from_message_to_message() {
        assert!(handle(delivery(b"the sea", false)).unwrap().reply.is_none());
        let response = handle(delivery(b"the gate", true)).unwrap();
        let reply = String::from_utf8(response.reply.unwrap()).unwrap();
        assert!(reply.starts_with(r#"{"messages":2,"words":4,"distinct":3,"#), "{reply}");
    }

    #[test]
    fn a_payload_that_is_not_text_is_rejected() {
        let failure = handle(delivery(&[b'a', 0xff], true)).unwrap_err();
        assert!(matches!(failure, Failure::Reject(reason) if reason.starts_with("the payload is not text")));
    }
}
