//! Asks a price service for what each message names, and publishes the answer.
//!
//! The service answers `GET url/ITEM`. A service that is down or busy makes a retry, one that says that the request is
//! wrong makes a dead letter.

mod http;
mod question;

use question::Question;
use tidegate_guest::handler::{Delivery, Failure, Response};
use wasip2::http::types::Method;

tidegate_guest::handler!(handle);

fn handle(delivery: Delivery) -> Result<Response, Failure> {
    let question = Question::of(&delivery)?;
    let answer = http::fetch(&Method::Get, &question.url, &[]);
    question.answered(answer.map(|answer| (answer.status, answer.body)))
}
