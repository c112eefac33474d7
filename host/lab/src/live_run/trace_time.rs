//! Converts observations to the time of the trace, so that a policy sees what it would if the run were not compressed.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use tidegate_runtime::contract::Author;
use tidegate_runtime::contract::Fault;
use tidegate_runtime::contract::{Decision, Observation};
use tidegate_runtime::ports::{Policies, Policy};

/// How real time becomes that of the trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct TraceTime {
    /// By how much the trace is compressed.
    pub(super) faster: f64,
    /// `now-ms` at its start.
    pub(super) start_ms: u64,
}

impl TraceTime {
    /// The observation in the time of the trace, for a trace that began at `origin_ms` of the host's clock.
    fn of(self, seen: &Observation, origin_ms: u64) -> Observation {
        let longer = |ms: u64| (ms as f64 * self.faster).round() as u64;
        Observation {
            now_ms: self.start_ms.saturating_add(longer(seen.now_ms.saturating_sub(origin_ms))),
            idle_ms: seen.idle_ms.map(longer),
            arrival_rate: seen.arrival_rate / self.faster,
            mean_arrival_rate: seen.mean_arrival_rate / self.faster,
            completion_rate: seen.completion_rate / self.faster,
            oldest_pending_ms: seen.oldest_pending_ms.map(longer),
            service_time_ms: seen.service_time_ms * self.faster,
            ..*seen
        }
    }
}

/// The first time that a policy is asked for a decision, which is when the trace begins.
#[derive(Debug, Default)]
pub(super) struct FirstDecision {
    now_ms: OnceLock<u64>,
    asked: Notify,
}

impl FirstDecision {
    /// Waits until the policy is asked for a decision.
    pub(super) async fn came(&self) {
        self.asked.notified().await;
    }

    /// The host's clock at the beginning, for a question at this time.
    fn at(&self, now_ms: u64) -> u64 {
        *self.now_ms.get_or_init(|| {
            self.asked.notify_one();
            now_ms
        })
    }
}

/// Policies whose observations are in the time of the trace.
pub(super) struct PoliciesInTraceTime<P> {
    inner: P,
    time: TraceTime,
    beginning: Arc<FirstDecision>,
}

impl<P> PoliciesInTraceTime<P> {
    pub(super) fn new(inner: P, time: TraceTime, beginning: Arc<FirstDecision>) -> Self {
        Self { inner, time, beginning }
    }
}

impl<P: Policies> Policies for PoliciesInTraceTime<P> {
    type Policy = PolicyInTraceTime<P::Policy>;

    fn latest(&mut self) -> Option<PolicyInTraceTime<P::Policy>> {
        Some(PolicyInTraceTime { inner: self.inner.latest()?, time: self.time, beginning: self.beginning.clone() })
    }

    async fn newer(&mut self) {
        self.inner.newer().await;
    }
}

/// A policy whose observations are in the time of the trace.
pub(super) struct PolicyInTraceTime<P> {
    inner: P,
    time: TraceTime,
    beginning: Arc<FirstDecision>,
}

impl<P: Policy> Policy for PolicyInTraceTime<P> {
    async fn init(
        &self,
        settings: &[(String, String)],
        previous: Option<&[u8]>,
    ) -> Result<Result<Vec<u8>, String>, Fault> {
        self.inner.init(settings, previous).await
    }

    async fn decide(&self, seen: &Observation, state: &[u8]) -> Result<Decision, Fault> {
        let seen = self.time.of(seen, self.beginning.at(seen.now_ms));
        self.inner.decide(&seen, state).await
    }

    fn author(&self) -> &Author {
        self.inner.author()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_longer_rates_lower_and_counts_the_same() {
        let seen = Observation {
            now_ms: 1_000_100,
            running: 3,
            min: 0,
            max: 8,
            idle_ms: Some(20),
            arrival_rate: 500.0,
            mean_arrival_rate: 400.0,
            completion_rate: 300.0,
            pending: 7,
            ack_pending: 3,
            redelivered: 1,
            oldest_pending_ms: Some(60),
            failure_ratio: 0.1,
            busy_ratio: 0.9,
            service_time_ms: 20.0,
            limited: true,
            keys_waiting: Some(4),
        };
        let told = TraceTime { faster: 10.0, start_ms: 5000 }.of(&seen, 1_000_000);
        let expected = Observation {
            now_ms: 6000,
            idle_ms: Some(200),
            arrival_rate: 50.0,
            mean_arrival_rate: 40.0,
            completion_rate: 30.0,
            oldest_pending_ms: Some(600),
            service_time_ms: 200.0,
            ..seen
        };
        assert_eq!(told, expected);
    }
}
