//! A handler: replies with the text in capitals, and publishes it.
//!
//! What `handle` answers decides what becomes of the message: see `tidegate-guest/wit/handler.wit`.

use std::time::Duration;

use tidegate_guest::handler::{Delivery, Failure, Response};

/// Where the text goes. The host has to be told that it may: `--grant-publish new-handler.out`.
const OUT: &str = "new-handler.out";

tidegate_guest::handler!(handle);

fn handle(delivery: Delivery) -> Result<Response, Failure> {
    // What can never be handled is rejected: it becomes a dead letter with this reason.
    let text = delivery.text()?;
    if text.is_empty() {
        return Err(Failure::reject("the payload is empty"));
    }
    // What may succeed later is retried, here after half a second; `retry()` leaves the delay to the configuration.
    if text == "later" && delivery.attempt == 1 {
        return Err(Failure::retry_after(Duration::from_millis(500)));
    }
    let loud = text.to_uppercase();
    // Publications are stored before the message is acknowledged, and the reply goes to whoever waits for one.
    Ok(Response::reply(loud.clone()).publish(OUT, loud))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(payload: &[u8], attempt: u32) -> Result<Response, Failure> {
        let first = Delivery::test("new-handler.in.1", payload);
        handle(Delivery { attempt, ..first })
    }

    #[test]
    fn the_text_comes_back_in_capitals_and_is_published() {
        let loud = "HELLO TIDE";
        assert_eq!(
            call(b"hello tide", 1),
            Ok(Response::reply(loud).publish(OUT, loud))
        );
    }

    #[test]
    fn what_is_no_text_is_rejected() {
        let rejected = |payload| matches!(call(payload, 1), Err(Failure::Reject(_)));
        assert!(rejected(b"\xff") && rejected(b""));
    }

    #[test]
    fn what_asks_for_a_retry_succeeds_the_second_time() {
        assert_eq!(call(b"later", 1), Err(Failure::Retry(Some(500))));
        assert!(call(b"later", 2).is_ok());
    }
}
