//! What hosts tell each other of attempts that ended through no fault of a handler: plain text at the consumer, which
//! is written by a host that stops and read by those that get its messages next.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The longest text that is written: it is in each answer about the consumer.
const BYTES: usize = 4096;
/// About how many messages something is known at most.
const MOST: usize = 8_192;
/// How many attempts at a message do not count at most. Whoever may edit the consumer can write any number, and a
/// message that kills its hosts has to become a dead letter some time.
const MOST_OF_ONE: u32 = 100;

/// Attempts that do not count, by the message, of messages after the ack floor of their consumer.
///
/// As a text: when the stream was made, then `sequence:count` or `first-last:count`, in the order of the stream, such
/// as `2026-01-31T12:00:00Z 7:2 9-12:1`. Of what does not fit the newest is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Excused {
    /// When the stream was made. Another stream of the same name has other messages.
    stream: String,
    floor: u64,
    counts: BTreeMap<u64, u32>,
}

impl Excused {
    /// Reads what stands at a consumer of this stream with this ack floor. What is of another stream, or cannot be
    /// read, is nothing.
    pub fn read(text: &str, stream: &str, floor: u64) -> Self {
        let mut words = text.split_ascii_whitespace();
        let is_of_stream = words.next() == Some(stream);
        // Whoever may edit the consumer can write any text there, such as the same messages many times over.
        let all = words.rev().filter_map(run).filter(|_| is_of_stream).take(MOST);
        let counts = all
            .flat_map(|(messages, count)| {
                messages.rev().take_while(|sequence| *sequence > floor).map(move |sequence| (sequence, count))
            })
            .take(MOST)
            .collect();
        Self { stream: stream.to_owned(), floor, counts }
    }

    /// The text to be written.
    pub fn text(&self) -> String {
        let mut runs: Vec<(u64, u64, u32)> = Vec::new();
        for (&sequence, &count) in self.counts.iter().rev() {
            match runs.last_mut() {
                Some((first, _, of)) if *of == count && first.checked_sub(1) == Some(sequence) => *first = sequence,
                _ => runs.push((sequence, sequence, count)),
            }
        }
        let mut room = BYTES.saturating_sub(self.stream.len());
        let mut words: Vec<String> = Vec::new();
        for (first, last, count) in runs {
            let word = if first == last { format!("{first}:{count}") } else { format!("{first}-{last}:{count}") };
            let Some(left) = room.checked_sub(word.len() + 1) else { break };
            room = left;
            words.push(word);
        }
        words.push(self.stream.clone());
        words.reverse();
        words.join(" ")
    }

    /// How many attempts at a message do not count.
    pub fn of(&self, sequence: u64) -> u32 {
        self.counts.get(&sequence).copied().unwrap_or_default()
    }

    /// The same with more such attempts, as far as there is room.
    #[must_use]
    pub fn and(&self, more: &BTreeMap<u64, u32>) -> Self {
        self.merged(more, u32::saturating_add)
    }

    /// The same with at least what `other` has, as far as there is room.
    #[must_use]
    pub fn at_least(&self, other: &Self) -> Self {
        self.merged(&other.counts, u32::max)
    }

    fn merged(&self, others: &BTreeMap<u64, u32>, merge: impl Fn(u32, u32) -> u32) -> Self {
        let mut all = self.clone();
        for (&sequence, &count) in others.iter().filter(|(_, count)| **count > 0) {
            let known = all.counts.entry(sequence).or_default();
            *known = merge(*known, count);
        }
        Self::read(&all.text(), &self.stream, self.floor)
    }
}

