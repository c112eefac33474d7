//! How the number of workers moves by one.

use std::time::Duration;
use tidegate_guest::policy::{Decision, Observation};
use tidegate_guest::{
    Settings,
    settings::millis,
    state::{decode, encode},
};

const FORM: &str = "step/1";

/// Checks the settings. There is nothing in the state of a version before that could be of use.
pub(crate) fn init(settings: Settings, _previous: Option<&[u8]>) -> Result<Vec<u8>, String> {
    Ok(Rule::read(settings)?.state())
}

/// Decides. A state that is not ours leaves the number as it is.
pub(crate) fn decide(observation: &Observation, state: Vec<u8>) -> Decision {
    let rule = decode(FORM, &state).and_then(|settings| Rule::read(settings).ok());
    let (desired, reason) = match rule {
        Some(rule) => rule.decide(observation),
        None => (observation.running, "the state is not one of this policy".to_owned()),
    };
    Decision { desired, reason, state }.unless_limited(observation)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rate {
    Window,
    Mean,
}

#[derive(Debug, PartialEq)]
struct Rule {
    inactive_after: Duration,
    rate_per_worker: f64,
    rate: Rate,
}

impl Rule {
    /// Reads settings, or the state that [`Rule::state`] made of them.
    fn read(mut settings: Settings) -> Result<Self, String> {
        let rule = Self {
            inactive_after: settings.take_duration("inactive-after", Duration::from_secs(2))?,
            rate_per_worker: settings.take_f64("rate-per-worker", 500.0, 0.001..=1e9)?,
            rate: settings.take_choice("rate", Rate::Window, &[("window", Rate::Window), ("mean", Rate::Mean)])?,
        };
        settings.finish()?;
        Ok(rule)
    }

    fn state(&self) -> Vec<u8> {
        let rate = match self.rate {
            Rate::Window => "window",
            Rate::Mean => "mean",
        };
        encode(
            FORM,
            &[
                ("inactive-after", format!("{}ms", millis(self.inactive_after))),
                ("rate-per-worker", self.rate_per_worker.to_string()),
                ("rate", rate.to_owned()),
            ],
        )
    }

    fn decide(&self, observation: &Observation) -> (u32, String) {
        let running = observation.running;
        // Messages that wait to be retried count too: without a worker nobody would take them.
        let left = observation.pending.saturating_add(observation.ack_pending);
        match observation.idle_ms {
            Some(idle_ms) if idle_ms <= millis(self.inactive_after) => self.active(observation),
            _ if running == 0 && left > 0 => (1, format!("{left} messages left")),
            _ if running == 0 => (0, "idle".to_owned()),
            _ if running == 1 && left > 0 => (1, format!("idle, {left} messages left")),
            Some(idle_ms) => (running - 1, format!("idle {}", seconds(idle_ms))),
            None => (running - 1, "nothing has arrived yet".to_owned()),
        }
    }

    fn active(&self, observation: &Observation) -> (u32, String) {
        let running = observation.running;
        if running == 0 {
            return (1, "a message arrived".to_owned());
        }
        let rate = match self.rate {
            Rate::Window => observation.arrival_rate,
            Rate::Mean => observation.mean_arrival_rate,
        };
        // The conversion saturates, and takes a rate that is not a number for none.
        let needed = (rate / self.rate_per_worker).ceil() as u32;
        if needed > running {
            (running.saturating_add(1), format!("rate {rate:.0}/s needs {needed}"))
        } else {
            (running, format!("rate {rate:.0}/s needs no more than {running}"))
        }
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;
    use tidegate_guest::testing::{any_observation, refusal, state};

    fn looks(running: u32, idle_ms: Option<u64>, arrival_rate: f64) -> Observation {
        let mean_arrival_rate = arrival_rate / 10.0;
        Observation { idle_ms, arrival_rate, mean_arrival_rate, ..Observation::test(running) }
    }

    fn decide_with(settings: &[(&str, &str)], observation: &Observation) -> (u32, String) {
        let decision = decide(observation, state(init, settings, None));
        (decision.desired, decision.reason)
    }

    fn wants(observation: &Observation) -> (u32, String) {
        decide_with(&[], observation)
    }

    #[test]
    fn the_first_message_starts_one_worker() {
        assert_eq!(wants(&looks(0, Some(0), 9_000.0)), (1, "a message arrived".into()));
    }

    #[test]
    fn one_worker_a_tick_is_added_while_the_rate_needs_more() {
        assert_eq!(wants(&looks(1, Some(0), 812.0)), (2, "rate 812/s needs 2".into()));
        assert_eq!(wants(&looks(2, Some(0), 812.0)), (2, "rate 812/s needs no more than 2".into()));
        assert_eq!(wants(&looks(2, Some(0), 9_000.0)), (3, "rate 9000/s needs 18".into()));
    }

    #[test]
    fn a_lower_rate_alone_stops_no_worker() {
        assert_eq!(wants(&looks(8, Some(2_000), 1.0)).0, 8);
    }

    #[test]
    fn after_a_quiet_time_one_worker_a_tick_is_stopped() {
        assert_eq!(wants(&looks(3, Some(2_001), 9_000.0)), (2, "idle 2.0 s".into()));
        assert_eq!(wants(&looks(1, Some(3_050), 0.0)), (0, "idle 3.0 s".into()));
        assert_eq!(wants(&looks(0, Some(9_000), 0.0)), (0, "idle".into()));
        assert_eq!(wants(&looks(0, None, 0.0)), (0, "idle".into()));
        assert_eq!(wants(&looks(2, None, 0.0)), (1, "nothing has arrived yet".into()));
    }

    #[test]
    fn the_last_worker_stays_while_messages_are_left() {
        let quiet =
            |running, pending, ack_pending| Observation { pending, ack_pending, ..looks(running, Some(9_000), 0.0) };
        assert_eq!(wants(&quiet(2, 7, 0)).0, 1);
        assert_eq!(wants(&quiet(1, 7, 0)), (1, "idle, 7 messages left".into()));
        assert_eq!(wants(&quiet(1, 0, 1)).0, 1);
        assert_eq!(wants(&quiet(0, 0, 1)), (1, "1 messages left".into()));
    }

    #[test]
    fn settings_choose_the_threshold_the_rate_and_which_rate_is_read() {
        let busy = looks(1, Some(1_500), 5_000.0);
        assert_eq!(decide_with(&[("rate", "mean")], &busy), (1, "rate 500/s needs no more than 1".into()));
        assert_eq!(decide_with(&[("rate", "mean"), ("rate-per-worker", "99.5")], &busy).1, "rate 500/s needs 6");
        assert_eq!(decide_with(&[("inactive-after", "1s")], &busy).1, "idle 1.5 s");
    }

    #[test]
    fn settings_that_are_wrong_or_unknown_are_refused() {
        assert_eq!(refusal(init, "rate", "max"), "rate = \"max\": must be one of window, mean");
        assert_eq!(
            refusal(init, "rate-per-worker", "0"),
            "rate-per-worker = \"0\": must be a number from 0.001 to 1000000000"
        );
        assert!(refusal(init, "inactive-after", "2").starts_with("inactive-after = \"2\": must be a duration"));
        assert_eq!(
            refusal(init, "idle", "2s"),
            "idle = \"2s\": there is no such setting; there are inactive-after, rate-per-worker, rate"
        );
    }

    #[test]
    fn a_state_of_another_policy_leaves_the_number_as_it_is() {
        assert_eq!(decide(&looks(5, None, 0.0), vec![]).desired, 5);
    }

    proptest! {
        #[test]
        fn no_decision_moves_the_number_by_more_than_one(seen in any_observation()) {
            prop_assert!(wants(&seen).0.abs_diff(seen.running) <= 1);
        }

        #[test]
        fn there_is_always_a_worker_while_messages_are_left(seen in any_observation(), pending in 1_u64..) {
            let (desired, _) = wants(&Observation { pending, ..seen });
            prop_assert!(desired >= 1);
        }

        #[test]
        fn settings_come_back_from_the_state_as_they_were(ms in 0_u64..1_000_000_000, per_worker in 0.001..1e9) {
            let inactive_after = Duration::from_millis(ms);
            let rule = Rule { inactive_after, rate_per_worker: per_worker, rate: Rate::Mean };
            prop_assert_eq!(Rule::read(decode(FORM, &rule.state()).unwrap()).unwrap(), rule);
        }
    }
}
