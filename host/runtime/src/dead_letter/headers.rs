//! The headers of a message, of its dead letter, and of the message that is redriven.
//!
//! ```text
//! original ─ keep ─> dead letter ─ unkeep ─> original ─ redrive ─> redriven ─ origin ─> original
//! ```
//!
//! Headers that the server or the host would act upon stay readable under the prefix `Tidegate-Original-`. One that has
//! this prefix already gets it once more, so that each way back is exact.

use crate::delivery::hops::is_hops;

/// Names and values in some order. A name may be there more than once.
pub type Headers = Vec<(String, String)>;

/// What reserved headers are kept under.
pub const KEPT: &str = "Tidegate-Original-";
/// How often a message was redriven.
pub(crate) const REDRIVES: &str = "Tidegate-Redrives";
/// By which a stream tells duplicates.
pub(crate) const MESSAGE_ID: &str = "Nats-Msg-Id";
/// In which stream a message is to be stored, and in no other.
pub(crate) const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
/// Where a requester waits. It is the one header of the server's that a redriven message has again: nothing but a
/// handler's reply comes of it.
pub const REPLY: &str = "Nats-Reply";

fn begins(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Whether a header is the server's or the host's.
fn is_reserved(name: &str) -> bool {
    begins(name, "nats-") || begins(name, "tidegate-")
}

/// The original's headers as its dead letter has them. A second `Nats-Expected-Stream` or `Nats-Rollup` would make the
/// server refuse the dead letter, or delete others.
pub fn keep(original: &Headers) -> Headers {
    rename(original, |name| if is_reserved(name) { format!("{KEPT}{name}") } else { name.to_owned() })
}

/// The original's headers, of all that a dead letter has.
pub(crate) fn unkeep(letter: &Headers) -> Headers {
    let own = |name: &str| is_reserved(name) && !name.starts_with(KEPT);
    let original = letter.iter().filter(|(name, _)| !own(name));
    original.map(|(name, value)| (name.strip_prefix(KEPT).unwrap_or(name).to_owned(), value.clone())).collect()
}

/// The headers of a message that is published again.
///
/// What the server acts upon has been done when the message was published first, and would now do harm: a sequence that
/// was expected then makes the server refuse the message, a rollup deletes others, a time to live or a schedule lets
/// the message go before it is handled. What counts the workloads that it came through begins anew: somebody has looked
/// at it. `into` is the stream that has to take it, for its subject may lead to another
/// by now.
pub fn redrive(original: &Headers, redrives: u32, id: &str, into: Option<&str>) -> Headers {
    let mut headers = rename(original, |name| {
        let acted_upon = begins(name, "nats-") && name != REPLY;
        if acted_upon || name == REDRIVES || is_hops(name) || name.starts_with(KEPT) {
            format!("{KEPT}{name}")
        } else {
            name.to_owned()
        }
    });
    headers.push((REDRIVES.to_owned(), redrives.to_string()));
    headers.push((MESSAGE_ID.to_owned(), id.to_owned()));
    headers.extend(into.map(|stream| (EXPECTED_STREAM.to_owned(), stream.to_owned())));
    headers
}

/// Where a redriven message comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redriven {
    /// How often it was redriven, this time included.
    pub times: u32,
    /// The stream that the message died in first.
    pub stream: String,
    /// Its position there.
    pub sequence: u64,
}

/// The headers that a message was published with first, and where it comes from if it was redriven.
pub fn origin(published: &Headers) -> (Headers, Option<Redriven>) {
    let value = |name: &str| published.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let redriven = value(REDRIVES).zip(value(MESSAGE_ID)).and_then(|(times, id)| {
        let (stream, sequence) = parse_id(id)?;
        Some(Redriven { times: times.parse().ok()?, stream, sequence })
    });
    if redriven.is_none() {
        return (published.clone(), None);
    }
    let ours = [REDRIVES, MESSAGE_ID, EXPECTED_STREAM];
    let original = published.iter().filter(|(name, _)| !ours.contains(&name.as_str()));
    let original = original.map(|(name, value)| (name.strip_prefix(KEPT).unwrap_or(name).to_owned(), value.clone()));
    (original.collect(), redriven)
}

