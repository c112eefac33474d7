#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use super::*;
use proptest::prelude::*;
use tidegate_guest::testing::{START, any_observation, refusal, state};

/// An observation of a second with this backlog, and the rate it is processed at.
fn at(second: u64, running: u32, pending: u64, rate: f64) -> Observation {
    Observation { now_ms: START + second * 1_000, pending, completion_rate: rate, ..Observation::test(running) }
}

fn wants(settings: &[(&str, &str)], observation: &Observation) -> (u32, String) {
    let decision = decide(observation, state(init, settings, None));
    (decision.desired, decision.reason)
}

/// Without what limits a change.
const PLAIN: &[(&str, &str)] = &[
    ("workers-per-scale-up", "1000"),
    ("workers-per-scale-down", "1000"),
    ("scale-up-cooldown", "0s"),
    ("scale-down-cooldown", "0s"),
];

#[test]
fn the_backlog_is_to_be_processed_in_the_target_time() {
    // 4 workers process 100 a second, so 4000 take 40 s: twice the target, twice the workers.
    assert_eq!(wants(PLAIN, &at(0, 4, 4_000, 100.0)), (8, "backlog 4000 at 100/s takes 40.0 s, needs 8".into()));
    assert_eq!(wants(PLAIN, &at(0, 4, 1_000, 100.0)).0, 2);
    assert_eq!(wants(PLAIN, &at(0, 4, 1_250, 100.0)).0, 3, "2.5 is rounded");
    assert_eq!(wants(&[PLAIN, &[("target-processing", "10s")]].concat(), &at(0, 4, 4_000, 100.0)).0, 16);
}

#[test]
fn there_are_no_more_workers_than_messages_and_at_least_one() {
    assert_eq!(wants(PLAIN, &at(0, 100, 30, 0.5)).0, 30);
    assert_eq!(wants(PLAIN, &at(0, 100, 1, 100.0)).0, 1);
    assert_eq!(wants(PLAIN, &at(0, 100, 30, 0.0)).0, 1, "a rate of nothing says nothing");
    assert_eq!(wants(PLAIN, &at(0, 100, 0, 5.0)).0, 1);
}

#[test]
fn two_workers_at_most_are_added_or_stopped_and_then_nothing_changes_for_90_seconds() {
    let first = decide(&at(0, 4, 40_000, 100.0), state(init, &[], None));
    assert_eq!(first.desired, 6);
    let second = decide(&at(89, 6, 40_000, 100.0), first.state);
    assert_eq!(second.desired, 6);
    assert!(second.reason.ends_with("cooling down for 89 of 90 s"), "{}", second.reason);
    let third = decide(&at(90, 6, 40_000, 100.0), second.state);
    assert_eq!(third.desired, 8);
    assert_eq!(wants(&[], &at(0, 40, 1_000, 100.0)).0, 38);
}

#[test]
fn each_way_has_its_own_step_and_cooldown() {
    let settings =
        [("workers-per-scale-up", "5"), ("scale-up-cooldown", "0s"), ("scale-down-cooldown", "1m"), ("lookback", "1s")];
    let up = decide(&at(0, 4, 40_000, 100.0), state(init, &settings, None));
    assert_eq!(up.desired, 9);
    let up = decide(&at(1, 9, 40_000, 100.0), up.state);
    assert_eq!(up.desired, 14);
    assert_eq!(decide(&at(40, 14, 0, 100.0), up.state.clone()).desired, 14);
    assert_eq!(decide(&at(150, 14, 0, 100.0), up.state).desired, 12);
}

#[test]
fn backlog_and_rate_are_means_of_the_time_looked_back() {
    let mut state = state(init, PLAIN, None);
    for second in 0..60 {
        state = decide(&at(second, 10, 0, 0.0), state).state;
    }
    for second in 60..119 {
        state = decide(&at(second, 10, 8_000, 100.0), state).state;
    }
    let decision = decide(&at(119, 10, 8_000, 100.0), state);
    assert_eq!(decision.reason, "backlog 4000 at 50/s takes 80.0 s, needs 40");
}

#[test]
fn the_last_worker_goes_when_nothing_was_left_for_the_time_looked_back() {
    let mut state = decide(&at(0, 1, 5, 5.0), state(init, &[], None)).state;
    let mut stopped = None;
    for second in 1..200 {
        let decision = decide(&at(second, 1, 0, 0.0), state);
        state = decision.state;
        if decision.desired == 0 {
            stopped = Some(second);
            break;
        }
    }
    assert_eq!(stopped, Some(120));
}

#[test]
fn the_first_message_starts_a_worker() {
    assert_eq!(wants(&[], &at(0, 0, 3, 0.0)), (1, "3 messages, nobody runs".into()));
    assert_eq!(wants(&[], &at(0, 0, 0, 0.0)).0, 0);
}

#[test]
fn a_change_that_the_limits_of_the_workload_forbid_begins_no_cooldown() {
    let full = Observation { max: 4, ..at(0, 4, 40_000, 100.0) };
    let decision = decide(&full, state(init, &[], None));
    assert_eq!(decision.desired, 4);
    assert_eq!(decide(&at(1, 4, 40_000, 100.0), decision.state).desired, 6);
}

#[test]
fn a_new_version_goes_on_with_the_cooldown_and_takes_new_settings() {
    let before = decide(&at(0, 4, 40_000, 100.0), state(init, &[], None)).state;
    let after = state(init, &[("scale-up-cooldown", "2m")], Some(&before));
    assert_eq!(decide(&at(100, 6, 40_000, 100.0), after).desired, 6);
    let other = state(init, &[("lookback", "1m")], Some(&before));
    assert_eq!(decide(&at(60, 6, 40_000, 100.0), other).desired, 6);
}

#[test]
fn a_state_of_another_version_or_policy_is_ignored() {
    for previous in ["drain/2 rate=1", "step/1 rate=window", "", "drain/1 pending=x rate=x"] {
        assert_eq!(state(init, &[], Some(previous.as_bytes())), state(init, &[], None), "{previous:?}");
    }
    assert_eq!(decide(&Observation::test(5), b"step/1".to_vec()).desired, 5);
}

#[test]
fn settings_that_are_wrong_or_unknown_are_refused() {
    assert_eq!(refusal(init, "target-processing", "0s"), "target-processing = \"0s\": must be at least 1ms");
    assert!(refusal(init, "lookback", "120").starts_with("lookback = \"120\": must be a duration"));
    assert!(
        refusal(init, "workers-per-scale-up", "0")
            .starts_with("workers-per-scale-up = \"0\": must be a whole number from 1")
    );
    assert!(refusal(init, "pending", "1").contains("there is no such setting"));
}

proptest! {
    #[test]
    fn nothing_that_is_observed_makes_it_panic_or_loses_the_state(
        looks in prop::collection::vec(any_observation(), 1..70),
    ) {
        let mut state = state(init, &[], None);
        for observation in looks {
            state = decide(&observation, state).state;
            prop_assert!(state.len() < 8_192);
            let (rule, memory) = read_state(&state).unwrap();
            prop_assert_eq!(&write_state(&rule, &memory), &state);
        }
    }

    #[test]
    fn a_larger_backlog_never_wants_fewer(
        running in 1_u32..500, less in 1_u64..1_000_000, more in 1_u64..1_000_000, rate in 0.1..1e5,
    ) {
        let (less, more) = (less.min(more), less.max(more));
        prop_assert!(wants(PLAIN, &at(0, running, less, rate)).0 <= wants(PLAIN, &at(0, running, more, rate)).0);
    }
}
