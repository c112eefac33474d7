#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use super::*;
use proptest::prelude::*;
use tidegate_guest::testing::{START, any_observation, refusal, state};

const DAY_S: u64 = 86_400;

fn at(second: u64, rate: f64) -> Observation {
    Observation { now_ms: START + second * 1_000, arrival_rate: rate, service_time_ms: 200.0, ..Observation::test(1) }
}

/// Workers that take a minute to start, so that the rate of a minute ahead matters.
const SLOW: &[(&str, &str)] = &[("start-delay", "1m")];

/// Looks every five seconds at what `rate` says, from one second up to another.
fn watch(mut state: Vec<u8>, from: u64, to: u64, rate: impl Fn(u64) -> f64) -> Vec<u8> {
    for second in (from..to).step_by(5) {
        state = decide(&at(second, rate(second)), state).state;
    }
    state
}

fn foretold(state: &[u8], second: u64, ahead_s: u64) -> Option<f64> {
    let (rule, learned) = read_state(state).unwrap();
    learned.history.foretell(&rule.model, START + second * 1_000, ahead_s * 1_000)
}

/// Few at night, many at noon.
fn daily(second: u64) -> f64 {
    100.0 - 90.0 * (second as f64 / DAY_S as f64 * std::f64::consts::TAU).cos()
}

#[test]
fn until_a_day_was_seen_it_is_the_plain_objective() {
    let state = watch(state(init, SLOW, None), 0, DAY_S - 5, daily);
    assert_eq!(foretold(&state, DAY_S - 5, 60), None);
    let decision = decide(&at(DAY_S - 5, 24.0), state);
    assert_eq!((decision.desired, decision.reason.as_str()), (6, "24.0/s of 200 ms need 6, backlog 0 needs 0"));
}

#[test]
fn after_a_day_the_rise_of_the_morning_is_foretold() {
    for season in ["multiplicative", "additive"] {
        let seven = 2 * DAY_S + 7 * 3_600;
        let state = watch(state(init, &[("season", season)], None), 0, seven, daily);
        let (now, hour) = (daily(seven), daily(seven + 3_600));
        let near = foretold(&state, seven, 10).unwrap();
        let far = foretold(&state, seven, 3_600).unwrap();
        assert!((near - now).abs() < 0.03 * now, "{season}: {near} is not near {now}");
        assert!((far - hour).abs() < 0.1 * hour && far > 1.1 * now, "{season}: {far} is not near {hour}");
    }
}

#[test]
fn a_higher_rate_that_is_foretold_is_planned_for_and_a_lower_one_is_not() {
    let seven = DAY_S + 7 * 3_600;
    let settings = [("start-delay", "30m")];
    let learned = watch(state(init, &settings, None), 0, seven, daily);
    let rising = decide(&at(seven, daily(seven)), learned);
    assert!(rising.reason.contains("foretold"), "{}", rising.reason);
    assert!(f64::from(rising.desired) > 0.2 * daily(seven + 1_500), "{} {}", rising.desired, rising.reason);

    let evening = DAY_S + 19 * 3_600;
    let learned = watch(state(init, &settings, None), 0, evening, daily);
    let falling = decide(&at(evening, daily(evening)), learned);
    assert!(!falling.reason.contains("foretold"), "{}", falling.reason);
}

#[test]
fn a_trend_is_followed_and_fades() {
    let known = watch(state(init, &[], None), 0, DAY_S, |_| 100.0);
    // Five more messages a second every ten seconds, for five minutes.
    let ramp = |second: u64| 100.0 + (second - DAY_S) as f64 / 2.0;
    let rising = watch(known, DAY_S, DAY_S + 300, ramp);
    let now = ramp(DAY_S + 300);
    let near = foretold(&rising, DAY_S + 300, 10).unwrap();
    assert!((near - now).abs() < 10.0, "{near} is not near {now}");
    let (hour, day) = (foretold(&rising, DAY_S + 300, 3_600).unwrap(), foretold(&rising, DAY_S + 300, DAY_S).unwrap());
    assert!(hour < now + 50.0 && (day - hour).abs() < 1.0, "a trend of {now} goes to {hour} and {day}");
}

#[test]
fn a_day_without_messages_foretells_none() {
    let state = watch(state(init, &[], None), 0, DAY_S + 60, |_| 0.0);
    assert_eq!(foretold(&state, DAY_S + 60, 60), Some(0.0));
}

#[test]
fn a_state_with_a_day_stays_small() {
    assert!(watch(state(init, &[], None), 0, DAY_S + 60, |second| daily(second) * 12.345_678).len() < 1_500);
}

#[test]
fn a_new_version_knows_the_day_and_takes_new_settings() {
    let before = watch(state(init, &[], None), 0, DAY_S + 60, daily);
    let after = state(init, &[("objective", "2s"), ("season", "additive")], Some(&before));
    assert!(foretold(&after, DAY_S + 60, 60).is_some());
    assert_eq!(read_state(&after).unwrap().1, read_state(&before).unwrap().1);
}

#[test]
fn a_state_of_another_version_or_policy_is_ignored() {
    for previous in
        ["forecast/2 step=1", "objective/1 interval-ms=1", "", "forecast/1 interval-ms=1 step=0:0:0 bin=0:0:0 day=1,2"]
    {
        assert_eq!(state(init, &[], Some(previous.as_bytes())), state(init, &[], None), "{previous:?}");
    }
    assert_eq!(decide(&Observation::test(5), b"step/1".to_vec()).desired, 5);
}

#[test]
fn settings_that_are_wrong_or_unknown_are_refused() {
    assert_eq!(refusal(init, "damping", "1.1"), "damping = \"1.1\": must be a number from 0 to 1");
    assert_eq!(refusal(init, "season", "weekly"), "season = \"weekly\": must be one of multiplicative, additive");
    assert_eq!(refusal(init, "objective", "0s"), "objective = \"0s\": must be longer than nothing");
    assert!(refusal(init, "day", "1").contains("there is no such setting"));
}

proptest! {
    #[test]
    fn nothing_that_is_observed_makes_it_panic_or_loses_the_state(looks in prop::collection::vec(any_observation(), 1..20)) {
        let mut state = state(init, &[], None);
        for observation in looks {
            state = decide(&observation, state).state;
            prop_assert!(state.len() < 4_096);
            let (rule, learned) = read_state(&state).unwrap();
            prop_assert_eq!(&write_state(&rule, &learned), &state);
        }
    }

    #[test]
    fn whatever_was_seen_of_a_day_what_is_foretold_is_a_rate(rates in prop::collection::vec(prop::num::f64::POSITIVE, 96), ahead_s in 0..2 * DAY_S) {
        let mut state = state(init, &[], None);
        for (bin, rate) in (0..).zip(rates.iter().chain(&rates[..2])) {
            state = decide(&at(bin * 900, *rate), state).state;
        }
        let foretold = foretold(&state, 97 * 900, ahead_s).unwrap();
        prop_assert!(foretold.is_finite() && foretold >= 0.0);
    }
}
