//! Workers that a person has set for all hosts, and when their time is over. Pure.
//!
//! The time is counted by leaders, in what they have watched, as a trial's is. What the clock of a host says is for who
//! looks.

use serde::{Deserialize, Serialize};

/// `workers.<workload>`: how many workers all hosts together are to run in place of what the policy says. Written by
/// the host that a person has asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SetWorkers {
    pub(crate) count: u32,
    /// For how many milliseconds; without it until somebody ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) for_ms: Option<u64>,
    /// When that is over by the clock of the host that wrote it, in milliseconds since the Unix epoch: for who looks,
    /// and for leaders of the version before, which end it by their clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until_ms: Option<u64>,
}

/// How much of that time is over, as the lease has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SetTime {
    /// The revision of what was set.
    pub(crate) revision: u64,
    /// When a leader saw it first, in milliseconds that leaders have watched.
    pub(crate) since_ms: u64,
    /// For how many it holds.
    pub(crate) for_ms: u64,
}

impl SetWorkers {
    /// For how many milliseconds this holds, if that has an end. One of the version before says until when alone.
    fn lasts_ms(&self, now_ms: u64) -> Option<u64> {
        self.for_ms.or_else(|| Some(self.until_ms?.saturating_sub(now_ms)))
    }
}

impl SetTime {
    /// What is counted of what is set now, with its revision, where this was counted before. `elapsed_ms` is what
    /// leaders have watched, and `now_ms` the time of day, in milliseconds since the Unix epoch.
    pub(crate) fn next(
        before: Option<Self>,
        set: Option<(u64, SetWorkers)>,
        elapsed_ms: u64,
        now_ms: u64,
    ) -> Option<Self> {
        let (revision, set) = set?;
        // One that begins later than now was not counted: what leaders have watched may have begun anew.
        let counted = before.filter(|before| before.revision == revision && before.since_ms <= elapsed_ms);
        counted.or_else(|| Some(Self { revision, since_ms: elapsed_ms, for_ms: set.lasts_ms(now_ms)? }))
    }

    /// Whether it is over when leaders have watched for so long.
    pub(crate) fn is_over(self, elapsed_ms: u64) -> bool {
        elapsed_ms.saturating_sub(self.since_ms) >= self.for_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const NOW: u64 = 1_700_000_000_000;

    fn set(for_ms: Option<u64>, until_ms: Option<u64>) -> SetWorkers {
        SetWorkers { count: 3, for_ms, until_ms }
    }

    #[test]
    fn the_time_is_what_leaders_have_watched_whatever_their_clocks_say() {
        for wrong in [NOW - HOUR, NOW, NOW + HOUR] {
            let set = Some((7, set(Some(60_000), Some(NOW + 60_000))));
            let began = SetTime::next(None, set, 5_000, wrong);
            // The next leader has another clock, and goes on from what the lease says.
            let later = SetTime::next(began, set, 64_999, NOW + 24 * HOUR);
            assert_eq!(later, began);
            assert!(!later.unwrap().is_over(64_999) && later.unwrap().is_over(65_000));
        }
    }

    #[test]
    fn what_is_set_anew_begins_anew_and_what_has_no_end_is_not_counted() {
        let first = SetTime::next(None, Some((7, set(Some(60_000), None))), 0, NOW);
        let second = SetTime::next(first, Some((9, set(Some(60_000), None))), 50_000, NOW);
        assert!(first.unwrap().is_over(60_000) && !second.unwrap().is_over(60_000));
        assert_eq!(SetTime::next(second, Some((11, set(None, None))), 50_000, NOW), None);
        assert_eq!(SetTime::next(second, None, 50_000, NOW), None);
    }

    #[test]
    fn what_began_later_than_now_begins_anew() {
        let set = Some((7, set(Some(60_000), None)));
        let first = SetTime::next(None, set, 1 << 51, NOW);
        let anew = SetTime::next(first, set, 1_000, NOW);
        assert_eq!(anew, Some(SetTime { revision: 7, since_ms: 1_000, for_ms: 60_000 }));
    }

    #[test]
    fn one_of_the_version_before_says_until_when_alone() {
        let time = SetTime::next(None, Some((7, set(None, Some(NOW + 500)))), 20_000, NOW);
        assert_eq!(time, Some(SetTime { revision: 7, since_ms: 20_000, for_ms: 500 }));
        assert!(SetTime::next(None, Some((7, set(None, Some(1)))), 20_000, NOW).unwrap().is_over(20_000));
    }
}
