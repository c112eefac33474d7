//! Headers by which a publication asks something of its stream, as `grants.nats-headers` names them.

use super::error::Wrong;
use super::words::Word;

/// Headers that a handler may set on its publications if they are granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatsHeaders {
    /// Store it only after this message: optimistic concurrency.
    ExpectedLast,
    /// It replaces what was published on its subject before.
    Rollup,
    /// Publish it later, or again and again, elsewhere in the same stream.
    Schedule,
    /// Forget it after a time.
    Ttl,
}

impl Word for NatsHeaders {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("Nats-Expected-Last-*", Self::ExpectedLast),
        ("Nats-Rollup", Self::Rollup),
        ("Nats-Schedule*", Self::Schedule),
        ("Nats-TTL", Self::Ttl),
    ];
}

impl NatsHeaders {
    /// The grant that a header belongs to. Names are compared as servers do: as they are written.
    pub(crate) fn of(header: &str) -> Option<Self> {
        Some(match header {
            "Nats-Expected-Last-Sequence" | "Nats-Expected-Last-Subject-Sequence" | "Nats-Expected-Last-Msg-Id" => {
                Self::ExpectedLast
            }
            "Nats-Rollup" => Self::Rollup,
            // Not the source, which copies what stands on a subject that nobody has granted.
            "Nats-Schedule" | "Nats-Schedule-Target" | "Nats-Schedule-TTL" | "Nats-Schedule-Time-Zone" => {
                Self::Schedule
            }
            "Nats-TTL" => Self::Ttl,
            _ => return None,
        })
    }

    /// As the grant is written.
    pub(crate) fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }

    /// The oldest server that acts upon them; an older one would store the message as any other.
    pub(crate) fn since(self) -> (i64, i64) {
        match self {
            Self::ExpectedLast | Self::Rollup => (2, 10),
            Self::Ttl => (2, 11),
            Self::Schedule => (2, 12),
        }
    }

    /// What they are made of in a file.
    pub(super) fn read(texts: &[String]) -> Vec<Self> {
        texts.iter().filter_map(|text| Self::parse(text).ok()).collect()
    }
}

/// Checks one of the grant's texts.
pub(super) fn rule(text: &str) -> Result<(), Wrong> {
    NatsHeaders::parse(text).map(drop)
}
