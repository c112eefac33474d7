//! What has become of a message, from what the server knows. Pure.

use std::time::SystemTime;

use serde::Serialize;

use tidegate_runtime::dead_letter::Letter;
use tidegate_runtime::jetstream::{Lookup, Progress};

/// What has become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fate {
    /// The stream has not stored so many messages.
    NotStored,
    /// It is a dead letter.
    Dead,
    /// The stream does not have it any more.
    Deleted,
    /// There is no consumer.
    NoConsumer,
    /// The consumer's filter does not take it.
    NotTaken,
    /// It waits to be delivered for the first time.
    NotDelivered,
    /// It is settled and will not be delivered again.
    Settled,
    /// It was delivered and is not settled: a worker has it, or it waits for another try.
    Unsettled,
    /// It was delivered, and the server does not tell whether it is settled.
    SettledOrNot,
}

/// What has become of the message at `sequence`.
pub(super) fn fate(sequence: u64, found: &Lookup, is_dead: bool) -> Fate {
    match (&found.message, &found.consumer) {
        _ if is_dead => Fate::Dead,
        (None, _) if sequence > found.last => Fate::NotStored,
        (None, _) => Fate::Deleted,
        (Some(_), None) => Fate::NoConsumer,
        (Some(_), Some(consumer)) if !consumer.takes => Fate::NotTaken,
        (Some(_), Some(consumer)) => progressed(sequence, consumer),
    }
}

fn progressed(sequence: u64, at: &Progress) -> Fate {
    let open = at.delivered.saturating_sub(at.settled);
    if sequence > at.delivered {
        Fate::NotDelivered
    } else if sequence <= at.settled || at.unsettled == 0 {
        Fate::Settled
    } else if sequence == at.settled.saturating_add(1) || at.unsettled >= open {
        // The server counts as settled up to the first that is not; and where as many are unsettled as were delivered
        // since, all of them are.
        Fate::Unsettled
    } else {
        Fate::SettledOrNot
    }
}

/// Whether a dead letter is of the message that is at this position now: a stream that was made anew counts again.
pub(super) fn is_of(letter: &Letter, (stream, sequence): (&str, u64), stored: Option<SystemTime>) -> bool {
    let ms = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_millis());
    let same = |stored| letter.published.is_none_or(|published| ms(published) == ms(stored));
    letter.stream == stream && letter.stream_sequence == sequence && stored.is_none_or(same)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_runtime::dead_letter::{Content, StoredMessage};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn found(delivered: u64, settled: u64, unsettled: u64) -> Lookup {
        let message = StoredMessage {
            sequence: 5,
            subject: "a".into(),
            headers: vec![],
            is_readable: true,
            payload: Default::default(),
            size: 0,
            time: at(1),
        };
        let consumer = Progress { delivered, settled, unsettled, takes: true, ..Progress::default() };
        Lookup { message: Some(message), last: 9, deletes_settled: false, consumer: Some(consumer) }
    }

    #[test]
    fn only_what_the_server_tells_is_taken_for_known() {
        for (delivered, settled, unsettled, is) in [
            (4, 4, 0, Fate::NotDelivered),
            (4, 0, 4, Fate::NotDelivered),
            (5, 5, 0, Fate::Settled),
            (9, 5, 2, Fate::Settled),
            (9, 2, 0, Fate::Settled),
            (9, 4, 1, Fate::Unsettled),
            (9, 2, 7, Fate::Unsettled),
            (9, 2, 6, Fate::SettledOrNot),
        ] {
            assert_eq!(fate(5, &found(delivered, settled, unsettled), false), is, "{delivered} {settled} {unsettled}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        let there = found(9, 9, 0);
        let gone = Lookup { message: None, ..there.clone() };
        assert_eq!(fate(5, &there, true), Fate::Dead);
        assert_eq!(fate(5, &gone, true), Fate::Dead);
        assert_eq!(fate(9, &gone, false), Fate::Deleted);
        assert_eq!(fate(10, &gone, false), Fate::NotStored);
        assert_eq!(fate(5, &Lookup { consumer: None, ..there.clone() }, false), Fate::NoConsumer);
        let other = Progress { takes: false, delivered: 9, ..Progress::default() };
        assert_eq!(fate(5, &Lookup { consumer: Some(other), ..there }, false), Fate::NotTaken);
    }

    #[test]
    fn a_letter_of_an_older_stream_is_of_another_message() {
        let letter = Letter {
            sequence: 1,
            time: at(3),
            workload: "orders".into(),
            subject: "a".into(),
            stream: "S".into(),
            stream_sequence: 5,
            published: Some(at(1)),
            attempts: None,
            cause: "rejected".into(),
            reason: String::new(),
            stderr: String::new(),
            plugin: String::new(),
            generation: String::new(),
            host: String::new(),
            redrives: 0,
            first: ("S".into(), 5),
            content: Content::Here(vec![]),
        };
        assert!(is_of(&letter, ("S", 5), Some(at(1) + Duration::from_micros(7))));
        assert!(is_of(&letter, ("S", 5), None));
        assert!(!is_of(&letter, ("S", 5), Some(at(2))));
        assert!(!is_of(&letter, ("S", 6), None) && !is_of(&letter, ("T", 5), None));
        assert!(is_of(&Letter { published: None, ..letter }, ("S", 5), Some(at(2))));
    }
}
