//! What a dead letter says, and where it stands in its stream. Pure.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::headers::{self, Headers};
use crate::duration::has_rfc3339;

/// A message of the stream of dead letters, whatever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its position in the stream of dead letters, from 1.
    pub sequence: u64,
    /// The subject it is stored with.
    pub subject: String,
    /// All of its headers; none if they cannot be read.
    pub headers: Headers,
    /// Whether its headers can be read.
    pub is_readable: bool,
    /// Its payload; empty if only headers were asked for.
    pub payload: Bytes,
    /// Bytes of the payload.
    pub size: usize,
    /// When it was stored, by the server's clock.
    pub time: SystemTime,
}

/// A dead letter: a message that will not be tried again, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its position in the stream of dead letters, from 1.
    pub sequence: u64,
    /// When it was kept, by the server's clock.
    pub time: SystemTime,
    /// The workload that gave up.
    pub workload: String,
    /// The subject that the original was published on.
    pub subject: String,
    /// The stream that the original died in.
    pub stream: String,
    /// The original's position there.
    pub stream_sequence: u64,
    /// When the stream stored the original; none if that is not known.
    pub published: Option<SystemTime>,
    /// How often the original was delivered; none if that is not known.
    pub attempts: Option<u32>,
    /// The word of a [`Cause`](crate::contract::Cause), or of one that a newer host knows.
    pub cause: String,
    /// What was said about it.
    pub reason: String,
    /// What the handler wrote to standard error in the call that failed, in lines; empty if nothing. Anything that a
    /// terminal would act upon but line breaks and tabs is escaped.
    pub stderr: String,
    /// The handler's plugin name, and the digest of its generation. Both are empty if no handler was to run.
    pub plugin: String,
    /// See `plugin`.
    pub generation: String,
    /// The host that gave up.
    pub host: String,
    /// How often the original had been redriven before.
    pub redrives: u32,
    /// The stream and the position in it where the original died first: another than `stream` and `stream_sequence`
    /// if it was redriven.
    pub first: (String, u64),
    /// Where the original's headers and payload are.
    pub content: Content,
}

/// Where the headers and the payload of an original are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In the letter: these headers, and its payload.
    Here(Headers),
    /// In a message of its own in the same stream, for both together were too large for one.
    Apart {
        /// That message's position.
        sequence: u64,
        /// How many bytes of it are the headers, as a block; the rest is the payload.
        headers: usize,
    },
    /// The payload is in the letter. This is the header block, which no client of this kind can read or publish.
    Unreadable(Vec<u8>),
}

/// The names of the headers that say what a letter is.
pub(crate) mod name {
    pub(crate) const SUBJECT: &str = "Tidegate-Subject";
    pub(crate) const STREAM: &str = "Tidegate-Stream";
    pub(crate) const SEQUENCE: &str = "Tidegate-Sequence";
    pub(crate) const PUBLISHED: &str = "Tidegate-Published-Ms";
    pub(crate) const ATTEMPTS: &str = "Tidegate-Attempts";
    pub(crate) const CAUSE: &str = "Tidegate-Cause";
    pub(crate) const REASON: &str = "Tidegate-Reason";
    pub(crate) const STDERR: &str = "Tidegate-Stderr";
    pub(crate) const PLUGIN: &str = "Tidegate-Plugin";
    pub(crate) const GENERATION: &str = "Tidegate-Generation";
    pub(crate) const HOST: &str = "Tidegate-Host";
    pub(crate) const FIRST: &str = "Tidegate-First";
    pub(crate) const CONTENT: &str = "Tidegate-Content";
    pub(crate) const CONTENT_HEADERS: &str = "Tidegate-Content-Headers";
    pub(crate) const UNREADABLE: &str = "Tidegate-Unreadable-Headers";
}

/// The subject that a workload's dead letters are published on. `*` stands for any workload.
pub(crate) fn subject(workload: &str) -> String {
    format!("tidegate.dead.{workload}")
}

/// The subject that they are stored with.
pub(crate) fn stored_subject(workload: &str) -> String {
    format!("{workload}.dead")
}

/// The workload of a letter that is stored with this subject. A stream that somebody else made may store it as it was
/// published.
pub fn workload(subject: &str) -> Option<&str> {
    subject.strip_prefix("tidegate.dead.").or_else(|| subject.strip_suffix(".dead"))
}

/// The time that a header says. A letter that is forged may say one that is none.
fn published(ms: u64) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).filter(|time| has_rfc3339(*time))
}

/// Milliseconds since the Unix epoch.
fn since_epoch(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()
}

