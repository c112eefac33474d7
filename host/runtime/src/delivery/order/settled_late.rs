//! Messages that were settled so late that the server may have delivered them again before it heard of that.
//!
//! Such a delivery looks as if its message were unsettled and here, which it need not be, so it must not stand for one
//! that is elsewhere. It is given back: if the server has it as unsettled, because the ack was lost, it comes once
//! more.

use std::collections::{HashSet, VecDeque};

/// How many are remembered. A delivery that crosses its ack comes soon or not at all.
const MOST: usize = 1 << 16;

/// The last of them, by their place in the stream.
#[derive(Debug, Default)]
pub(crate) struct SettledLate {
    all: HashSet<u64>,
    oldest_first: VecDeque<u64>,
}

impl SettledLate {
    pub(crate) fn add(&mut self, sequence: u64) {
        if !self.all.insert(sequence) {
            return;
        }
        self.oldest_first.push_back(sequence);
        if self.oldest_first.len() > MOST
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    /// Whether it is one of them. It is none any more.
    pub(crate) fn take(&mut self, sequence: u64) -> bool {
        let found = self.all.remove(&sequence);
        if found {
            self.oldest_first.retain(|other| *other != sequence);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered_until_they_are_taken() {
        let mut late = SettledLate::default();
        let most = u64::try_from(MOST).unwrap_or_default();
        (0..=most).for_each(|sequence| late.add(sequence));
        assert!(!late.take(0) && late.take(1) && !late.take(1) && late.take(most));
        assert_eq!((late.all.len(), late.oldest_first.len()), (MOST - 2, MOST - 2));
    }
}
