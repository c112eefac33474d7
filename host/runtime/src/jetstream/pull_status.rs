//! What the server says about a pull, in its words of versions 2.10 to 2.15.

use async_nats::StatusCode;

use super::pending_pulls::EndedPull;
use crate::ports::Notice;

/// How a pull ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PullEnd {
    /// In an ordinary way: its time was over, or it was answered in full.
    Ordinary,
    /// For a reason that asks for attention.
    Failed(Notice),
}

/// The status of a pull by a client that is not the pinned one any more.
pub(super) const WRONG_PIN: StatusCode = StatusCode::PIN_ID_MISMATCH;

/// The status that the server sends about a pull; `None` for a delivery. Servers before 2.12 deliver a message with the
/// status line that it was published with, so a status line alone does not tell them apart.
pub(super) fn status(answer: &async_nats::Message) -> Option<StatusCode> {
    let delivered = answer.reply.as_ref().is_some_and(|reply| reply.starts_with("$JS.ACK."));
    answer.status.filter(|_| !delivered)
}

/// How many deliveries of a pull were not sent, where the server says so.
pub(super) fn unanswered(answer: &async_nats::Message) -> Option<usize> {
    answer.headers.as_ref()?.get("Nats-Pending-Messages")?.as_str().parse().ok()
}

/// What a status and its words mean. `ended` is what is known of the pull.
pub(super) fn judge(status: StatusCode, words: &str, ended: Option<EndedPull>) -> PullEnd {
    let lower = words.to_ascii_lowercase();
    let has = |part: &str| lower.contains(part);
    // A pull that ended long before its time and brought nothing: the next one would follow at once, end as early, and
    // so on.
    let early = ended.is_some_and(|ended| ended.whole && ended.early);
    let in_words = || Notice::Other(if words.is_empty() { format!("status {status}") } else { words.to_owned() });
    match status {
        StatusCode::NO_RESPONDERS => PullEnd::Failed(Notice::NoResponders),
        _ if has("consumer deleted") => PullEnd::Failed(Notice::ConsumerDeleted),
        _ if has("exceeded maxwaiting") => PullEnd::Failed(Notice::MaxWaiting),
        _ if has("maxackpending") => PullEnd::Failed(Notice::MaxAckPending),
        // Another server takes over.
        _ if has("leadership change") || has("server shutdown") => PullEnd::Ordinary,
        StatusCode::TIMEOUT | StatusCode::NOT_FOUND if !early => PullEnd::Ordinary,
        _ if has("batch completed") || has("message size exceeds maxbytes") => {
            if early {
                PullEnd::Failed(in_words())
            } else {
                PullEnd::Ordinary
            }
        }
        _ => PullEnd::Failed(in_words()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(status: u16, words: &str, ended: Option<EndedPull>) -> PullEnd {
        judge(StatusCode::try_from(status).unwrap(), words, ended)
    }

    #[test]
    fn a_delivery_with_a_status_line_is_no_status() {
        let answer = |reply: Option<&str>| async_nats::Message {
            subject: "orders.new".into(),
            reply: reply.map(Into::into),
            payload: "".into(),
            headers: None,
            status: Some(StatusCode::NO_RESPONDERS),
            description: None,
            length: 0,
        };
        assert_eq!(status(&answer(Some("$JS.ACK.ORDERS.w.1.2.3.4.5"))), None);
        assert_eq!(status(&answer(None)), Some(StatusCode::NO_RESPONDERS));
    }

    #[test]
    fn a_pull_that_was_waited_for_in_vain_or_answered_in_part_has_ended_as_pulls_do() {
        let late = Some(EndedPull { whole: true, early: false });
        let part = Some(EndedPull { whole: false, early: true });
        for (status, words) in [
            (408, "Request Timeout"),
            (404, "No Messages"),
            (409, "Batch Completed"),
            (409, "Message Size Exceeds MaxBytes"),
            (409, "Leadership Change"),
            (409, "Server Shutdown"),
        ] {
            assert_eq!(of(status, words, late), PullEnd::Ordinary, "{words}");
            assert_eq!(of(status, words, part), PullEnd::Ordinary, "{words}");
        }
    }

    #[test]
    fn a_refusal_is_one_in_whatever_words() {
        let at_once = Some(EndedPull { whole: true, early: true });
        for (status, words) in [
            (409, "Exceeded MaxRequestBatch of 5"),
            (409, "Exceeded MaxRequestExpires of 1s"),
            (409, "Exceeded MaxRequestMaxBytes of 100"),
            (409, "Message Size Exceeds MaxBytes"),
            (409, "Consumer is push based"),
            (400, "Bad Request - Priority Group missing"),
            (423, "Nats-Wrong-Pin-Id"),
            (404, "No Messages"),
            (408, "Requests Pending"),
        ] {
            assert_eq!(of(status, words, at_once), PullEnd::Failed(Notice::Other(words.to_owned())), "{words}");
        }
        assert_eq!(of(409, "Exceeded MaxWaiting", None), PullEnd::Failed(Notice::MaxWaiting));
        assert_eq!(of(409, "Consumer Deleted", None), PullEnd::Failed(Notice::ConsumerDeleted));
        assert_eq!(of(503, "", None), PullEnd::Failed(Notice::NoResponders));
    }
}
