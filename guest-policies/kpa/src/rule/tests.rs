#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use super::*;
use proptest::prelude::*;
use tidegate_guest::testing::{START, any_observation, refusal, state};

/// An observation of a second with so many messages in the system.
fn at(second: u64, running: u32, in_system: u64) -> Observation {
    let (ack_pending, pending) = (in_system.min(u64::from(running)), in_system.saturating_sub(u64::from(running)));
    Observation { now_ms: START + second * 1_000, pending, ack_pending, ..Observation::test(running) }
}

/// Decides once a second, each decision carried out, and gives the numbers wanted.
fn follow(settings: &[(&str, &str)], running: u32, in_system: impl IntoIterator<Item = u64>) -> Vec<u32> {
    let (mut state, mut running, mut wanted) = (state(init, settings, None), running, vec![]);
    for (second, in_system) in (0..).zip(in_system) {
        let decision = decide(&at(second, running, in_system), state);
        (running, state) = (decision.desired, decision.state);
        wanted.push(running);
    }
    wanted
}

fn steady(in_system: u64, seconds: usize) -> impl Iterator<Item = u64> {
    std::iter::repeat_n(in_system, seconds)
}

/// One message a worker.
const ONE: &[(&str, &str)] = &[("target", "1"), ("target-utilization", "100")];

#[test]
fn seventy_of_a_hundred_messages_are_what_one_worker_is_for() {
    let wants = |in_system| decide(&at(0, 1, in_system), state(init, &[], None)).desired;
    assert_eq!((wants(70), wants(71), wants(700)), (1, 2, 10));
}

#[test]
fn the_rate_is_the_metric_if_it_is_chosen() {
    let busy = Observation { arrival_rate: 281.0, ..at(0, 1, 9_999) };
    assert_eq!(decide(&busy, state(init, &[("metric", "rps")], None)).desired, 3);
}

#[test]
fn a_steady_load_is_met_by_the_stable_window() {
    let decision = decide(&at(0, 10, 10), state(init, ONE, None));
    let mut state = decision.state;
    for second in 1..=61 {
        state = decide(&at(second, 10, 10), state).state;
    }
    let decision = decide(&at(62, 10, 10), state);
    assert_eq!((decision.desired, decision.reason.as_str()), (10, "10.0 over 60 s need 10"));
}

#[test]
fn a_surge_is_met_by_the_panic_window_and_the_number_does_not_fall_in_a_panic() {
    let load = steady(4, 120).chain(steady(40, 10)).chain(steady(4, 130));
    let wanted = follow(ONE, 1, load);
    assert_eq!(wanted[119], 4);
    assert_eq!(wanted[120], 10, "six seconds: five of 4 and one of 40");
    assert_eq!(wanted[126], 40, "the panic window is full");
    let stop = (126..wanted.len()).find(|&second| wanted[second] < 40).unwrap();
    assert!(stop > 180, "a panic lasts a stable window after the last time over the threshold, not until {stop}");
    assert_eq!(wanted.last(), Some(&4));
}

#[test]
fn less_than_twice_what_runs_is_no_panic() {
    let wanted = follow(ONE, 1, steady(10, 120).chain(steady(19, 1)).chain(steady(10, 9)));
    assert_eq!(wanted[119..123], [10, 11, 11, 11]);
}

#[test]
fn one_decision_multiplies_or_divides_by_no_more_than_the_rates() {
    let settings = [ONE, &[("max-scale-up-rate", "2"), ("scale-to-zero-grace", "0s")]].concat();
    assert_eq!(follow(&settings, 1, steady(1_000, 4)), [2, 4, 8, 16]);
    let falling = [ONE, &[("stable-window", "6s"), ("max-scale-down-rate", "1.1")]].concat();
    let wanted = follow(&falling, 1, steady(1, 1).chain(steady(64, 20)).chain(steady(0, 25)));
    let fall: Vec<u32> = wanted.into_iter().skip_while(|&n| n < 64).skip_while(|&n| n == 64).collect();
    assert_eq!(fall[..6], [58, 52, 47, 42, 38, 34]);
}

