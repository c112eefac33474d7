#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use super::*;
use proptest::prelude::*;
use tidegate_guest::testing::{START, any_observation, refusal, state};

fn backlog_of(running: u32, pending: u64, ack_pending: u64) -> Observation {
    Observation { pending, ack_pending, ..Observation::test(running) }
}

fn at(seconds: u64, observation: Observation) -> Observation {
    Observation { now_ms: START + seconds * 1_000, ..observation }
}

fn wants(settings: &[(&str, &str)], observation: &Observation) -> (u32, String) {
    let decision = decide(observation, state(init, settings, None));
    (decision.desired, decision.reason)
}

#[test]
fn every_worker_gets_its_share_of_what_is_pending_and_unacknowledged() {
    assert_eq!(wants(&[], &backlog_of(0, 1, 0)), (1, "backlog 1 needs 1".into()));
    assert_eq!(wants(&[], &backlog_of(1, 10, 0)).0, 1);
    assert_eq!(wants(&[], &backlog_of(1, 10, 1)), (2, "backlog 11 needs 2".into()));
    assert_eq!(wants(&[("pending-per-worker", "100")], &backlog_of(9, 350, 50)).0, 4);
    assert_eq!(wants(&[], &backlog_of(1, u64::MAX, u64::MAX)).0, u32::MAX);
}

#[test]
fn a_backlog_up_to_the_activation_wakes_nobody() {
    let settings = [("activation", "15")];
    assert_eq!(wants(&settings, &backlog_of(0, 15, 0)), (0, "backlog 15 wakes nobody".into()));
    assert_eq!(wants(&settings, &backlog_of(0, 15, 1)).0, 2);
}

#[test]
fn the_last_worker_goes_when_the_cooldown_is_over() {
    let settings = [("cooldown", "30s")];
    let busy = decide(&backlog_of(4, 35, 0), state(init, &settings, None));
    assert_eq!(busy.desired, 4);

    let quiet = decide(&at(10, backlog_of(4, 0, 0)), busy.state);
    assert_eq!((quiet.desired, quiet.reason.as_str()), (1, "quiet for 10 of 30 s"));

    let busy_again = decide(&at(20, backlog_of(1, 3, 0)), quiet.state);
    let quiet = decide(&at(49, backlog_of(1, 0, 0)), busy_again.state);
    assert_eq!((quiet.desired, quiet.reason.as_str()), (1, "quiet for 29 of 30 s"));
    let quiet = decide(&at(50, backlog_of(1, 0, 0)), quiet.state);
    assert_eq!((quiet.desired, quiet.reason.as_str()), (0, "quiet for 30 s"));
}

#[test]
fn a_cooldown_begins_with_the_first_observation() {
    let first = decide(&backlog_of(2, 0, 0), state(init, &[("cooldown", "5s")], None));
    assert_eq!(first.desired, 1);
    assert_eq!(decide(&at(5, backlog_of(1, 0, 0)), first.state).desired, 0);
}

#[test]
fn without_a_cooldown_the_last_worker_goes_at_once() {
    assert_eq!(wants(&[("cooldown", "0s")], &backlog_of(7, 0, 0)).0, 0);
}

#[test]
fn a_clock_that_goes_back_keeps_the_workers() {
    let busy = decide(&at(100, backlog_of(1, 5, 0)), state(init, &[], None));
    assert_eq!(decide(&backlog_of(1, 0, 0), busy.state).desired, 1);
}

#[test]
fn steps_are_limited_each_way_by_itself() {
    let settings = [("max-step-up", "4"), ("max-step-down", "2"), ("cooldown", "0s")];
    assert_eq!(wants(&settings, &backlog_of(0, 1_000, 0)), (4, "backlog 1000 needs 100, 4 up at once".into()));
    assert_eq!(wants(&settings, &backlog_of(9, 1_000, 0)).0, 13);
    assert_eq!(wants(&settings, &backlog_of(9, 0, 0)), (7, "quiet for 0 s, 2 down at once".into()));
    assert_eq!(wants(&settings, &backlog_of(9, 75, 0)).0, 8);
    assert_eq!(wants(&settings, &backlog_of(1, 0, 0)).0, 0);
}

#[test]
fn a_new_version_goes_on_with_the_cooldown_and_takes_new_settings() {
    let before = decide(&backlog_of(4, 35, 0), state(init, &[], None)).state;
    let after = state(init, &[("cooldown", "20s")], Some(&before));
    assert_eq!(decide(&at(20, backlog_of(1, 0, 0)), after).desired, 0);
}

#[test]
fn a_state_of_another_version_or_policy_is_ignored() {
    for previous in ["backlog/2 last-active-ms=1", "step/1 rate=window", "", "backlog/1 last-active-ms=x"] {
        assert_eq!(state(init, &[], Some(previous.as_bytes())), state(init, &[], None), "{previous:?}");
    }
    assert_eq!(decide(&backlog_of(5, 0, 0), b"step/1".to_vec()).desired, 5);
}

#[test]
fn settings_that_are_wrong_or_unknown_are_refused() {
    assert_eq!(
        refusal(init, "pending-per-worker", "0"),
        "pending-per-worker = \"0\": must be a whole number from 1 to 4294967295"
    );
    assert!(refusal(init, "cooldown", "300").starts_with("cooldown = \"300\": must be a duration"));
    assert!(refusal(init, "last-active-ms", "1").contains("there is no such setting"));
}

fn any_rule() -> impl Strategy<Value = Rule> {
    (1_u32.., any::<u64>(), 0_u64..1_000_000, any::<u32>(), any::<u32>()).prop_map(
        |(share, activation, s, up, down)| Rule {
            pending_per_worker: share,
            activation,
            cooldown: Duration::from_secs(s).min(tidegate_guest::settings::LONGEST),
            max_step_up: up,
            max_step_down: down,
        },
    )
}

proptest! {
    #[test]
    fn the_rule_and_the_time_come_back_from_the_state_as_they_were(rule in any_rule(), last: Option<u64>) {
        let state = write_state(&rule, last);
        prop_assert_eq!(read_state(&state), Some((rule, last)));
    }

    #[test]
    fn a_step_never_exceeds_its_limit(rule in any_rule(), seen in any_observation()) {
        let (desired, running) = (decide(&seen, write_state(&rule, None)).desired, seen.running);
        if rule.max_step_up > 0 {
            prop_assert!(desired <= running.saturating_add(rule.max_step_up));
        }
        if rule.max_step_down > 0 {
            prop_assert!(desired >= running.saturating_sub(rule.max_step_down));
        }
    }

    #[test]
    fn a_larger_backlog_never_wants_fewer(rule in any_rule(), running: u32, less: u64, more: u64) {
        let (less, more) = (less.min(more), less.max(more));
        let desired = |pending| decide(&backlog_of(running, pending, 0), write_state(&rule, Some(START))).desired;
        prop_assert!(desired(less) <= desired(more));
    }

    #[test]
    fn an_active_backlog_always_has_a_worker(rule in any_rule(), seen in any_observation()) {
        prop_assume!(rule.is_active(&seen));
        prop_assert!(decide(&seen, write_state(&rule, None)).desired >= 1);
    }
}
