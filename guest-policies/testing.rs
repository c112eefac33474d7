//! What the tests of every policy need. Each crate includes this file, for each has an `Observation` of its own.
#![allow(clippy::unwrap_used)]

use crate::bindings::exports::tidegate::plugin::scaling::Observation;
use crate::rule::init;
use proptest::prelude::*;

/// A midnight, UTC, so that every slot of a day begins here.
pub(crate) const START: u64 = 1_700_006_400_000;

/// So many workers and nothing else.
pub(crate) fn observation(running: u32) -> Observation {
    Observation {
        now_ms: START,
        running,
        min: 0,
        max: 1_000,
        idle_ms: None,
        arrival_rate: 0.0,
        mean_arrival_rate: 0.0,
        completion_rate: 0.0,
        pending: 0,
        ack_pending: 0,
        redelivered: 0,
        oldest_pending_ms: None,
        failure_ratio: 0.0,
        busy_ratio: 0.0,
        service_time_ms: 0.0,
    }
}

/// The state that these settings begin with.
pub(crate) fn state(settings: &[(&str, &str)], previous: Option<&[u8]>) -> Vec<u8> {
    init(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(), previous).unwrap()
}

/// Why a setting is refused.
pub(crate) fn refusal(key: &str, value: &str) -> String {
    init(vec![(key.into(), value.into())], None).unwrap_err()
}

prop_compose! {
    /// Numbers that no host would send among them.
    pub(crate) fn any_observation()(
        now_ms: u64, running: u32, min: u32, max: u32, idle_ms: Option<u64>, rates in prop::array::uniform6(any::<f64>()),
        pending: u64, ack_pending: u64, redelivered: u64, oldest_pending_ms: Option<u64>,
    ) -> Observation {
        let [arrival_rate, mean_arrival_rate, completion_rate, failure_ratio, busy_ratio, service_time_ms] = rates;
        Observation {
            now_ms, running, min, max, idle_ms, arrival_rate, mean_arrival_rate, completion_rate, pending, ack_pending,
            redelivered, oldest_pending_ms, failure_ratio, busy_ratio, service_time_ms,
        }
    }
}
