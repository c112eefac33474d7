//! What the rate becomes in the time until a worker that is asked for now is there, learned from what it became.
//!
//! For each level of the rate it is remembered which levels followed that much later, and how many messages came at
//! those. So what may follow now is told by what followed when the rate was as it is now: a steady stream has next to
//! nothing above it, one that comes in bursts has its bursts.

use std::collections::{BTreeMap, VecDeque};
use tidegate_guest::Settings;

/// Into how many levels a doubling of the rate is divided.
const LEVELS: f64 = 4.0;
/// Into how many parts the time ahead, and that of the memory, is divided: the state grows with both.
const PARTS: u64 = 64;
/// The most pairs of levels; the lightest go. Real traces have some hundred.
const MOST: usize = 1_000;
/// With fewer messages than this a pair is forgotten.
const LEAST: f64 = 0.05;

/// What followed what.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bursts {
    /// When the rate was at which level, from before the time ahead until now.
    seen: VecDeque<(u64, u8)>,
    /// From a level to the one that followed: how many messages came at that.
    followed: BTreeMap<(u8, u8), f64>,
    /// When what is old last lost weight.
    faded_ms: u64,
}

impl Bursts {
    /// Learns that the rate is `rate` now and was in the last `gap_ms`. It follows what was seen `ahead_ms` ago, and
    /// what is `memory_ms` old weighs a third.
    pub(crate) fn record(&mut self, now_ms: u64, gap_ms: u64, rate: f64, ahead_ms: u64, memory_ms: u64) {
        if !rate.is_finite() || rate < 0.0 || self.seen.back().is_some_and(|(at, _)| *at > now_ms) {
            return;
        }
        self.fade(now_ms, memory_ms);
        let then_ms = now_ms.saturating_sub(ahead_ms);
        while self.seen.get(1).is_some_and(|(at, _)| *at <= then_ms) {
            self.seen.pop_front();
        }
        let level = level(rate);
        // What was seen long before says nothing of then.
        let known = self.seen.front().filter(|(at, _)| *at <= then_ms && then_ms - at <= ahead_ms);
        if let Some((_, before)) = known.copied() {
            let messages = rate.min(1e12) * gap_ms.min(ahead_ms) as f64 / 1_000.0;
            let weight = self.followed.entry((before, level)).or_default();
            *weight = rounded(*weight + messages);
            self.forget_the_lightest();
        }
        if self.seen.back().is_none_or(|(at, _)| now_ms - at >= ahead_ms / PARTS) {
            self.seen.push_back((now_ms, level));
        }
    }

    fn fade(&mut self, now_ms: u64, memory_ms: u64) {
        let since_ms = now_ms.saturating_sub(self.faded_ms);
        if since_ms < memory_ms / PARTS {
            return;
        }
        self.faded_ms = now_ms;
        let left = (-(since_ms as f64) / memory_ms.max(1) as f64).exp();
        self.followed.retain(|_, weight| {
            *weight = rounded(*weight * left);
            *weight >= LEAST
        });
    }

    fn forget_the_lightest(&mut self) {
        while self.followed.len() > MOST {
            let lightest = self.followed.iter().min_by(|a, b| a.1.total_cmp(b.1)).map(|(pair, _)| *pair);
            let _ = lightest.and_then(|pair| self.followed.remove(&pair));
        }
    }

    /// The rate that has to be counted with so much later: of the messages that followed a rate as it is now, at most
    /// the share `miss` came at a higher one. Never less than the rate now.
    #[must_use]
    pub(crate) fn ahead(&self, rate: f64, miss: f64) -> f64 {
        let now = level(rate);
        let row = self.followed.range((now, 0)..=(now, u8::MAX));
        let all: f64 = row.clone().map(|(_, weight)| weight).sum();
        let mut above = 0.0;
        for ((_, level), weight) in row.rev() {
            above += weight;
            if above > miss * all {
                return if *level > now { rate_of(*level) } else { rate };
            }
        }
        rate
    }

    /// Takes it out of a state; `None` if it is damaged.
    pub(crate) fn take(pairs: &mut Settings) -> Option<Self> {
        let mut bursts = Self::default();
        let Some(faded_ms) = pairs.take("faded-ms") else { return Some(bursts) };
        bursts.faded_ms = faded_ms.parse().ok()?;
        let (seen, followed) = (pairs.take("seen")?, pairs.take("followed")?);
        let mut at = 0_u64;
        for word in seen.split(',').filter(|_| !seen.is_empty()) {
            let (gap, level) = word.split_once(':')?;
            at = at.checked_add(gap.parse().ok()?)?;
            bursts.seen.push_back((at, level.parse().ok()?));
        }
        for word in followed.split(',').filter(|_| !followed.is_empty()) {
            let (levels, weight) = word.split_once(':')?;
            let (before, level) = levels.split_once('>')?;
            let weight = weight.parse().ok().filter(|weight: &f64| weight.is_finite() && *weight >= 0.0)?;
            bursts.followed.insert((before.parse().ok()?, level.parse().ok()?), weight);
        }
        (bursts.followed.len() <= MOST).then_some(bursts)
    }