/// The message id of a redriven message: the same each time for the same dead letter, so that a redrive that was cut
/// and is run again stores it once within the duplicate window. It names the stream and the sequence that died first,
/// the letter, and when that was kept: a stream of dead letters that is made anew counts from 1 again.
pub(crate) fn redrive_id(stream: &str, sequence: u64, letter: u64, kept_ms: u64) -> String {
    format!("redrive:{stream}:{sequence}:{letter}@{kept_ms}")
}

/// Earlier hosts did not say when the letter was kept.
fn parse_id(id: &str) -> Option<(String, u64)> {
    let (rest, letter) = id.strip_prefix("redrive:")?.rsplit_once(':')?;
    let (letter, kept_ms) = letter.split_once('@').unwrap_or((letter, "0"));
    letter.parse::<u64>().ok().zip(kept_ms.parse::<u64>().ok())?;
    let (stream, sequence) = rest.rsplit_once(':')?;
    Some((stream.to_owned(), sequence.parse().ok()?))
}

fn rename(headers: &Headers, name: impl Fn(&str) -> String) -> Headers {
    headers.iter().map(|(old, value)| (name(old), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::dead_letter::tests::headers;

    fn list(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_the_server_acts_upon_is_visible_and_without_effect_in_a_redriven_message() {
        let original = list(&[
            ("Nats-Msg-Id", "order-7"),
            ("Nats-Expected-Last-Sequence", "3"),
            ("Nats-Rollup", "all"),
            ("Nats-TTL", "1s"),
            ("nats-odd", "x"),
            ("Nats-Reply", "_INBOX.a"),
            ("Tidegate-Reason", "mine"),
            ("Tint", "blue"),
        ]);
        let expected = list(&[
            ("Tidegate-Original-Nats-Msg-Id", "order-7"),
            ("Tidegate-Original-Nats-Expected-Last-Sequence", "3"),
            ("Tidegate-Original-Nats-Rollup", "all"),
            ("Tidegate-Original-Nats-TTL", "1s"),
            ("Tidegate-Original-nats-odd", "x"),
            ("Nats-Reply", "_INBOX.a"),
            ("Tidegate-Reason", "mine"),
            ("Tint", "blue"),
            ("Tidegate-Redrives", "1"),
            ("Nats-Msg-Id", "redrive:ORDERS:17:42@1769860800123"),
            ("Nats-Expected-Stream", "ORDERS"),
        ]);
        let id = redrive_id("ORDERS", 17, 42, 1_769_860_800_123);
        assert_eq!(redrive(&original, 1, &id, Some("ORDERS")), expected);
    }

    #[test]
    fn a_message_that_an_earlier_host_has_redriven_is_known_too() {
        for id in ["redrive:a:b:7:3", "redrive:a:b:7:3@1769860800123"] {
            let published = list(&[("Tint", "blue"), ("Tidegate-Redrives", "2"), ("Nats-Msg-Id", id)]);
            let from = Redriven { times: 2, stream: "a:b".into(), sequence: 7 };
            assert_eq!(origin(&published), (list(&[("Tint", "blue")]), Some(from)), "{id}");
        }
    }

    #[test]
    fn a_message_that_only_looks_redriven_is_left_as_it_is() {
        for id in ["redrive:a", "redrive:a:b:c", "redrive:a:1:", "redrive:a:1:2@", "redrive:a:1:@2", "dead:a:1:2", ""] {
            let published = list(&[("Tidegate-Redrives", "1"), ("Nats-Msg-Id", id)]);
            assert_eq!(origin(&published), (published.clone(), None), "{id}");
        }
    }

    proptest! {
        #[test]
        fn a_dead_letter_gives_back_the_headers_of_its_original(original in headers(), own in headers()) {
            let mut letter = keep(&original);
            letter.extend(rename(&own, |name| format!("Tidegate-{}", name.replace("Original", ""))));
            prop_assert_eq!(unkeep(&letter), original);
        }

        #[test]
        fn headers_do_not_pile_up_however_often_a_message_is_redriven(
            original in headers(), times in 1u32..5, into in prop::option::of("[a-z]{1,5}")
        ) {
            let mut published = original.clone();
            for time in 1..=times {
                let (first, _) = origin(&published);
                published = redrive(&first, time, &redrive_id("a:b", 7, u64::from(time), 9), into.as_deref());
            }
            let (found, redriven) = origin(&published);
            prop_assert_eq!(found, original);
            prop_assert_eq!(redriven.unwrap(), Redriven { times, stream: "a:b".into(), sequence: 7 });
        }
    }
}
