#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use super::*;
use proptest::prelude::*;
use tidegate_guest::testing::{START, any_observation, refusal, state};

/// An observation of workers this busy, some seconds after the start.
fn busy(seconds: u64, running: u32, percent: f64) -> Observation {
    Observation {
        now_ms: START + seconds * 1_000,
        busy_ratio: percent / 100.0,
        pending: 1,
        ..Observation::test(running)
    }
}

/// Without what tempers a recommendation.
const PLAIN: &[(&str, &str)] =
    &[("target-utilization", "50"), ("scale-down-window", "0s"), ("scale-up-percent", "100000"), ("sync-period", "0s")];

fn wants(settings: &[(&str, &str)], observation: &Observation) -> (u32, String) {
    let decision = decide(observation, state(init, settings, None));
    (decision.desired, decision.reason)
}

/// The numbers wanted one after the other, each carried out.
fn follow(settings: &[(&str, &str)], running: u32, looks: &[(u64, f64)]) -> Vec<u32> {
    let (mut state, mut running) = (state(init, settings, None), running);
    let mut wanted = vec![];
    for &(seconds, percent) in looks {
        let decision = decide(&busy(seconds, running, percent), state);
        (running, state) = (decision.desired, decision.state);
        wanted.push(running);
    }
    wanted
}

#[test]
fn twice_the_target_needs_twice_the_workers_and_half_of_it_half() {
    // The example of the Kubernetes documentation: a metric of 200 m and of 50 m where 100 m is desired.
    assert_eq!(wants(PLAIN, &busy(0, 4, 100.0)), (8, "busy 100 % of 50 % needs 8".into()));
    assert_eq!(wants(PLAIN, &busy(0, 4, 25.0)).0, 2);
    assert_eq!(wants(PLAIN, &busy(0, 3, 40.0)).0, 3, "ceil(3 * 0.8)");
}

#[test]
fn within_the_tolerance_nothing_changes() {
    assert_eq!(wants(PLAIN, &busy(0, 40, 54.0)), (40, "busy 54 % of 50 % is near enough".into()));
    assert_eq!(wants(PLAIN, &busy(0, 40, 45.0)).0, 40);
    assert_eq!(wants(PLAIN, &busy(0, 40, 56.0)).0, 45);
    assert_eq!(wants(&[PLAIN, &[("tolerance", "0")]].concat(), &busy(0, 40, 51.0)).0, 41);
}

#[test]
fn a_part_of_a_percent_does_not_count() {
    assert_eq!(wants(PLAIN, &busy(0, 40, 54.99)), wants(PLAIN, &busy(0, 40, 54.0)));
    assert_eq!(wants(PLAIN, &busy(0, 100, 29.0)), (58, "busy 29 % of 50 % needs 58".into()));
    // 99.9 % of 66 % would need 152 of 100.
    let settings = [PLAIN, &[("target-utilization", "66")]].concat();
    assert_eq!(wants(&settings[1..], &busy(0, 100, 99.9)).0, 150);
}

#[test]
fn an_hour_of_changes_at_each_look_fits_into_the_state() {
    let settings = [
        ("target-utilization", "50"),
        ("sync-period", "0s"),
        ("scale-up-window", "1h"),
        ("scale-down-window", "1h"),
        ("scale-up-period", "1h"),
        ("scale-down-period", "59m"),
        ("scale-up-workers", "4294967295"),
    ];
    let mut state = state(init, &settings, None);
    let mut running = 1;
    for look in 0..36_000_u64 {
        let seen = busy(0, running, if look % 3 == 0 { 100.0 } else { 40.0 - look as f64 / 1_000.0 });
        let decision = decide(&Observation { now_ms: START + look * 200, max: u32::MAX, ..seen }, state);
        // What runs is another each time, whatever it decides.
        running = 1_000_000 + (look % 7) as u32 * 1_000_000 + (look / 7) as u32;
        state = decision.state;
        assert!(state.len() < 32_768, "{} bytes after {look} looks", state.len());
    }
}

#[test]
fn the_largest_recommendation_of_five_minutes_holds_the_number_up() {
    let looks = [(0, 100.0), (15, 10.0), (30, 10.0), (299, 10.0), (314, 10.0)];
    // 4 workers at 100 % of 80 % are 5; 5 workers at 10 % would be 1.
    assert_eq!(follow(&[], 4, &looks), [5, 5, 5, 5, 1]);
}

#[test]
fn what_ran_at_the_first_look_counts_as_recommended() {
    let settings = [("scale-down-window", "60s")];
    assert_eq!(follow(&settings, 9, &[(0, 8.0), (45, 8.0), (60, 8.0)]), [9, 9, 1]);
}

#[test]
fn the_least_recommendation_of_a_scale_up_window_holds_the_number_down() {
    let settings = [PLAIN, &[("scale-up-window", "30s")]].concat();
    assert_eq!(follow(&settings, 4, &[(0, 50.0), (15, 100.0), (29, 100.0), (30, 100.0)]), [4, 4, 4, 8]);
}

