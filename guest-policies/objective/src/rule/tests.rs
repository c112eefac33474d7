#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use super::*;
use proptest::prelude::*;
use tidegate_guest::testing::{START, any_observation, refusal, state};

/// An observation of a second with this rate, calls of 200 ms and so many messages in the system.
fn at(ms: u64, running: u32, rate: f64, in_system: u64) -> Observation {
    Observation {
        now_ms: START + ms,
        arrival_rate: rate,
        service_time_ms: 200.0,
        pending: in_system,
        ..Observation::test(running)
    }
}

/// The second of two looks that lie this far apart.
fn wants_after(interval_ms: u64, settings: &[(&str, &str)], rate: f64, in_system: u64) -> (u32, String) {
    let first = decide(&at(0, 1, rate, in_system), state(init, settings, None));
    let second = decide(&at(interval_ms, 1, rate, in_system), first.state);
    (second.desired, second.reason)
}

#[test]
fn the_rate_needs_what_erlang_c_says_and_the_backlog_what_works_it_off() {
    let (desired, reason) = wants_after(1_000, &[("standby", "always")], 24.0, 3);
    assert_eq!((desired, reason.as_str()), (6, "24.0/s of 200 ms need 6, backlog 3 needs 1"));
    // In half the objective a worker begins one message and 2.5 more.
    assert_eq!(wants_after(1_000, &[], 24.0, 35), (10, "24.0/s of 200 ms need 6, backlog 35 needs 10".into()));
    assert_eq!(wants_after(1_000, &[], 24.0, 36).0, 11);
    assert_eq!(wants_after(1_000, &[("work-off", "1")], 24.0, 60).0, 10);
}

#[test]
fn a_worker_without_a_message_stands_by_only_where_a_message_could_not_wait_for_the_next_look() {
    assert_eq!(wants_after(1_000, &[], 24.0, 2).0, 2);
    assert_eq!(wants_after(1_000, &[], 24.0, 0).0, 0);
    assert_eq!(wants_after(1_200, &[], 24.0, 0).0, 6, "the looks are too far apart");
    assert_eq!(wants_after(1_000, &[("start-delay", "200ms")], 24.0, 0).0, 6, "workers start too late");
    assert_eq!(wants_after(1_000, &[("objective", "500ms")], 24.0, 0).0, 7);
    assert_eq!(wants_after(1_000, &[("objective", "10s"), ("start-delay", "9s")], 24.0, 0).0, 0);
    assert_eq!(wants_after(1_000, &[("standby", "always")], 24.0, 0).0, 6);
    assert_eq!(wants_after(1_000, &[("standby", "always")], 0.0, 0).0, 0);
}

/// The state after a minute at 24/s with so many workers that take 30 s to start.
fn settled(running: u32, settings: &[(&str, &str)]) -> Vec<u8> {
    let first = decide(&at(0, running, 24.0, 3), state(init, settings, None));
    decide(&at(60_000, running, 24.0, 3), first.state).state
}

#[test]
fn a_worker_goes_when_at_no_time_in_which_one_could_start_and_begin_it_was_needed() {
    let settings = [("start-delay", "30s"), ("burst-memory", "0s")];
    let (few, most) = ("10.0/s of 200 ms need 3", "backlog 3 needs 0");
    let dip = decide(&at(70_000, 6, 10.0, 3), settled(6, &settings));
    assert_eq!((dip.desired, dip.reason), (6, format!("{few} (held at 6), {most}")));
    // New settings do not forget it.
    let other = [("share", "0.98")].into_iter().chain(settings).collect::<Vec<_>>();
    let held = decide(&at(90_000, 6, 10.0, 3), state(init, &other, Some(&dip.state)));
    assert_eq!(held.desired, 6);
    let over = decide(&at(91_500, 6, 10.0, 3), held.state.clone());
    assert_eq!((over.desired, over.reason), (3, format!("{few}, {most}")));
    // Nor is anything held where workers start at once, or a message can wait for one.
    for settings in [&[][..], &[("start-delay", "30s"), ("objective", "2m")]] {
        assert_eq!(decide(&at(90_000, 6, 0.0, 0), state(init, settings, Some(&held.state))).desired, 0);
    }
}

