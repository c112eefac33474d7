//! From an observation and a state to a decision and the next state.
//!
//! Every call runs in a fresh instance: what the next one shall know must stand in the state.

use tidegate_guest::policy::{Decision, Observation};
use tidegate_guest::{Settings, state};

/// The name and version of the state's form. A form that changes gets the next number, and `State::read` goes on
/// reading the one before, so that a swap to the new version loses nothing.
const FORM: &str = "new-policy/1";
/// How long fewer workers must do before some are stopped.
const CALM_MS: u64 = 10_000;

/// What is known from call to call, as text: `new-policy/1 per-worker=100 calm-since=1700000000000`.
#[derive(Debug, PartialEq)]
struct State {
    /// The setting: messages of the backlog for each worker.
    per_worker: u64,
    /// Since when fewer workers would do, by `now-ms`.
    calm_since: Option<u64>,
}

/// Checks the settings. Of the version before only the time is taken over, for the settings may be new.
pub fn init(mut settings: Settings, previous: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let per_worker = settings.take_u64("per-worker", 100, 1..=u64::MAX)?;
    settings.finish()?;
    let calm_since = previous
        .and_then(State::read)
        .and_then(|state| state.calm_since);
    Ok(State {
        per_worker,
        calm_since,
    }
    .write())
}

/// Decides. A state that is not ours leaves the number as it is.
pub fn decide(seen: &Observation, bytes: Vec<u8>) -> Decision {
    let Some(mut state) = State::read(&bytes) else {
        return Decision::stay(seen, "the state is not one of this policy", bytes);
    };
    let backlog = seen.backlog();
    let needed = u32::try_from(backlog.div_ceil(state.per_worker)).unwrap_or(u32::MAX);
    state.calm_since = match needed < seen.running {
        true => state.calm_since.or(Some(seen.now_ms)),
        false => None,
    };
    let calm_ms = state
        .calm_since
        .map_or(0, |since| seen.now_ms.saturating_sub(since));
    let (desired, reason) = if needed >= seen.running || calm_ms >= CALM_MS {
        (needed, format!("a backlog of {backlog} needs {needed}"))
    } else {
        (
            seen.running,
            format!(
                "{needed} would do, for {} of {} s",
                calm_ms / 1000,
                CALM_MS / 1000
            ),
        )
    };
    Decision {
        desired,
        reason,
        state: state.write(),
    }
    .unless_limited(seen)
}

impl State {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut read = state::decode(FORM, bytes)?;
        let per_worker = read.take_u64("per-worker", 100, 1..=u64::MAX).ok()?;
        let calm_since = match read.take("calm-since") {
            Some(since) => Some(since.parse().ok()?),
            None => None,
        };
        read.finish().ok()?;
        Some(Self {
            per_worker,
            calm_since,
        })
    }

    fn write(&self) -> Vec<u8> {
        let mut pairs = vec![("per-worker", self.per_worker.to_string())];
        pairs.extend(
            self.calm_since
                .map(|since| ("calm-since", since.to_string())),
        );
        state::encode(FORM, &pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_guest::testing;

    fn seen(now_ms: u64, running: u32, pending: u64) -> Observation {
        Observation {
            now_ms,
            pending,
            ..Observation::test(running)
        }
    }

    fn with(per_worker: &str) -> Vec<u8> {
        testing::state(init, &[("per-worker", per_worker)], None)
    }

    #[test]
    fn each_worker_has_its_share_of_the_backlog() {
        let wanted = |pending| decide(&seen(0, 1, pending), with("10")).desired;
        assert_eq!([1, 10, 11, 1000].map(wanted), [1, 1, 2, 100]);
        assert_eq!(decide(&seen(0, 0, 0), with("10")).desired, 0);
    }

    #[test]
    fn workers_stop_only_after_a_calm_time() {
        let first = decide(&seen(5_000, 4, 10), with("10"));
        assert_eq!(
            (first.desired, first.reason.as_str()),
            (4, "1 would do, for 0 of 10 s")
        );
        let later = decide(&seen(15_000, 4, 10), first.state.clone());
        assert_eq!(later.desired, 1);
        // A burst in between begins the calm time anew.
        let burst = decide(&seen(14_000, 4, 40), first.state);
        assert_eq!(decide(&seen(15_000, 4, 10), burst.state).desired, 4);
    }

    #[test]
    fn the_state_comes_back_as_it_was_written() {
        for calm_since in [None, Some(7)] {
            let state = State {
                per_worker: 3,
                calm_since,
            };
            assert_eq!(State::read(&state.write()), Some(state));
        }
    }

    #[test]
    fn a_swap_keeps_the_time_and_takes_the_new_setting() {
        let before = decide(&seen(5_000, 4, 10), with("10")).state;
        let after = testing::state(init, &[("per-worker", "20")], Some(&before));
        assert_eq!(
            State::read(&after),
            Some(State {
                per_worker: 20,
                calm_since: Some(5_000)
            })
        );
        // What another policy has left is ignored.
        assert_eq!(testing::state(init, &[], Some(b"step/1")), with("100"));
    }

    #[test]
    fn settings_that_are_wrong_are_refused_by_name() {
        let whole = "must be a whole number from 1 to 18446744073709551615";
        assert_eq!(
            testing::refusal(init, "per-worker", "0"),
            format!("per-worker = \"0\": {whole}")
        );
        assert_eq!(
            testing::refusal(init, "pace", "1"),
            "pace = \"1\": there is no such setting; there are per-worker"
        );
    }

    #[test]
    fn a_state_that_is_not_ours_leaves_the_number_as_it_is() {
        assert_eq!(decide(&seen(0, 5, 1000), b"other/1".to_vec()).desired, 5);
    }
}
