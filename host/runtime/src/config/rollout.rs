//! How a new generation of the handler takes over.

use std::time::Duration;

use super::keys::WORKLOAD;
use super::reader::Reader;

/// How a new generation of the handler takes over: a share of the workers first.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutConfig {
    /// The share of the workers that run it first, between 0 and 1.
    pub share: f64,
    /// How long both run side by side, at least.
    pub duration: Duration,
    /// How many messages it has to handle before it is promoted.
    pub min_messages: u64,
    /// How many times as often as the old generation it may fail.
    pub max_failure_ratio: f64,
    /// How many times as long its calls may take.
    pub max_slowdown: f64,
}

/// The keys that say nothing without a share.
const ALONE: [&str; 4] = ["rollout.for", "rollout.min-messages", "rollout.max-failure-ratio", "rollout.max-slowdown"];

impl RolloutConfig {
    /// None where a new generation takes over at once.
    pub(super) fn read(keys: &mut Reader<'_>) -> Option<Self> {
        let share = keys.maybe("rollout.share");
        for key in ALONE {
            if share.is_none() && keys.is_set(key) {
                let remedy = "add rollout.share, such as 0.05, or remove it";
                keys.note(keys.place(key).error("says nothing without rollout.share", remedy));
            }
        }
        // Read even where nothing is rolled out, so that what is wrong is told.
        let rollout = Self::of_share(keys, share.unwrap_or_default());
        share.map(|_| rollout)
    }

    fn of_share(keys: &mut Reader<'_>, share: f64) -> Self {
        Self {
            share,
            duration: keys.get("rollout.for"),
            min_messages: keys.get("rollout.min-messages"),
            max_failure_ratio: keys.get("rollout.max-failure-ratio"),
            max_slowdown: keys.get("rollout.max-slowdown"),
        }
    }

    /// With this share, and otherwise as where nothing else is said.
    pub fn with_share(share: f64) -> Self {
        Reader::of_nothing(WORKLOAD, |keys| Self::of_share(keys, share))
    }
}