    /// Writes what [`Bursts::take`] takes: of each time what lies between it and the one before.
    pub(crate) fn write(&self, pairs: &mut Vec<(&'static str, String)>) {
        if self.seen.is_empty() {
            return;
        }
        let mut before_ms = 0;
        let mut seen = Vec::with_capacity(self.seen.len());
        for (at, level) in &self.seen {
            seen.push(format!("{}:{level}", at - before_ms));
            before_ms = *at;
        }
        let followed: Vec<String> =
            self.followed.iter().map(|((before, level), weight)| format!("{before}>{level}:{weight}")).collect();
        pairs.push(("faded-ms", self.faded_ms.to_string()));
        pairs.push(("seen", seen.join(",")));
        pairs.push(("followed", followed.join(",")));
    }
}

/// The levels are of equal ratio, but where the rate is below one a second.
fn level(rate: f64) -> u8 {
    // The conversion saturates, and no rate reaches the last level.
    (LEVELS * (1.0 + rate).log2()).round() as u8
}

fn rate_of(level: u8) -> f64 {
    (f64::from(level) / LEVELS).exp2() - 1.0
}

/// So that the state stays short.
fn rounded(weight: f64) -> f64 {
    (weight.min(1e15) * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    const HOUR: u64 = 3_600_000;

    /// A look each second at these rates.
    fn after(rates: impl IntoIterator<Item = f64>) -> Bursts {
        let mut bursts = Bursts::default();
        for (second, rate) in (0_u64..).zip(rates) {
            bursts.record(second * 1_000, 1_000, rate, 5_000, HOUR);
        }
        bursts
    }

    fn pairs(bursts: &Bursts) -> Settings {
        let mut pairs = Vec::new();
        bursts.write(&mut pairs);
        Settings::new(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()).unwrap()
    }

    #[test]
    fn nothing_is_counted_with_that_was_not_seen() {
        assert_eq!(Bursts::default().ahead(10.0, 0.01), 10.0);
        assert_eq!(after([10.0; 600]).ahead(50.0, 0.01), 50.0);
    }

    #[test]
    fn a_burst_that_follows_often_enough_is_counted_with_and_one_that_does_not_is_not() {
        // Of each minute ten seconds at 100/s: those seconds that follow the quiet ones have a third of their messages.
        let bursts = after((0..3_600).map(|second| if second % 60 < 10 { 100.0 } else { 10.0 }));
        let ahead = bursts.ahead(10.0, 0.01);
        assert!((84.0..=119.0).contains(&ahead), "{ahead}");
        assert_eq!(bursts.ahead(10.0, 0.6), 10.0, "more than half of the messages may be missed");
        assert!(bursts.ahead(100.0, 0.01) <= 119.0, "nothing above a burst was seen");
    }

    #[test]
    fn a_steady_rate_has_nothing_above_it() {
        assert!((30.0..=33.0).contains(&after([30.0; 3_600]).ahead(30.0, 0.01)));
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut bursts = after((0..600).map(|second| if second % 60 < 10 { 100.0 } else { 10.0 }));
        for second in 600..12 * 3_600 {
            bursts.record(second * 1_000, 1_000, 10.0, 5_000, HOUR);
        }
        assert!(bursts.ahead(10.0, 0.01) < 12.0);
        assert_eq!(bursts.followed.len(), 1, "{bursts:?}");
    }

    #[test]
    fn what_comes_after_a_gap_does_not_follow_what_was_before() {
        let mut bursts = after([10.0; 60]);
        bursts.record(HOUR, HOUR - 59_000, 500.0, 5_000, HOUR);
        assert_eq!(bursts.ahead(10.0, 0.01), 10.0);
    }

    #[test]
    fn what_is_damaged_is_not_taken() {
        let state = |seen: &str, followed: &str| {
            let words = [("faded-ms", "0"), ("seen", seen), ("followed", followed)];
            Bursts::take(&mut Settings::new(words.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()).unwrap())
        };
        assert!(state("1:2", "2>3:1").is_some());
        for (seen, followed) in
            [("1", ""), ("1:x", ""), ("1:256", ""), ("", "1>2"), ("", "1:2"), ("", "1>2:inf"), ("", "1>2:-1")]
        {
            assert_eq!(state(seen, followed), None, "{seen} {followed}");
        }
        assert_eq!(state("18446744073709551615:1,1:1", ""), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_or_outgrow_its_state(
            looks in prop::collection::vec(
                (any::<u64>(), any::<u64>(), any::<f64>(), any::<u64>(), any::<u64>()),
                0..40,
            ),
        ) {
            let mut bursts = Bursts::default();
            for (now_ms, gap_ms, rate, ahead_ms, memory_ms) in looks {
                bursts.record(now_ms, gap_ms, rate, ahead_ms, memory_ms);
                prop_assert!(bursts.ahead(rate, 0.01) >= rate || rate.is_nan());
                prop_assert_eq!(Bursts::take(&mut pairs(&bursts)), Some(bursts.clone()));
            }
        }

        #[test]
        fn its_state_is_small(rates in prop::collection::vec(0.0..1e9, 2_000..4_000)) {
            let bursts = after(rates);
            let mut pairs = Vec::new();
            bursts.write(&mut pairs);
            let length: usize = pairs.iter().map(|(_, value)| value.len()).sum();
            prop_assert!(length < 32_000, "{length}");
        }
    }
}
