//! How long what runs has been running.

use std::collections::VecDeque;

/// A count that rises and falls, kept as groups by age: so many of what there is now have been there since then. What
/// goes is taken from the youngest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ages {
    /// Since when, and how many there are that are at least as old; both rise.
    groups: VecDeque<(u64, u32)>,
}

impl Ages {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// There are `count` now; those that are new came at `since_ms`. Ages are told apart up to `oldest_ms`.
    ///
    /// A clock that goes back makes what is new as old as the youngest.
    pub fn record(&mut self, since_ms: u64, count: u32, oldest_ms: u64) {
        let mut since_ms = self.groups.back().map_or(since_ms, |(then, _)| since_ms.max(*then));
        let newest_ms = since_ms;
        while let Some((then, _)) = self.groups.back().copied().filter(|(_, before)| *before >= count) {
            since_ms = then;
            self.groups.pop_back();
        }
        match self.groups.back_mut() {
            Some((then, there)) if *then == since_ms => *there = count,
            _ if count > 0 => self.groups.push_back((since_ms, count)),
            _ => {}
        }
        while self.groups.get(1).is_some_and(|(then, _)| newest_ms.saturating_sub(*then) >= oldest_ms) {
            self.groups.pop_front();
        }
    }

    /// The sum of all ages, each at most `most_ms`, in milliseconds.
    #[must_use]
    pub fn sum_ms(&self, now_ms: u64, most_ms: u64) -> f64 {
        let (mut sum, mut older) = (0.0, 0);
        for (then, count) in &self.groups {
            let age_ms = now_ms.saturating_sub(*then).min(most_ms);
            sum += f64::from(count - older) * age_ms as f64;
            older = *count;
        }
        sum
    }

    /// Writes it as one word: of each group the milliseconds since the one before, and the count.
    #[must_use]
    pub fn write(&self) -> String {
        let mut before = 0;
        let mut words = Vec::with_capacity(self.groups.len());
        for (then, count) in &self.groups {
            words.push(format!("{}:{count}", then - before));
            before = *then;
        }
        words.join(",")
    }

    /// Reads what [`Ages::write`] wrote; `None` if it is damaged.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut ages = Self::new();
        let (mut then, mut before) = (0_u64, 0);
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let (gap, count) = word.split_once(':')?;
            then = then.checked_add(gap.parse().ok()?)?;
            let count = count.parse().ok().filter(|count| *count > before)?;
            ages.groups.push_back((then, count));
            before = count;
        }
        Some(ages)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_came_later_is_younger_and_goes_first() {
        let mut ages = Ages::new();
        for (since, count) in [(0, 2), (1_000, 5), (2_000, 3), (3_000, 4)] {
            ages.record(since, count, 10_000);
        }
        // Two since 0, one since 1 s, one since 3 s.
        assert_eq!(ages.sum_ms(4_000, 10_000), 8_000.0 + 3_000.0 + 1_000.0);
        assert_eq!(ages.sum_ms(4_000, 2_000), 3.0 * 2_000.0 + 1_000.0);
        ages.record(4_000, 0, 10_000);
        assert_eq!((ages.sum_ms(9_000, 10_000), ages), (0.0, Ages::new()));
    }

    #[test]
    fn who_is_older_than_is_told_apart_is_one_group() {
        let mut ages = Ages::new();
        for second in 0..100 {
            ages.record(second * 1_000, 1 + second as u32, 5_000);
        }
        assert!(ages.groups.len() <= 6, "{ages:?}");
        assert_eq!(ages.sum_ms(99_000, 5_000), 95.0 * 5_000.0 + 10_000.0);
    }

    #[test]
    fn what_is_damaged_is_not_read() {
        for text in ["1", "1:x", "1:5,1:5", "1:5,", "18446744073709551615:4,1:5", "1:0", "1:-1"] {
            assert_eq!(Ages::read(text), None, "{text:?}");
        }
        assert_eq!(Ages::read(""), Some(Ages::new()));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_of_all(
            steps in prop::collection::vec((0_u64..500, 0_usize..20), 1..80), oldest in 1_u64..2_000,
        ) {
            let (mut ages, mut now, mut all) = (Ages::new(), 1_000_u64, vec![]);
            for (step, count) in steps {
                now += step;
                all.resize(count, now);
                ages.record(now, count as u32, oldest);
                let sum: u64 = all.iter().map(|since| (now - since).min(oldest)).sum();
                prop_assert_eq!(ages.sum_ms(now, oldest), sum as f64);
                prop_assert_eq!(Ages::read(&ages.write()), Some(ages.clone()));
            }
        }

        #[test]
        fn nothing_makes_it_panic(
            steps in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u64>()), 0..40), text: String,
        ) {
            let mut ages = Ages::new();
            for (now, count, oldest) in steps {
                ages.record(now, count, oldest);
                let _ = ages.sum_ms(now, oldest);
            }
            let _ = Ages::read(&text);
        }
    }
}