#[test]
fn the_number_that_runs_at_the_first_look_is_kept_by_a_panic() {
    let wanted = follow(ONE, 8, steady(0, 100));
    assert_eq!(wanted[60], 8);
    assert!(wanted[61] < 8);
}

#[test]
fn the_last_worker_goes_after_a_stable_window_and_the_grace_time() {
    let wanted = follow(ONE, 1, steady(1, 60).chain(steady(0, 120)));
    let zero = wanted.iter().position(|&n| n == 0).unwrap();
    assert_eq!(zero, 60 + 59 + 30);
}

#[test]
fn the_first_message_starts_a_worker() {
    let quiet = follow(&[("stable-window", "6s"), ("scale-to-zero-grace", "0s")], 0, steady(0, 3).chain(steady(1, 1)));
    assert_eq!(quiet, [0, 0, 0, 1]);
    assert_eq!(follow(&[("activation-scale", "3")], 0, steady(1, 1)), [3]);
}

#[test]
fn a_lower_number_waits_for_the_scale_down_delay() {
    let settings = [ONE, &[("stable-window", "6s"), ("scale-down-delay", "1m")]].concat();
    let wanted = follow(&settings, 1, steady(4, 20).chain(steady(2, 70)));
    assert_eq!((wanted[19], wanted[78], wanted[89]), (4, 4, 2));
}

#[test]
fn a_new_version_goes_on_with_the_panic_and_takes_new_settings() {
    let before = decide(&at(0, 1, 50), state(init, ONE, None));
    assert_eq!(before.desired, 50);
    let after = state(init, &[ONE, &[("activation-scale", "2")]].concat(), Some(&before.state));
    assert_eq!(decide(&at(1, 50, 0), after).desired, 50);
    let other = state(init, &[ONE, &[("stable-window", "5m")]].concat(), Some(&before.state));
    assert_eq!(decide(&at(1, 50, 0), other).desired, 50);
}

#[test]
fn a_state_of_another_version_or_policy_is_ignored() {
    for previous in ["kpa/2 history=1000", "step/1 rate=window", "", "kpa/1 history=x"] {
        assert_eq!(state(init, &[], Some(previous.as_bytes())), state(init, &[], None), "{previous:?}");
    }
    assert_eq!(decide(&Observation::test(5), b"step/1".to_vec()).desired, 5);
}

#[test]
fn settings_that_are_wrong_or_unknown_are_refused() {
    assert_eq!(refusal(init, "metric", "cpu"), "metric = \"cpu\": must be one of concurrency, rps");
    assert_eq!(refusal(init, "stable-window", "2s"), "stable-window = \"2s\": must be a duration from 6s to 1h");
    assert!(
        refusal(init, "max-scale-up-rate", "1").starts_with("max-scale-up-rate = \"1\": must be a number from 1.01")
    );
    assert!(refusal(init, "history", "1000").contains("there is no such setting"));
}

proptest! {
    #[test]
    fn nothing_that_is_observed_makes_it_panic_or_loses_the_state(
        looks in prop::collection::vec(any_observation(), 1..70),
    ) {
        let mut state = state(init, &[("scale-down-delay", "1m")], None);
        for observation in looks {
            state = decide(&observation, state).state;
            prop_assert!(state.len() < 8_192);
            let (rule, memory) = read_state(&state).unwrap();
            prop_assert_eq!(&write_state(&rule, &memory), &state);
        }
    }

    #[test]
    fn there_is_always_a_worker_while_messages_are_left(seen in any_observation(), pending in 1_u64..) {
        let observation = Observation { pending, ..seen };
        prop_assert!(decide(&observation, state(init, &[], None)).desired >= 1);
    }
}
