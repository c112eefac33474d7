//! What tests of policies need: settings as a host has them, and the fold.
//!
//! ```
//! use tidegate_guest::policy::{Decision, Observation};
//! use tidegate_guest::{Settings, testing};
//!
//! # fn init(settings: Settings, _: Option<&[u8]>) -> Result<Vec<u8>, String> { settings.finish().map(|()| vec![]) }
//! # fn decide(seen: &Observation, state: Vec<u8>) -> Decision { Decision::stay(seen, "", state) }
//! let quiet = Observation::test(3);
//! let busy = Observation { pending: 500, now_ms: quiet.now_ms + 1000, ..quiet };
//! let decisions = testing::fold(init, decide, &[], [quiet, busy]);
//! assert_eq!(decisions[1].desired, 3);
//! ```
#![allow(clippy::panic, reason = "a test that cannot go on ends")]

use crate::Settings;
use crate::policy::{Decision, Observation};
pub use crate::test_signals::{keys_waiting, limited};

/// A midnight, UTC, in milliseconds since the Unix epoch: every slot of a day begins here.
pub const START: u64 = 1_700_006_400_000;

impl Observation {
    /// So many workers, of at most 1000, and nothing else, for tests: nothing has arrived, nothing waits. The time is
    /// [`START`].
    #[must_use]
    pub fn test(running: u32) -> Self {
        Self {
            now_ms: START,
            running,
            min: 0,
            max: 1_000,
            idle_ms: None,
            arrival_rate: 0.0,
            mean_arrival_rate: 0.0,
            completion_rate: 0.0,
            pending: 0,
            ack_pending: 0,
            redelivered: 0,
            oldest_pending_ms: None,
            failure_ratio: 0.0,
            busy_ratio: 0.0,
            service_time_ms: 0.0,
        }
    }

    /// Messages that are not done: those that no consumer has had and those that are being handled or wait for another
    /// try.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.pending.saturating_add(self.ack_pending)
    }
}

impl Decision {
    /// The number of workers stays as it is.
    #[must_use]
    pub fn stay(seen: &Observation, reason: impl Into<String>, state: Vec<u8>) -> Self {
        Self { desired: seen.running, reason: reason.into(), state }
    }
}

/// The first function of a policy.
pub type Init = fn(Settings, Option<&[u8]>) -> Result<Vec<u8>, String>;

/// The second.
pub type Decide = fn(&Observation, Vec<u8>) -> Decision;

/// Settings of these keys and values.
///
/// # Panics
/// If a key is there twice.
#[must_use]
#[track_caller]
pub fn settings(pairs: &[(&str, &str)]) -> Settings {
    Settings::new(owned(pairs)).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// The first state that a policy makes of these settings, and of the last state of the version before.
///
/// # Panics
/// If the policy refuses.
#[must_use]
#[track_caller]
pub fn state(init: Init, pairs: &[(&str, &str)], previous: Option<&[u8]>) -> Vec<u8> {
    init(settings(pairs), previous).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// What a policy says when it refuses a setting.
///
/// # Panics
/// If it does not.
#[must_use]
#[track_caller]
pub fn refusal(init: Init, key: &str, value: &str) -> String {
    match init(settings(&[(key, value)]), None) {
        Ok(_) => panic!("{key} = \"{value}\" was not refused"),
        Err(refusal) => refusal,
    }
}

/// What a policy decides on one observation after another, each with the state of the decision before.
///
/// # Panics
/// If the policy refuses its settings.
#[track_caller]
pub fn fold(
    init: Init,
    decide: Decide,
    pairs: &[(&str, &str)],
    seen: impl IntoIterator<Item = Observation>,
) -> Vec<Decision> {
    let mut state = state(init, pairs, None);
    let decisions = seen.into_iter().map(|seen| {
        let decision = decide(&seen, std::mem::take(&mut state));
        state.clone_from(&decision.state);
        decision
    });
    decisions.collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[cfg(any(test, feature = "proptest"))]
mod any {
    use proptest::prelude::*;

    use crate::policy::Observation;

    prop_compose! {
        /// Any observation, with numbers that no host would send among them. Needs the feature `proptest`.
        pub fn any_observation()(
            now_ms: u64, running: u32, min: u32, max: u32, idle_ms: Option<u64>,
            rates in prop::array::uniform6(any::<f64>()),
            pending: u64, ack_pending: u64, redelivered: u64, oldest_pending_ms: Option<u64>,
        ) -> Observation {
            let [arrival_rate, mean_arrival_rate, completion_rate, failure_ratio, busy_ratio, service_time_ms] = rates;
            Observation {
                now_ms, running, min, max, idle_ms, arrival_rate, mean_arrival_rate, completion_rate, pending,
                ack_pending, redelivered, oldest_pending_ms, failure_ratio, busy_ratio, service_time_ms,
            }
        }
    }
}

#[cfg(any(test, feature = "proptest"))]
pub use any::any_observation;

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts its calls.
    fn init(settings: Settings, _: Option<&[u8]>) -> Result<Vec<u8>, String> {
        settings.finish()?;
        Ok(vec![0])
    }

    fn decide(seen: &Observation, state: Vec<u8>) -> Decision {
        let calls = state.first().copied().unwrap_or(0) + 1;
        Decision { desired: seen.running + u32::from(calls), reason: String::new(), state: vec![calls] }
    }

    #[test]
    fn a_limit_keeps_a_decision_at_the_workers_that_run() {
        let desired = |running, desired| {
            let seen = Observation::test(running);
            let decision = Decision { desired, reason: "backlog".to_owned(), state: vec![] };
            decision.unless_limited(&seen)
        };
        assert_eq!(desired(2, 9).desired, 9);
        limited(true);
        assert_eq!(desired(2, 9).reason, "backlog; a limit keeps it at 2");
        assert_eq!((desired(2, 9).desired, desired(2, 1).desired, desired(0, 4).desired), (2, 1, 1));
        limited(false);
        assert_eq!(desired(2, 9).desired, 9);
    }

    #[test]
    fn a_decision_adds_no_more_workers_than_there_are_keys_with_messages() {
        let desired = |running, desired| {
            let seen = Observation::test(running);
            Decision { desired, reason: "backlog".to_owned(), state: vec![] }.unless_limited(&seen)
        };
        keys_waiting(Some(5));
        assert_eq!(desired(2, 9).reason, "backlog; there are no more keys, which keeps it at 5");
        // Those that run stay.
        assert_eq!((desired(2, 9).desired, desired(7, 9).desired, desired(7, 6).desired), (5, 7, 6));
        keys_waiting(Some(0));
        assert_eq!((desired(0, 4).desired, desired(0, 1).desired), (1, 1));
        keys_waiting(None);
        assert_eq!(desired(2, 9).desired, 9);
    }

    #[test]
    fn each_decision_has_the_state_of_the_one_before() {
        let decisions = fold(init, decide, &[], [Observation::test(0), Observation::test(10)]);
        assert_eq!(decisions.iter().map(|decision| decision.desired).collect::<Vec<_>>(), [1, 12]);
        assert_eq!(refusal(init, "pace", "1"), "pace = \"1\": there is no such setting; there are none");
    }
}
