//! Averages over a window.

use std::collections::VecDeque;

/// Values in slots of equal length, for their mean over the last while.
///
/// A window is rounded to whole slots: it ends with the slot of now, and begins up to one slot late.
#[derive(Clone, Debug, PartialEq)]
pub struct Means {
    slot_ms: u64,
    most: usize,
    slots: VecDeque<Slot>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Slot {
    number: u64,
    sum: f64,
    count: u64,
}

impl Means {
    /// Nothing yet, in at most `most` slots of `slot_ms` milliseconds; of both at least one.
    #[must_use]
    pub fn new(slot_ms: u64, most: usize) -> Self {
        Self { slot_ms: slot_ms.max(1), most: most.max(1), slots: VecDeque::new() }
    }

    /// Adds a value. One that is not finite is left out. A clock that goes back adds to the newest slot.
    pub fn record(&mut self, now_ms: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let number = now_ms / self.slot_ms;
        match self.slots.back_mut() {
            Some(slot) if slot.number >= number => {
                slot.sum = (slot.sum + value).clamp(f64::MIN, f64::MAX);
                slot.count = slot.count.saturating_add(1);
            }
            _ => self.slots.push_back(Slot { number, sum: value, count: 1 }),
        }
        let newest = self.newest();
        while self.slots.front().is_some_and(|slot| newest - slot.number >= self.most as u64) {
            self.slots.pop_front();
        }
    }

    /// The mean of what was recorded in the last `window_ms`; `None` if that is nothing.
    #[must_use]
    pub fn mean(&self, now_ms: u64, window_ms: u64) -> Option<f64> {
        let now = (now_ms / self.slot_ms).max(self.newest());
        let length = window_ms.div_ceil(self.slot_ms).max(1);
        let (mut mean, mut count) = (0.0, 0.0);
        for slot in self.slots.iter().filter(|slot| now - slot.number < length) {
            // Means of means, so that no sum of large values overflows.
            count += slot.count as f64;
            mean += (slot.sum / slot.count as f64 - mean) * (slot.count as f64 / count);
        }
        (count > 0.0).then_some(mean)
    }

    fn newest(&self) -> u64 {
        self.slots.back().map_or(0, |slot| slot.number)
    }

    /// Writes it as one word: the length of a slot, then of each the distance to the one before, the sum, and how many
    /// values it has where they are not one.
    #[must_use]
    pub fn write(&self) -> String {
        let mut text = format!("{}", self.slot_ms);
        let mut before = 0;
        for slot in &self.slots {
            text.push_str(&format!(",{}:{}", slot.number - before, slot.sum));
            if slot.count != 1 {
                text.push_str(&format!("/{}", slot.count));
            }
            before = slot.number;
        }
        text
    }

    /// Reads what [`Means::write`] wrote; `None` if it is damaged, or its slots are of another length or too many.
    #[must_use]
    pub fn read(text: &str, slot_ms: u64, most: usize) -> Option<Self> {
        let mut means = Self::new(slot_ms, most);
        let mut words = text.split(',');
        if words.next()?.parse() != Ok(means.slot_ms) {
            return None;
        }
        let mut number = 0_u64;
        for word in words {
            let (gap, rest) = word.split_once(':')?;
            let gap: u64 = gap.parse().ok()?;
            let (sum, count) = rest.split_once('/').unwrap_or((rest, "1"));
            let (sum, count): (f64, u64) = (sum.parse().ok()?, count.parse().ok()?);
            let is_first = means.slots.is_empty();
            number = number.checked_add(gap)?;
            if !sum.is_finite() || count == 0 || (gap == 0 && !is_first) || means.slots.len() >= means.most {
                return None;
            }
            means.slots.push_back(Slot { number, sum, count });
        }
        Some(means)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mean_is_that_of_its_window() {
        let mut means = Means::new(1_000, 60);
        assert_eq!(means.mean(5_000, 60_000), None);
        for second in 0..60 {
            means.record(second * 1_000, if second < 54 { 0.0 } else { 10.0 });
        }
        assert_eq!(means.mean(59_999, 60_000), Some(1.0));
        assert_eq!(means.mean(59_999, 6_000), Some(10.0));
        assert_eq!(means.mean(62_000, 6_000), Some(10.0));
        assert_eq!(means.mean(66_000, 6_000), None);
    }

    #[test]
    fn every_value_of_a_slot_counts() {
        let mut means = Means::new(1_000, 60);
        for (ms, value) in [(0, 4.0), (10, 8.0), (1_000, 0.0)] {
            means.record(ms, value);
        }
        assert_eq!(means.mean(1_000, 2_000), Some(4.0));
        assert_eq!(means.write(), "1000,0:12/2,1:0");
    }

    #[test]
    fn what_is_older_than_the_slots_is_forgotten() {
        let mut means = Means::new(1_000, 2);
        for second in [0, 1, 2, 9] {
            means.record(second * 1_000, second as f64);
        }
        assert_eq!(means.write(), "1000,9:9");
    }

    #[test]
    fn what_is_damaged_or_of_other_slots_is_not_read() {
        for text in ["", "x", "1000,", "1000,1", "1000,1:x", "1000,1:2/0", "1000,1:inf", "1000,1:1,0:1", "2000,1:1"] {
            assert_eq!(Means::read(text, 1_000, 60), None, "{text:?}");
        }
        assert_eq!(Means::read("1000,1:1,1:1,1:1", 1_000, 2), None);
        assert_eq!(Means::read("1000,18446744073709551615:1,1:1", 1_000, 9), None);
    }

    proptest! {
        #[test]
        fn it_comes_back_as_it_was_written(steps in prop::collection::vec((0_u64..5_000, any::<f64>()), 0..80)) {
            let (mut means, mut now) = (Means::new(1_000, 60), 1_700_000_000_000);
            for (step, value) in steps {
                now += step;
                means.record(now, value);
            }
            prop_assert_eq!(Means::read(&means.write(), 1_000, 60), Some(means));
        }

        #[test]
        fn a_mean_lies_between_the_least_and_the_largest(
            values in prop::collection::vec((any::<u64>(), -1e300..1e300), 1..80),
        ) {
            let mut means = Means::new(1_000, 60);
            for &(now, value) in &values {
                means.record(now, value);
            }
            if let Some(mean) = means.mean(0, u64::MAX) {
                let least = values.iter().map(|(_, v)| *v).fold(f64::MAX, f64::min);
                let largest = values.iter().map(|(_, v)| *v).fold(f64::MIN, f64::max);
                let slack = 1e-9 * (largest.abs() + least.abs());
                prop_assert!(least - slack <= mean && mean <= largest + slack);
            }
        }
    }
}
