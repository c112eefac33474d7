use std::time::Duration;

use tidegate_artifacts::policies;
use tidegate_test_artifacts::probes;

use super::{file, host, limits};
use crate::config::Limits;
use crate::contract::Fault;
use crate::contract::{Decision, Observation};
use crate::plugin::{PluginHost, PolicyContext, PolicyPlugin};

fn context() -> PolicyContext {
    PolicyContext::new("orders".into(), limits())
}

fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn probe_on(host: &PluginHost) -> PolicyPlugin {
    let (_dir, file) = file(probes::POLICY_V1);
    host.load(&file, &limits()).await.unwrap()
}

async fn decide_in(context: &PolicyContext, mode: &[(&str, &str)], now_ms: u64) -> Result<Decision, Fault> {
    let probe = probe_on(&host()).await;
    let state = probe.init(&self::context(), &settings(mode), None).await.unwrap().unwrap();
    probe.decide(context, &Observation { now_ms, ..Observation::default() }, &state).await
}

async fn decide(mode: &str) -> Result<Decision, Fault> {
    decide_in(&context(), &[("mode", mode)], 1_234_567).await
}

#[tokio::test]
async fn the_state_goes_from_call_to_call_and_from_version_to_version() {
    let probe = probe_on(&host()).await;
    let mut state = probe.init(&context(), &settings(&[("mode", "count")]), None).await.unwrap().unwrap();
    for count in 1..=3 {
        let decision = probe.decide(&context(), &Observation::default(), &state).await.unwrap();
        assert_eq!(decision.desired, count);
        state = decision.state;
    }
    let (_dir, file) = file(probes::POLICY_V2);
    let next: PolicyPlugin = host().load(&file, &limits()).await.unwrap();
    let state = next.init(&context(), &settings(&[("mode", "count")]), Some(&state)).await.unwrap().unwrap();
    let decision = next.decide(&context(), &Observation::default(), &state).await.unwrap();
    assert_eq!((decision.desired, decision.reason.as_str()), (4, "v2 call 4"));
}

#[tokio::test]
async fn a_refusal_is_not_a_fault() {
    let probe = probe_on(&host()).await;
    let refused = probe.init(&context(), &settings(&[("mode", "refuse")]), None).await.unwrap();
    assert!(refused.unwrap_err().contains("refuses to start"));
    let trapped = probe.init(&context(), &settings(&[("mode", "trap-in-init")]), None).await;
    assert!(matches!(trapped, Err(Fault::Trap(_))), "{trapped:?}");
}

#[tokio::test]
async fn the_only_clock_is_the_observations() {
    assert!(decide("clock").await.unwrap().reason.ends_with("clock 1234567"));
}

#[tokio::test]
async fn nothing_outside_can_be_reached() {
    let reason = decide("reach").await.unwrap().reason;
    assert!(reason.ends_with("file false network false arguments 0 variables 0"), "{reason}");
}

#[tokio::test]
async fn the_same_inputs_give_the_same_decision_on_another_engine() {
    let other = PluginHost::new(None).unwrap();
    for mode in ["random", "clock", "count"] {
        let first = decide(mode).await.unwrap();
        assert_eq!(decide(mode).await.unwrap(), first);
        let probe = probe_on(&other).await;
        let state = probe.init(&context(), &settings(&[("mode", mode)]), None).await.unwrap().unwrap();
        let observation = Observation { now_ms: 1_234_567, ..Observation::default() };
        assert_eq!(probe.decide(&context(), &observation, &state).await.unwrap(), first);
    }
}

#[tokio::test]
async fn random_numbers_are_the_workloads_own() {
    let orders = decide("random").await.unwrap();
    let other = PolicyContext::new("invoices".into(), limits());
    assert_ne!(decide_in(&other, &[("mode", "random")], 1_234_567).await.unwrap().reason, orders.reason);
}

#[tokio::test]
async fn a_policy_that_spins_uses_up_its_fuel() {
    let limits = Limits { fuel: 50_000_000, ..limits() };
    let context = PolicyContext::new("orders".into(), limits);
    assert_eq!(decide_in(&context, &[("mode", "spin")], 0).await, Err(Fault::Fuel(50_000_000)));
}

#[tokio::test]
async fn a_policy_that_spins_is_ended_by_the_clock_if_fuel_does_not() {
    let limits = Limits { fuel: u64::MAX, time: Duration::from_millis(50), ..limits() };
    let context = PolicyContext::new("orders".into(), limits);
    assert_eq!(decide_in(&context, &[("mode", "spin")], 0).await, Err(Fault::Time(Duration::from_millis(50))));
}

#[tokio::test]
async fn each_fault_is_told_apart() {
    assert!(matches!(decide("trap").await, Err(Fault::Trap(_))));
    assert_eq!(decide("grow").await, Err(Fault::Memory(16 << 20)));
    let huge = decide("huge-state").await;
    assert!(matches!(&huge, Err(Fault::Answer(text)) if text.contains("65536")), "{huge:?}");
}

#[tokio::test]
async fn the_policies_that_ship_start_without_settings() {
    for (name, bytes) in policies::ALL {
        let (_dir, file) = file(bytes);
        let policy: PolicyPlugin = host().load(&file, &limits()).await.unwrap();
        let state = policy.init(&context(), &[], None).await.unwrap().unwrap();
        let decision = policy.decide(&context(), &Observation { max: 4, ..Observation::default() }, &state).await;
        assert!(decision.is_ok(), "{name}: {decision:?}");
    }
}

#[tokio::test]
async fn the_policies_that_ship_add_no_workers_while_a_limit_binds_and_none_for_keys_that_are_not_there() {
    let host = host();
    for (name, bytes) in policies::ALL.iter().filter(|(name, _)| *name != "fixed") {
        let (_dir, file) = file(bytes);
        let policy: PolicyPlugin = host.load(&file, &limits()).await.unwrap();
        let mut most = [0; 3];
        for (case, (limited, keys_waiting)) in [(false, None), (true, None), (false, Some(2))].into_iter().enumerate() {
            let mut state = policy.init(&context(), &[], None).await.unwrap().unwrap();
            // Far too much for two workers, for two minutes.
            for second in 0..120 {
                let seen = Observation {
                    now_ms: 1_700_006_400_000 + second * 1_000,
                    running: 2,
                    max: 100,
                    idle_ms: Some(0),
                    arrival_rate: 50_000.0,
                    mean_arrival_rate: 50_000.0,
                    completion_rate: 10.0,
                    pending: 100_000,
                    ack_pending: 2,
                    oldest_pending_ms: Some(60_000),
                    busy_ratio: 1.0,
                    service_time_ms: 200.0,
                    limited,
                    keys_waiting,
                    ..Observation::default()
                };
                let decision = policy.decide(&context(), &seen, &state).await.unwrap();
                most[case] = most[case].max(decision.desired);
                state = decision.state;
            }
        }
        assert!(most[0] > 2 && most[1] <= 2 && most[2] <= 2, "{name}: {most:?}");
    }
}
