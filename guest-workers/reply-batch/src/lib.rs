//! An empty reply to every message of a batch.
//!
//! The least that a handler of batches can do: it takes part in measurements as the no-op, so it stays this short.

use tidegate_guest::batch::all;
use tidegate_guest::handler::{Delivery, Failure, Response};

tidegate_guest::batch_handler!(handle);

fn handle(deliveries: Vec<Delivery>) -> Vec<Result<Response, Failure>> {
    all(deliveries.len(), &Ok(Response::reply("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reply_is_empty_and_nothing_is_published() {
        let answers = handle(vec![Delivery::test("test.1", "anything"), Delivery::test("test.2", "")]);
        assert_eq!(answers, [Ok(Response::reply("")), Ok(Response::reply(""))]);
    }
}
