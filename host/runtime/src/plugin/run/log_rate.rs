//! Breaks output into lines, and limits how much of it is logged. Pure.
//!
//! A guest can print without end. So long lines are broken, and lines beyond a rate are counted instead of logged.

use std::time::{Duration, Instant};

use crate::plugin::limits::instance::LINE;

/// Bytes of standard error that are kept for a failure that may follow: more than its dead letter keeps, which then
/// says that there was more.
const LAST_WORDS: usize = 2048;

/// Appends to `last_words`, and keeps their end only.
pub(crate) fn remember(last_words: &mut Vec<u8>, bytes: &[u8]) {
    let tail = bytes.get(bytes.len().saturating_sub(LAST_WORDS)..).unwrap_or(bytes);
    let surplus = (last_words.len() + tail.len()).saturating_sub(LAST_WORDS);
    last_words.drain(..surplus.min(last_words.len()));
    last_words.extend_from_slice(tail);
}

/// Cuts a stream of bytes into lines of at most [`LINE`] bytes.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    partial: Vec<u8>,
}

impl LineBuffer {
    pub(crate) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut rest = piece;
            while self.partial.len() + rest.len() > LINE {
                let (head, tail) = rest.split_at(LINE.saturating_sub(self.partial.len()).min(rest.len()));
                self.partial.extend_from_slice(head);
                rest = tail;
                self.flush(&mut line);
            }
            self.partial.extend_from_slice(rest);
            if piece.ends_with(b"\n") {
                self.flush(&mut line);
            }
        }
    }

    pub(crate) fn flush(&mut self, mut line: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            line(String::from_utf8_lossy(&self.partial).trim_end());
            self.partial.clear();
        }
    }
}

/// A token bucket in bytes.
#[derive(Debug)]
pub(crate) struct RateCap {
    rate: usize,
    left: usize,
    since: Instant,
    dropped: Dropped,
    /// When dropped lines were reported last.
    told: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Log,
    /// Log the line, and before it that lines were dropped.
    LogAfter(Dropped),
    Drop,
}

impl RateCap {
    pub(crate) fn new(rate: usize, now: Instant) -> Self {
        Self { rate, left: rate, since: now, dropped: Dropped::default(), told: None }
    }

    pub(crate) fn admit(&mut self, bytes: usize, now: Instant) -> Admission {
        // Refilled once a second: a flood is then reported once a second and not line by line.
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.left = self.rate;
        }
        if bytes > self.left {
            // No line passes for the rest of this second. Otherwise short lines would slip through between dropped
            // ones.
            self.left = 0;
            self.dropped.lines += 1;
            self.dropped.bytes = self.dropped.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            return Admission::Drop;
        }
        self.left -= bytes;
        match self.take_dropped(now) {
            Some(dropped) => Admission::LogAfter(dropped),
            None => Admission::Log,
        }
    }

    /// The dropped lines that were not reported yet, at most once a second.
    pub(crate) fn take_dropped(&mut self, now: Instant) -> Option<Dropped> {
        let lately = self.told.is_some_and(|told| now.saturating_duration_since(told) < Duration::from_secs(1));
        if lately || self.dropped.lines == 0 {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(writes: &[&[u8]]) -> Vec<String> {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for write in writes {
            buffer.push(write, |line| lines.push(line.to_owned()));
        }
        buffer.flush(|line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        assert_eq!(lines(&[b"one", b" line\r\ntwo", b"\nthree"]), ["one line", "two", "three"]);
    }

    #[test]
    fn a_long_line_is_broken() {
        let long = vec![b'x'; LINE * 2 + 5];
        assert_eq!(lines(&[&long]).iter().map(String::len).collect::<Vec<_>>(), [LINE, LINE, 5]);
    }

    #[test]
    fn a_flood_is_counted_and_told_once() {
        let start = Instant::now();
        let mut rate = RateCap::new(10, start);
        assert_eq!(rate.admit(8, start), Admission::Log);
        assert_eq!(rate.admit(3, start), Admission::Drop);
        assert_eq!(rate.admit(1, start), Admission::Drop);
        let later = start + Duration::from_secs(1);
        assert_eq!(rate.admit(10, later), Admission::LogAfter(Dropped { lines: 2, bytes: 4 }));
        assert_eq!(rate.admit(1, later), Admission::Drop);
        assert_eq!(rate.take_dropped(later), None);
        assert_eq!(rate.take_dropped(later + Duration::from_secs(1)), Some(Dropped { lines: 1, bytes: 1 }));
    }

    #[test]
    fn the_end_of_standard_error_is_remembered() {
        let mut last_words = Vec::new();
        remember(&mut last_words, &[b'a'; LAST_WORDS]);
        remember(&mut last_words, b"end");
        assert_eq!(last_words.len(), LAST_WORDS);
        assert!(last_words.ends_with(b"aend"));
        remember(&mut last_words, &[b'b'; 3 * LAST_WORDS]);
        assert_eq!(last_words, [b'b'; LAST_WORDS]);
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_and_no_line_is_too_long(
            writes in proptest::collection::vec(proptest::collection::vec(0x20u8..0x7f, 0..9000), 0..6),
        ) {
            let all = writes.concat();
            let got = lines(&writes.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert!(got.iter().all(|line| line.len() <= LINE));
            // Spaces at the end of a line are trimmed.
            let squeeze = |text: &str| text.replace(' ', "");
            prop_assert_eq!(squeeze(&got.concat()), squeeze(&String::from_utf8(all).unwrap_or_default()));
        }
    }
}