#[test]
fn a_backlog_needs_what_is_left_of_it_when_a_worker_could_be_there() {
    let state = settled(20, &[("start-delay", "30s"), ("burst-memory", "0s")]);
    // 20 workers handle 3,000 in 30 s, and 720 come.
    let reason = |in_system| decide(&at(61_000, 20, 24.0, in_system), state.clone()).reason;
    assert_eq!(reason(2_280), "24.0/s of 200 ms need 6, backlog 2280 needs 0");
    assert_eq!(reason(2_315), "24.0/s of 200 ms need 6, backlog 2315 needs 10");
}

/// A look each second with as many workers as were wanted; of the last, what is wanted and why.
fn after(seconds: u64, settings: &[(&str, &str)], see: impl Fn(u64) -> (f64, u64)) -> (u32, String) {
    let (mut state, mut running, mut reason) = (state(init, settings, None), 0, String::new());
    for second in 0..seconds {
        let (rate, in_system) = see(second);
        let decision = decide(&at(second * 1_000, running, rate, in_system), state);
        (running, reason, state) = (decision.desired, decision.reason, decision.state);
    }
    (running, reason)
}

#[test]
fn workers_for_a_backlog_stay_until_they_have_started_and_worked() {
    let settings = [("start-delay", "30s")];
    let backlog = |_| (0.0, 350);
    assert_eq!(after(1, &settings, backlog), (100, "0.0/s of 200 ms need 0, backlog 350 needs 100".into()));
    let held = "0.0/s of 200 ms need 0 (held at 100), backlog 350 needs 0";
    assert_eq!(after(31, &settings, backlog), (100, held.into()));
    assert_eq!(after(34, &settings, |second| (0.0, if second < 31 { 350 } else { 0 })).0, 0);
}

#[test]
fn where_workers_start_slowly_there_are_enough_for_the_bursts_that_were_seen() {
    // A minute has ten seconds of 100/s; a worker takes five to start.
    let bursts = |second| if second % 60 < 10 { (100.0, 20) } else { (10.0, 2) };
    let (desired, reason) = after(600, &[("start-delay", "5s")], bursts);
    assert!(reason.starts_with("10.0/s of 200 ms need 3 (bursts to 106.6/s need 23), "), "{reason}");
    assert_eq!(desired, 23);
    for settings in [&[("start-delay", "5s"), ("burst-memory", "0s")][..], &[("standby", "always")]] {
        assert_eq!(after(600, settings, bursts).0, 3, "{settings:?}");
    }
}

#[test]
fn the_square_root_rule_is_a_setting() {
    let settings = [("standby", "always"), ("staffing", "square-root"), ("objective", "1ms")];
    assert_eq!(wants_after(1_000, &settings, 500.0, 0).0, 124, "100 and 2.4 times its root");
}

#[test]
fn calls_that_take_longer_than_the_objective_need_a_worker_each() {
    let slow = Observation { service_time_ms: 60_000.0, ..at(0, 40, 0.0, 40) };
    let decision = decide(&slow, state(init, &[], None));
    assert_eq!(decision.desired, 40);
    let waiting = Observation { pending: 30, ack_pending: 40, ..slow };
    assert_eq!(decide(&waiting, decision.state).desired, 70);
}

#[test]
fn a_service_time_is_what_is_set_until_one_is_measured_and_then_follows_it() {
    let unknown = Observation { service_time_ms: 0.0, ..at(0, 0, 50.0, 60) };
    let first = decide(&unknown, state(init, &[], None));
    assert_eq!((first.desired, first.reason.as_str()), (10, "50.0/s of 100 ms need 6, backlog 60 needs 10"));
    let second = decide(&at(1_000, 10, 50.0, 60), first.state);
    assert!(second.reason.contains("of 200 ms"), "{}", second.reason);
    let slower = Observation { service_time_ms: 1_200.0, ..at(6_000, 10, 50.0, 60) };
    assert!(decide(&slower, second.state).reason.contains("of 700 ms"), "half of the way in half of ten seconds");
}

