//! An empty reply to every message.
//!
//! The least that a handler can do: it takes part in measurements as the no-op, so it stays this short.

use tidegate_guest::handler::{Delivery, Failure, Response};

tidegate_guest::handler!(handle);

fn handle(_: Delivery) -> Result<Response, Failure> {
    Ok(Response::reply(""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_reply_is_empty_and_nothing_is_published() {
        let response = handle(Delivery::test("test.1", "anything")).unwrap();
        assert_eq!(response, Response { reply: Some(vec![]), publications: vec![] });
    }
}