#[test]
fn in_fifteen_seconds_four_workers_are_added_or_as_many_as_there_are() {
    let settings = [("target-utilization", "10"), ("sync-period", "0s")];
    assert_eq!(
        follow(&settings, 1, &[(0, 100.0), (1, 100.0), (14, 100.0), (15, 100.0), (30, 100.0)]),
        [5, 5, 5, 10, 20]
    );
    let min = [&settings[..], &[("scale-up-select", "min")]].concat();
    assert_eq!(follow(&min, 8, &[(0, 100.0), (15, 100.0)]), [12, 16]);
    let disabled = [&settings[..], &[("scale-up-select", "disabled")]].concat();
    assert_eq!(follow(&disabled, 8, &[(0, 100.0), (15, 100.0)]), [8, 8]);
}

#[test]
fn workers_are_stopped_within_the_limits_of_a_period() {
    let settings = [
        ("target-utilization", "50"),
        ("scale-down-window", "0s"),
        ("sync-period", "0s"),
        ("scale-down-workers", "4"),
        ("scale-down-percent", "10"),
        ("scale-down-period", "60s"),
    ];
    // The example of the documentation: 80 at first, 10 % of them are 8, then 4 at a time below 40.
    assert_eq!(follow(&settings, 80, &[(0, 1.0), (1, 1.0), (60, 1.0)]), [72, 72, 64]);
    assert_eq!(follow(&settings, 30, &[(0, 1.0), (60, 1.0)]), [26, 22]);
}

#[test]
fn the_metric_is_looked_at_once_in_a_sync_period() {
    assert_eq!(follow(&[], 10, &[(0, 100.0), (1, 100.0), (14, 100.0), (15, 100.0)]), [13, 13, 13, 17]);
}

#[test]
fn the_first_message_starts_a_worker_and_the_last_worker_stays_while_messages_are_left() {
    assert_eq!(wants(&[], &busy(0, 0, 0.0)), (1, "1 messages, nobody runs".into()));
    assert_eq!(wants(&[], &Observation::test(0)).0, 0);
    let settings = [("scale-down-window", "0s")];
    assert_eq!(wants(&settings, &busy(0, 5, 0.0)), (1, "busy 0 % of 80 % needs 0, 1 messages left".into()));
    assert_eq!(wants(&settings, &Observation::test(5)).0, 0);
}

#[test]
fn a_metric_that_is_no_number_changes_nothing() {
    assert_eq!(wants(&[], &busy(0, 5, f64::NAN)), (5, "how busy the workers are is not known".into()));
}

#[test]
fn a_new_version_goes_on_with_the_windows_and_takes_new_settings() {
    let before = decide(&busy(0, 4, 100.0), state(init, &[], None)).state;
    let after = state(init, &[("target-utilization", "60")], Some(&before));
    assert_eq!(decide(&busy(200, 5, 10.0), after.clone()).desired, 5);
    assert_eq!(decide(&busy(300, 5, 10.0), after).desired, 1);
}

#[test]
fn a_state_of_another_version_or_policy_is_ignored() {
    for previous in ["utilization/2 largest=1:1", "step/1 rate=window", "", "utilization/1 largest=x"] {
        assert_eq!(state(init, &[], Some(previous.as_bytes())), state(init, &[], None), "{previous:?}");
    }
    assert_eq!(decide(&Observation::test(5), b"step/1".to_vec()).desired, 5);
}

#[test]
fn settings_that_are_wrong_or_unknown_are_refused() {
    assert_eq!(
        refusal(init, "target-utilization", "0.8"),
        "target-utilization = \"0.8\": must be a number from 1 to 100"
    );
    assert_eq!(refusal(init, "scale-down-window", "2h"), "scale-down-window = \"2h\": must be at most 1h");
    assert_eq!(refusal(init, "scale-up-select", "all"), "scale-up-select = \"all\": must be one of max, min, disabled");
    let nothing = refusal(init, "scale-down-percent", "0");
    assert!(nothing.starts_with("scale-down-workers and scale-down-percent are both 0"), "{nothing}");
    assert!(refusal(init, "largest", "1:1").contains("there is no such setting"));
}

proptest! {
    #[test]
    fn nothing_that_is_observed_makes_it_panic_or_loses_the_state(
        looks in prop::collection::vec(any_observation(), 1..20),
    ) {
        let mut state = state(init, &[("sync-period", "0s"), ("scale-up-window", "5m")], None);
        for observation in looks {
            state = decide(&observation, state).state;
            prop_assert!(state.len() < 32_768);
            let (rule, memory) = read_state(&state).unwrap();
            prop_assert_eq!(&write_state(&rule, &memory), &state);
        }
    }

    #[test]
    fn a_decision_is_within_the_limits_of_the_workload(
        seen in any_observation(), limits in prop::array::uniform3(any::<u32>()),
    ) {
        let [min, running, max] = { let mut sorted = limits; sorted.sort(); sorted };
        let observation = Observation { min, running, max, ..seen };
        let desired = decide(&observation, state(init, &[], None)).desired;
        prop_assert!(observation.min <= desired && desired <= observation.max);
    }

    #[test]
    fn busier_workers_never_want_fewer(running in 1_u32..500, less in 0.0..100.0, more in 0.0..100.0) {
        let (less, more) = (f64::min(less, more), f64::max(less, more));
        prop_assert!(wants(PLAIN, &busy(0, running, less)).0 <= wants(PLAIN, &busy(0, running, more)).0);
    }
}