#[test]
fn an_early_look_is_not_taken_for_the_interval() {
    let first = decide(&at(0, 1, 24.0, 0), state(init, &[], None));
    let second = decide(&at(1_200, 1, 24.0, 0), first.state);
    let early = decide(&at(1_205, 0, 24.0, 0), second.state);
    assert_eq!((second.desired, early.desired), (6, 0), "after one early look of 5 ms the interval counts as 1050 ms");
    let first = decide(&at(0, 1, 24.0, 0), state(init, &[], None));
    let second = decide(&at(2_000, 1, 24.0, 0), first.state);
    assert_eq!(decide(&at(2_005, 0, 24.0, 0), second.state).desired, 6);
}

#[test]
fn a_new_version_goes_on_with_the_service_time_and_takes_new_settings() {
    let before = decide(&at(0, 1, 24.0, 7), state(init, &[], None)).state;
    let after = state(init, &[("objective", "2s")], Some(&before));
    let unmeasured = Observation { service_time_ms: 0.0, ..at(1_000, 1, 24.0, 60) };
    assert_eq!(decide(&unmeasured, after).reason, "24.0/s of 200 ms need 6, backlog 60 needs 10");
}

#[test]
fn a_state_of_another_version_or_policy_is_ignored() {
    let damaged = ["objective/1 interval-ms=x", "objective/1 interval-ms=1 wanted=x"];
    for previous in damaged.into_iter().chain(["objective/2 interval-ms=1", "step/1 rate=window", ""]) {
        assert_eq!(state(init, &[], Some(previous.as_bytes())), state(init, &[], None), "{previous:?}");
    }
    assert_eq!(decide(&Observation::test(5), b"step/1".to_vec()).desired, 5);
}

#[test]
fn settings_that_are_wrong_or_unknown_are_refused() {
    assert_eq!(refusal(init, "objective", "0s"), "objective = \"0s\": must be at least 1ms");
    // What is finer than a millisecond is cut off.
    assert_eq!(refusal(init, "objective", "1ns"), "objective = \"1ns\": must be at least 1ms");
    assert_eq!(refusal(init, "share", "99"), "share = \"99\": must be a number from 0.5 to 0.999999");
    assert_eq!(refusal(init, "staffing", "b"), "staffing = \"b\": must be one of erlang-c, square-root");
    assert!(refusal(init, "service-ms", "1").contains("there is no such setting"));
}

proptest! {
    #[test]
    fn nothing_that_is_observed_makes_it_panic_or_loses_the_state(
        looks in prop::collection::vec(any_observation(), 1..20),
    ) {
        let mut state = state(init, &[("start-delay", "5m")], None);
        for observation in looks {
            state = decide(&observation, state).state;
            prop_assert!(state.len() < 1_024);
            let (objective, memory) = read_state(&state).unwrap();
            prop_assert_eq!(&write_state(&objective, &memory), &state);
        }
    }

    #[test]
    fn there_is_always_a_worker_while_messages_are_left(seen in any_observation(), pending in 1_u64..) {
        let observation = Observation { pending, ..seen };
        prop_assert!(decide(&observation, state(init, &[], None)).desired >= 1);
    }

    #[test]
    fn a_larger_backlog_never_wants_fewer(rate in 0.0..1e4, less in 0_u64..1_000_000, more in 0_u64..1_000_000) {
        let wants = |in_system| decide(&at(0, 1, rate, in_system), state(init, &[], None)).desired;
        prop_assert!(wants(less.min(more)) <= wants(less.max(more)));
    }
}
