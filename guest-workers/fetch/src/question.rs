//! What the price service is asked for a message, and what its answer makes of that.

use std::fmt::Debug;

use tidegate_guest::handler::{Delivery, Failure, Response};
use tidegate_guest::{Level, Settings, log};

/// Bytes of an item's name.
const NAME: usize = 200;

/// What is asked for a message.
pub(crate) struct Question {
    /// Where to ask, by `GET`.
    pub(crate) url: String,
    item: String,
    subject: String,
}

impl Question {
    /// What to ask for this message.
    pub(crate) fn of(delivery: &Delivery) -> Result<Self, Failure> {
        let (url, subject) = settings().map_err(|error| {
            // The message is not to blame: it can be handled once the settings are right.
            log(Level::Error, "settings", &error);
            Failure::Retry(None)
        })?;
        let item = delivery.text()?.trim();
        if item.is_empty() || item.len() > NAME {
            return Err(Failure::Reject(format!("an item's name has 1 to {NAME} bytes")));
        }
        let url = format!("{}/{}", url.trim_end_matches('/'), segment(item));
        Ok(Self { url, item: item.to_owned(), subject })
    }

    /// What this status and body, or an error on the way, make of the message.
    pub(crate) fn answered(self, answer: Result<(u16, Vec<u8>), impl Debug>) -> Result<Response, Failure> {
        match answer {
            Ok((200, body)) => Ok(Response::done().publish(self.subject, body)),
            Ok((status, _)) => Err(refused(status, &self.item)),
            Err(error) => {
                log(Level::Warn, "fetch", &format!("no price of {}: {error:?}", self.item));
                Err(Failure::Retry(None))
            }
        }
    }
}

/// The address of the service, and the subject for its answers.
fn settings() -> Result<(String, String), String> {
    let mut settings = Settings::of_workload()?;
    let (url, subject) = (settings.take("url"), settings.take("subject"));
    settings.finish()?;
    Ok((url.ok_or("the setting url is missing")?, subject.ok_or("the setting subject is missing")?))
}

/// What an answer other than 200 makes of a message.
fn refused(status: u16, item: &str) -> Failure {
    match status {
        // It took too long, or too much was asked.
        408 | 425 | 429 | 500.. => Failure::Retry(None),
        _ => Failure::Reject(format!("the price service answers {status} for {item}")),
    }
}

/// A text as one segment of a path. Dots alone would be another path.
fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) || byte == b'.' && text.len() > 2;
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    #[test]
    fn an_item_stays_one_segment() {
        assert_eq!(segment("tea-1.5"), "tea-1.5");
        assert_eq!(segment("a/b c"), "a%2Fb%20c");
        assert_eq!(segment(".."), "%2E%2E");
    }

    #[test]
    fn what_may_be_better_later_is_tried_again() {
        for status in [408, 429, 500, 503] {
            assert!(matches!(refused(status, "tea"), Failure::Retry(None)), "{status}");
        }
        for status in [301, 400, 403, 404] {
            assert!(matches!(refused(status, "tea"), Failure::Reject(_)), "{status}");
        }
    }
}