impl Letter {
    /// Reads what a stored message says about itself. `None` if it is no dead letter.
    pub fn read(stored: &StoredMessage) -> Option<Self> {
        // What a host says comes after the original's own headers.
        let value = |name: &str| stored.headers.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let text = |name: &str| value(name).unwrap_or_default().to_owned();
        let number = |name: &str| value(name)?.parse::<u64>().ok();
        let (stream, stream_sequence) = (value(name::STREAM)?.to_owned(), number(name::SEQUENCE)?);
        let first = value(name::FIRST).and_then(|first| first.rsplit_once(':'));
        let first = first.and_then(|(stream, sequence)| Some((stream.to_owned(), sequence.parse().ok()?)));
        let content = if let Some(sequence) = number(name::CONTENT) {
            Content::Apart { sequence, headers: usize::try_from(number(name::CONTENT_HEADERS)?).ok()? }
        } else if let Some(block) = value(name::UNREADABLE) {
            Content::Unreadable(BASE64_STANDARD.decode(block).ok()?)
        } else {
            Content::Here(super::headers::unkeep(&stored.headers))
        };
        Some(Self {
            sequence: stored.sequence,
            time: stored.time,
            workload: workload(&stored.subject)?.to_owned(),
            subject: value(name::SUBJECT)?.to_owned(),
            published: number(name::PUBLISHED).and_then(published),
            attempts: number(name::ATTEMPTS).and_then(|attempts| u32::try_from(attempts).ok()),
            cause: value(name::CAUSE)?.to_owned(),
            reason: text(name::REASON),
            stderr: super::lines::from_value(value(name::STDERR).unwrap_or_default()),
            plugin: text(name::PLUGIN),
            generation: text(name::GENERATION),
            host: text(name::HOST),
            redrives: number(super::headers::REDRIVES).and_then(|times| u32::try_from(times).ok()).unwrap_or_default(),
            first: first.unwrap_or_else(|| (stream.clone(), stream_sequence)),
            stream,
            stream_sequence,
            content,
        })
    }

    /// When the stream stored the original: milliseconds since the Unix epoch.
    pub fn published_ms(&self) -> Option<u64> {
        since_epoch(self.published?)
    }

    /// The headers that the original is published again with; no stream but `into` then takes it.
    pub fn redriven(&self, original: &Headers, into: Option<&str>) -> Headers {
        let (stream, sequence) = &self.first;
        let id = headers::redrive_id(stream, *sequence, self.sequence, since_epoch(self.time).unwrap_or_default());
        headers::redrive(original, self.redrives.saturating_add(1), &id, into)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// Headers as a client may publish them, with a liking for names that mean something.
    pub(crate) fn headers() -> impl Strategy<Value = Headers> {
        let own = prop::sample::select(vec![
            "Nats-Msg-Id",
            "Nats-Expected-Stream",
            "nats-odd",
            "Nats-Reply",
            "Nats-Rollup",
            "Tidegate-Reason",
            "Tidegate-Redrives",
            "Tidegate-Original-Nats-Msg-Id",
            "Tidegate-Original-Tidegate-Original-x",
            "tidegate-original-x",
        ]);
        let name = prop_oneof![own.prop_map(str::to_owned), "[!-9;-~]{1,12}"];
        let ids = prop::sample::select(vec!["redrive:a:1:2", "redrive:a:1:2@3"]).prop_map(str::to_owned);
        let value = prop_oneof!["[^\r\n\t\u{b}\u{c}\u{1c}-\u{1f}\u{85}]{0,20}", ids];
        prop::collection::vec((name, value.prop_map(|value| value.trim().to_owned())), 0..8)
    }

    /// A letter of the workload `orders`, kept so many seconds after the Unix epoch.
    pub(crate) fn letter(seconds: u64) -> Letter {
        Letter {
            sequence: 42,
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            workload: "orders".into(),
            subject: "orders.new".into(),
            stream: "ORDERS".into(),
            stream_sequence: 7,
            published: None,
            attempts: Some(5),
            cause: "rejected".into(),
            reason: "no such customer".into(),
            stderr: String::new(),
            plugin: "receipts".into(),
            generation: "2ea221eb71d2".into(),
            host: "here:1".into(),
            redrives: 0,
            first: ("ORDERS".into(), 7),
            content: Content::Here(vec![]),
        }
    }

    #[test]
    fn a_letter_with_the_number_of_another_is_redriven_with_an_id_of_its_own() {
        let id = |letter: &Letter| letter.redriven(&vec![], None).into_iter().find(|(name, _)| name == "Nats-Msg-Id");
        let kept = Letter { time: SystemTime::UNIX_EPOCH + Duration::from_millis(20_001), ..letter(20) };
        assert_eq!(id(&kept).unwrap().1, "redrive:ORDERS:7:42@20001");
        assert_eq!(id(&kept), id(&kept.clone()));
        // The stream of dead letters was made anew, and counts from 1 again.
        assert_ne!(id(&kept), id(&letter(20)));
    }

    #[test]
    fn what_says_nothing_about_a_death_is_no_letter() {
        let stored = |headers: &[(&str, &str)], subject: &str| StoredMessage {
            sequence: 1,
            subject: subject.to_owned(),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            is_readable: true,
            payload: Bytes::new(),
            size: 0,
            time: SystemTime::UNIX_EPOCH,
        };
        let all = [
            (name::STREAM, "ORDERS"),
            (name::SEQUENCE, "7"),
            (name::SUBJECT, "orders.new"),
            (name::CAUSE, "of a newer host"),
        ];
        let letter = Letter::read(&stored(&all, "orders.dead")).unwrap();
        assert_eq!((letter.cause.as_str(), letter.first), ("of a newer host", ("ORDERS".to_owned(), 7)));
        assert_eq!(Letter::read(&stored(&all, "tidegate.dead.orders")).unwrap().workload, "orders");
        assert_eq!(Letter::read(&stored(&all, "orders.new")), None);
        for (ms, published) in [("1769860800000", Some(1_769_860_800_000)), ("18446744073709551615", None)] {
            let with = [&all[..], &[(name::PUBLISHED, ms)]].concat();
            assert_eq!(Letter::read(&stored(&with, "orders.dead")).unwrap().published_ms(), published);
        }
        for missing in 0..all.len() {
            let some: Vec<_> = all.iter().enumerate().filter(|(i, _)| *i != missing).map(|(_, pair)| *pair).collect();
            assert_eq!(Letter::read(&stored(&some, "orders.dead")), None);
        }
    }
}
