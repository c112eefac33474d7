//! From a backlog to a number of workers.

use std::time::Duration;
use tidegate_guest::policy::{Decision, Observation};
use tidegate_guest::{
    Settings,
    settings::millis,
    state::{decode, encode},
};

const FORM: &str = "backlog/1";

/// Checks the settings. Of a version before only the time of the last activity is taken over, so that a new version
/// or new settings do not begin a cooldown anew.
pub(crate) fn init(settings: Settings, previous: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let rule = Rule::read(settings)?;
    let last_active_ms = previous.and_then(read_state).and_then(|(_, last_active_ms)| last_active_ms);
    Ok(write_state(&rule, last_active_ms))
}

/// Decides. A state that is not ours leaves the number as it is.
pub(crate) fn decide(observation: &Observation, state: Vec<u8>) -> Decision {
    let Some((rule, last_active_ms)) = read_state(&state) else {
        let reason = "the state is not one of this policy".to_owned();
        return Decision { desired: observation.running, reason, state };
    };
    // A cooldown begins with the first look at the latest: nobody knows how busy it was before.
    let last_active_ms = match last_active_ms {
        Some(last_active_ms) if !rule.is_active(observation) => last_active_ms,
        _ => observation.now_ms,
    };
    let (wanted, reason) = rule.wanted(observation, last_active_ms);
    let (desired, reason) = rule.limit_step(observation.running, wanted, reason);
    Decision { desired, reason, state: write_state(&rule, Some(last_active_ms)) }.unless_limited(observation)
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    pending_per_worker: u32,
    activation: u64,
    cooldown: Duration,
    max_step_up: u32,
    max_step_down: u32,
}

fn read_state(state: &[u8]) -> Option<(Rule, Option<u64>)> {
    let mut pairs = decode(FORM, state)?;
    let last_active_ms = match pairs.take("last-active-ms") {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    Some((Rule::read(pairs).ok()?, last_active_ms))
}

fn write_state(rule: &Rule, last_active_ms: Option<u64>) -> Vec<u8> {
    let mut pairs = vec![
        ("pending-per-worker", rule.pending_per_worker.to_string()),
        ("activation", rule.activation.to_string()),
        ("cooldown", format!("{}ms", millis(rule.cooldown))),
        ("max-step-up", rule.max_step_up.to_string()),
        ("max-step-down", rule.max_step_down.to_string()),
    ];
    if let Some(last_active_ms) = last_active_ms {
        pairs.push(("last-active-ms", last_active_ms.to_string()));
    }
    encode(FORM, &pairs)
}

fn backlog(observation: &Observation) -> u64 {
    observation.pending.saturating_add(observation.ack_pending)
}

impl Rule {
    fn read(mut settings: Settings) -> Result<Self, String> {
        let rule = Self {
            pending_per_worker: settings.take_u32("pending-per-worker", 10, 1..=u32::MAX)?,
            activation: settings.take_u64("activation", 0, 0..=u64::MAX)?,
            cooldown: settings.take_duration("cooldown", Duration::from_secs(300))?,
            max_step_up: settings.take_u32("max-step-up", 0, 0..=u32::MAX)?,
            max_step_down: settings.take_u32("max-step-down", 0, 0..=u32::MAX)?,
        };
        settings.finish()?;
        Ok(rule)
    }

    fn is_active(&self, observation: &Observation) -> bool {
        backlog(observation) > self.activation
    }

    /// What the backlog asks for, without regard to the limits of a step.
    fn wanted(&self, observation: &Observation, last_active_ms: u64) -> (u32, String) {
        let backlog = backlog(observation);
        let needed = backlog.div_ceil(u64::from(self.pending_per_worker));
        let needed = u32::try_from(needed).unwrap_or(u32::MAX).max(1);
        if self.is_active(observation) {
            return (needed, format!("backlog {backlog} needs {needed}"));
        }
        if observation.running == 0 {
            return (0, format!("backlog {backlog} wakes nobody"));
        }
        let quiet_ms = observation.now_ms.saturating_sub(last_active_ms);
        let cooldown_ms = millis(self.cooldown);
        if quiet_ms >= cooldown_ms {
            (0, format!("quiet for {} s", quiet_ms / 1_000))
        } else {
            (needed, format!("quiet for {} of {} s", quiet_ms / 1_000, cooldown_ms / 1_000))
        }
    }

    fn limit_step(&self, running: u32, wanted: u32, reason: String) -> (u32, String) {
        let most = match self.max_step_up {
            0 => u32::MAX,
            step => running.saturating_add(step),
        };
        let least = match self.max_step_down {
            0 => 0,
            step => running.saturating_sub(step),
        };
        if wanted > most {
            (most, format!("{reason}, {} up at once", self.max_step_up))
        } else if wanted < least {
            (least, format!("{reason}, {} down at once", self.max_step_down))
        } else {
            (wanted, reason)
        }
    }
}

#[cfg(test)]
mod tests;
