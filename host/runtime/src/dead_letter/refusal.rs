//! What a requester is told whose message became a dead letter: NATS's service error headers, with no payload.

use super::Headers;
use crate::contract::{Cause, Death};

/// NATS's header for the code of an error. Any answer that has it is an error.
const CODE: &str = "Nats-Service-Error-Code";
/// And for its text.
const TEXT: &str = "Nats-Service-Error";
/// Why the message is a dead letter, as one word.
const CAUSE: &str = "Tidegate-Cause";
/// The letter's position in the stream of dead letters.
const LETTER: &str = "Tidegate-Dead-Letter";
/// The most characters of a reason that go out.
const REASON: usize = 200;

/// An answer that says that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 400 if the message was rejected, 500 if it could not be handled; or what another service says.
    pub code: String,
    /// Why, in a sentence.
    pub reason: String,
    /// The cause of the dead letter; none if something else than a host answered.
    pub cause: Option<String>,
    /// The dead letter's position in its stream, from 1.
    pub letter: Option<u64>,
}

/// The headers that tell of a death. A requester may be a stranger: it reads what the handler says to it, and of a
/// handler that failed no more than that.
pub fn headers(death: &Death, letter: u64) -> Headers {
    let (code, reason) = match death.cause {
        Cause::Rejected => ("400", death.reason.as_str()),
        Cause::Retries => ("500", death.reason.as_str()),
        Cause::Trapped => ("500", "the handler failed"),
        Cause::Time => ("500", "the handler took too long"),
        Cause::Memory => ("500", "the handler needed too much memory"),
        Cause::Effects => ("500", "what the handler answered could not be carried out"),
        Cause::Start => ("500", "the handler does not start"),
        Cause::Exhausted => ("500", "the message was delivered too often and never finished"),
        Cause::Conflict => ("500", "something else was stored before what the handler answered"),
        Cause::Hops => ("500", "the message came through too many workloads"),
        Cause::Unreadable => ("400", "the message cannot be read"),
    };
    let reason = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON).collect::<String>();
    [
        (CODE, code.to_owned()),
        (TEXT, reason.trim().to_owned()),
        (CAUSE, death.cause.as_str().to_owned()),
        (LETTER, letter.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Reads the headers of an answer. `None` if it is a reply.
pub fn read(headers: &Headers) -> Option<Refusal> {
    let value = |name: &str| headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    Some(Refusal {
        code: value(CODE)?,
        reason: value(TEXT).unwrap_or_default(),
        cause: value(CAUSE),
        letter: value(LETTER).and_then(|letter| letter.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn told(cause: Cause, reason: &str) -> Refusal {
        read(&headers(&Death::new(cause, reason.to_owned()), 7)).unwrap()
    }

    #[test]
    fn a_requester_reads_the_handlers_reason_cause_and_letter() {
        let refusal = told(Cause::Rejected, "no such\r\ncustomer");
        assert_eq!((refusal.code.as_str(), refusal.reason.as_str()), ("400", "no such  customer"));
        assert_eq!((refusal.cause.as_deref(), refusal.letter), (Some("rejected"), Some(7)));
        assert_eq!(told(Cause::Rejected, &"é".repeat(999)).reason.chars().count(), REASON);
    }

    #[test]
    fn what_is_inside_of_a_handler_that_failed_is_not_told() {
        for cause in Cause::ALL.into_iter().filter(|cause| ![Cause::Rejected, Cause::Retries].contains(cause)) {
            assert!(!told(cause, "secret").reason.contains("secret"), "{cause:?}");
        }
    }

    #[test]
    fn a_reply_is_no_refusal() {
        assert_eq!(read(&vec![("Tidegate-Cause".to_owned(), "rejected".to_owned())]), None);
    }
}
