//! As `fetch`, and while it waits for an answer its instance handles other messages.

#[path = "../../fetch/src/question.rs"]
mod question;

mod http;

use question::Question;
use tidegate_guest::handler::{Delivery, Failure, Response};

tidegate_guest::async_handler!(handle);

async fn handle(delivery: Delivery) -> Result<Response, Failure> {
    let question = Question::of(&delivery)?;
    let answer = http::get(&question.url).await;
    question.answered(answer)
}
