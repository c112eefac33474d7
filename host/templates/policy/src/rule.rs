//! From an observation and a state to a decision and the next state.
//!
//! Every call runs in a fresh instance: what the next one shall know must stand in the state.

use crate::bindings::exports::tidegate::plugin::scaling::{Decision, Observation};

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
pub fn init(settings: Vec<(String, String)>, previous: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let mut per_worker = 100;
    for (key, value) in settings {
        per_worker = match (key.as_str(), value.parse()) {
            ("per-worker", Ok(messages)) if messages > 0 => messages,
            ("per-worker", _) => {
                return Err(format!(
                    "{key} = \"{value}\": must be a whole number above 0"
                ));
            }
            _ => {
                return Err(format!(
                    "{key} = \"{value}\": there is no such setting; there is per-worker"
                ));
            }
        };
    }
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
        let reason = "the state is not one of this policy".to_owned();
        return Decision {
            desired: seen.running,
            reason,
            state: bytes,
        };
    };
    let backlog = seen.pending.saturating_add(seen.ack_pending);
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
}

impl State {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
        if words.next()? != FORM {
            return None;
        }
        let per_worker = words
            .next()?
            .strip_prefix("per-worker=")?
            .parse()
            .ok()
            .filter(|messages| *messages > 0)?;
        let calm_since = match words.next() {
            Some(word) => Some(word.strip_prefix("calm-since=")?.parse().ok()?),
            None => None,
        };
        Some(Self {
            per_worker,
            calm_since,
        })
    }

    fn write(&self) -> Vec<u8> {
        let calm_since = self
            .calm_since
            .map_or(String::new(), |since| format!(" calm-since={since}"));
        format!("{FORM} per-worker={}{calm_since}", self.per_worker).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(now_ms: u64, running: u32, pending: u64) -> Observation {
        Observation {
            now_ms,
            running,
            min: 0,
            max: 64,
            idle_ms: Some(0),
            arrival_rate: 0.0,
            mean_arrival_rate: 0.0,
            completion_rate: 0.0,
            pending,
            ack_pending: 0,
            redelivered: 0,
            oldest_pending_ms: None,
            failure_ratio: 0.0,
            busy_ratio: 0.0,
            service_time_ms: 0.0,
        }
    }

    fn with(per_worker: &str) -> Vec<u8> {
        init(vec![("per-worker".into(), per_worker.into())], None).unwrap()
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
        let after = init(vec![("per-worker".into(), "20".into())], Some(&before)).unwrap();
        assert_eq!(
            State::read(&after),
            Some(State {
                per_worker: 20,
                calm_since: Some(5_000)
            })
        );
        // What another policy has left is ignored.
        assert_eq!(init(vec![], Some(b"step/1")).unwrap(), with("100"));
    }

    #[test]
    fn settings_that_are_wrong_are_refused_by_name() {
        let refused =
            |key: &str, value: &str| init(vec![(key.into(), value.into())], None).unwrap_err();
        assert_eq!(
            refused("per-worker", "0"),
            "per-worker = \"0\": must be a whole number above 0"
        );
        assert_eq!(
            refused("pace", "1"),
            "pace = \"1\": there is no such setting; there is per-worker"
        );
    }

    #[test]
    fn a_state_that_is_not_ours_leaves_the_number_as_it_is() {
        assert_eq!(decide(&seen(0, 5, 1000), b"other/1".to_vec()).desired, 5);
    }
}