/// Messages that follow each other, and the count of each.
fn run(word: &str) -> Option<(RangeInclusive<u64>, u32)> {
    let (messages, count) = word.split_once(':')?;
    let (first, last) = messages.split_once('-').unwrap_or((messages, messages));
    let count: u32 = count.parse().ok()?;
    Some((first.parse().ok()?..=last.parse().ok()?, count.min(MOST_OF_ONE)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MADE: &str = "2026-01-31T12:00:00.123Z";

    fn none(floor: u64) -> Excused {
        Excused::read("", MADE, floor)
    }

    fn counts(of: &[(u64, u32)]) -> BTreeMap<u64, u32> {
        of.iter().copied().collect()
    }

    #[test]
    fn messages_that_follow_each_other_are_written_as_one() {
        let excused = none(5).and(&counts(&[(3, 1), (7, 2), (9, 1), (10, 1), (11, 1), (12, 3)]));
        assert_eq!(excused.text(), format!("{MADE} 7:2 9-11:1 12:3"));
        assert_eq!([3, 7, 8, 10, 12].map(|sequence| excused.of(sequence)), [0, 2, 0, 1, 3]);
        // What is settled by now falls out.
        let later = Excused::read(&excused.text(), MADE, 10);
        assert_eq!(later.and(&counts(&[(11, 1)])).text(), format!("{MADE} 11:2 12:3"));
        // So does what is of a stream that was there before.
        assert_eq!(Excused::read(&excused.text(), "later", 0).text(), "later");
    }

    #[test]
    fn what_cannot_be_read_is_nothing_and_harms_nothing_else() {
        let text = format!("{MADE} x:1 7 8:x 9-:1 12-10:1 -:1 18446744073709551615:4 4294967296:4294967296 20:2");
        let read = Excused::read(&text, MADE, 0);
        assert_eq!([7, 8, 9, 11, 20, u64::MAX, 4_294_967_296].map(|of| read.of(of)), [0, 0, 0, 0, 2, 4, 0]);
        assert_eq!(Excused::read(&format!("{MADE} 1-18446744073709551615:1"), MADE, 0).counts.len(), MOST);
    }

    #[test]
    fn no_text_excuses_a_message_for_ever() {
        let read = Excused::read(&format!("{MADE} 1-3:4294967295 4:7"), MADE, 0);
        assert_eq!([1, 3, 4].map(|sequence| read.of(sequence)), [MOST_OF_ONE, MOST_OF_ONE, 7]);
        // What more there is is no more to be told.
        assert_eq!(read.and(&counts(&[(1, 5)])), read);
    }

    #[test]
    fn the_same_messages_many_times_over_take_no_longer_than_others() {
        // It would be some minutes.
        let again = "1-8000:1 ".repeat(1 << 20);
        let excused = Excused::read(&format!("{MADE} 9000:7 {again}"), MADE, 0);
        assert_eq!((excused.counts.len(), excused.of(8_000), excused.of(9_000)), (8_000, 1, 0));
    }

    #[test]
    fn the_text_is_bounded_and_the_newest_is_kept() {
        // None follows another.
        let many: BTreeMap<u64, u32> = (1..=5_000).map(|number| (number * 2, 1)).collect();
        let excused = none(0).and(&many);
        assert!((BYTES - 20..=BYTES).contains(&excused.text().len()), "{}", excused.text().len());
        assert_eq!((excused.of(2), excused.of(10_000)), (0, 1));
        // What is known is what stands there.
        assert_eq!(Excused::read(&excused.text(), MADE, 0), excused);
        let all: BTreeMap<u64, u32> = (1..=5_000).map(|number| (number, 1)).collect();
        assert_eq!(none(0).and(&all).text(), format!("{MADE} 1-5000:1"));
    }

    #[test]
    fn of_two_hosts_that_end_at_once_neither_takes_what_the_other_has_written() {
        let standing = none(0).and(&counts(&[(1, 1)]));
        let (one, other) = (standing.and(&counts(&[(1, 1), (2, 1)])), standing.and(&counts(&[(3, 1)])));
        let both = other.at_least(&one);
        assert_eq!([1, 2, 3].map(|sequence| both.of(sequence)), [2, 1, 1]);
        assert_eq!(both.at_least(&one), both);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(of in proptest::collection::btree_map(1u64..300, 1u32..4, 0..200)) {
            let excused = none(100).and(&of);
            prop_assert_eq!(&Excused::read(&excused.text(), MADE, 100), &excused);
            for (sequence, count) in of {
                prop_assert_eq!(excused.of(sequence), if sequence > 100 { count } else { 0 });
            }
        }

        #[test]
        fn any_text_can_be_read(text in "([0-9:\\- ]|x){0,80}") {
            let read = Excused::read(&format!("{MADE} {text}"), MADE, 3);
            prop_assert!(read.counts.len() <= MOST && read.text().len() <= BYTES);
        }
    }
}
