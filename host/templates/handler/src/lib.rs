//! A handler: replies with the text in capitals, and publishes it.
//!
//! What `handle` answers decides what becomes of the message: see `wit/handler.wit`.

mod bindings {
    wit_bindgen::generate!({ world: "worker", path: "wit", generate_all });
    export!(Handler with_types_in self);
    use super::Handler;
}

use bindings::exports::tidegate::plugin::handler::{
    Delivery, Failure, Guest, Publication, Response,
};

/// Where the text goes. The host has to be told that it may: `--grant-publish new-handler.out`.
const OUT: &str = "new-handler.out";

struct Handler;

impl Guest for Handler {
    fn handle(delivery: Delivery) -> Result<Response, Failure> {
        // What can never be handled is rejected: it becomes a dead letter with this reason.
        let text = String::from_utf8(delivery.payload)
            .map_err(|_| Failure::Reject("the payload is not text".into()))?;
        if text.is_empty() {
            return Err(Failure::Reject("the payload is empty".into()));
        }
        // What may succeed later is retried, here after half a second; `None` leaves the delay to the configuration.
        if text == "later" && delivery.attempt == 1 {
            return Err(Failure::Retry(Some(500)));
        }
        let loud = text.to_uppercase().into_bytes();
        // Publications are stored before the message is acknowledged, and the reply goes to whoever waits for one.
        let publication = Publication {
            subject: OUT.into(),
            headers: vec![],
            payload: loud.clone(),
        };
        Ok(Response {
            reply: Some(loud),
            publications: vec![publication],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(payload: &[u8], attempt: u32) -> Result<Response, Failure> {
        Handler::handle(Delivery {
            subject: "new-handler.in.1".into(),
            headers: vec![],
            payload: payload.to_vec(),
            stream_sequence: 1,
            attempt,
            published_at_ms: 0,
            expects_reply: true,
        })
    }

    #[test]
    fn the_text_comes_back_in_capitals_and_is_published() {
        let response = handle(b"hello tide", 1).unwrap();
        assert_eq!(response.reply.as_deref(), Some(&b"HELLO TIDE"[..]));
        let sent = response.publications.first().unwrap();
        assert_eq!(
            (sent.subject.as_str(), sent.payload.as_slice()),
            (OUT, &b"HELLO TIDE"[..])
        );
    }

    #[test]
    fn what_is_no_text_is_rejected() {
        let rejected = |payload| matches!(handle(payload, 1), Err(Failure::Reject(_)));
        assert!(rejected(b"\xff") && rejected(b""));
    }

    #[test]
    fn what_asks_for_a_retry_succeeds_the_second_time() {
        assert!(matches!(
            handle(b"later", 1),
            Err(Failure::Retry(Some(500)))
        ));
        assert!(handle(b"later", 2).is_ok());
    }
}
