//! The largest value of a window.

use std::collections::VecDeque;

/// What the largest value of the last while needs: each value that no later one reaches.
///
/// For the least value, record `u32::MAX - value`. There are never more than some 130 values, however often it is
/// asked: those of the same 128th of the window are one, which may then count for that much longer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peaks {
    falling: VecDeque<(u64, u32)>,
}

/// Into how many parts of a window values are told apart.
const PARTS: u64 = 128;

impl Peaks {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value and gives the largest of those that are younger than `window_ms`, this one among them.
    ///
    /// A clock that goes back makes the value as old as the newest.
    pub fn record(&mut self, now_ms: u64, value: u32, window_ms: u64) -> u32 {
        let now_ms = self.falling.back().map_or(now_ms, |(then, _)| now_ms.max(*then));
        while self.falling.back().is_some_and(|(_, before)| *before <= value) {
            self.falling.pop_back();
        }
        while self.falling.front().is_some_and(|(then, _)| now_ms - then >= window_ms) {
            self.falling.pop_front();
        }
        let part_ms = (window_ms / PARTS).max(1);
        match self.falling.back_mut() {
            Some((then, _)) if *then / part_ms == now_ms / part_ms => *then = now_ms,
            _ => self.falling.push_back((now_ms, value)),
        }
        self.falling.front().map_or(value, |(_, largest)| *largest)
    }

    /// Writes it as one word: of each value the milliseconds since the one before, and the value.
    #[must_use]
    pub fn write(&self) -> String {
        let mut before = 0;
        let mut words = Vec::with_capacity(self.falling.len());
        for (then, value) in &self.falling {
            words.push(format!("{}:{value}", then - before));
            before = *then;
        }
        words.join(",")
    }

    /// Reads what [`Peaks::write`] wrote; `None` if it is damaged.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut peaks = Self::new();
        let mut then = 0_u64;
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let (gap, value) = word.split_once(':')?;
            then = then.checked_add(gap.parse().ok()?)?;
            let value = value.parse().ok()?;
            if peaks.falling.back().is_some_and(|(_, before)| *before <= value) {
                return None;
            }
            peaks.falling.push_back((then, value));
        }
        Some(peaks)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_largest_counts_until_it_is_too_old() {
        let mut peaks = Peaks::new();
        let largest: Vec<u32> = [(0, 5), (100, 9), (200, 4), (299, 7), (400, 1), (700, 1)]
            .map(|(now, value)| peaks.record(now, value, 300))
            .to_vec();
        assert_eq!(largest, [5, 9, 9, 9, 7, 1]);
    }

    #[test]
    fn without_a_window_only_the_newest_counts() {
        let mut peaks = Peaks::new();
        assert_eq!(peaks.record(0, 9, 0), 9);
        assert_eq!(peaks.record(0, 3, 0), 3);
        assert_eq!(peaks.write(), "0:3");
    }

    #[test]
    fn what_is_damaged_is_not_read() {
        for text in ["1", "1:x", "1:5,1:5", "1:5,", "18446744073709551615:5,1:4", "1:-1"] {
            assert_eq!(Peaks::read(text), None, "{text:?}");
        }
        assert_eq!(Peaks::read(""), Some(Peaks::new()));
    }

    #[test]
    fn what_falls_at_each_look_of_an_hour_is_kept_in_few_words() {
        let (mut peaks, hour) = (Peaks::new(), 3_600_000);
        for look in 0..72_000_u32 {
            peaks.record(1_700_000_000_000 + u64::from(look) * 100, u32::MAX - look, hour);
        }
        assert!(peaks.falling.len() <= 130 && peaks.write().len() < 3_000, "{}", peaks.write().len());
        // What is an hour old is forgotten a 128th of an hour later.
        let (oldest, _) = peaks.falling[0];
        assert!(1_700_000_000_000 + 7_199_900 - oldest < hour + hour / PARTS);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_search_through_everything(
            steps in prop::collection::vec((0_u64..500, 0_u32..20), 1..80), window in 1_u64..2_000,
        ) {
            let (mut peaks, mut now, mut all) = (Peaks::new(), 1_000_u64, vec![]);
            for (step, value) in steps {
                now += step;
                all.push((now, value));
                let within = |ms| all.iter().filter(|(then, _)| now - then < ms).map(|(_, v)| *v).max().unwrap();
                let largest = peaks.record(now, value, window);
                prop_assert!((within(window)..=within(window + window / PARTS)).contains(&largest));
                prop_assert_eq!(Peaks::read(&peaks.write()), Some(peaks.clone()));
            }
        }

        #[test]
        fn nothing_makes_it_panic(
            steps in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u64>()), 0..40), text: String,
        ) {
            let mut peaks = Peaks::new();
            for (now, value, window) in steps {
                peaks.record(now, value, window);
            }
            let _ = Peaks::read(&text);
        }
    }
}
