//! From how busy the workers are to how many there should be.

mod behavior;

use behavior::{Behavior, Memory};
use std::time::Duration;
use tidegate_guest::policy::{Decision, Observation};
use tidegate_guest::{
    Settings,
    settings::millis,
    state::{decode, encode},
};

const FORM: &str = "utilization/1";

/// Checks the settings. Of a version before, recommendations and changes are taken over, so that a new version or new
/// settings do not begin a window anew.
pub(crate) fn init(settings: Settings, previous: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let rule = Rule::read(settings)?;
    let memory = previous.and_then(read_state).map(|(_, memory)| memory).unwrap_or_default();
    Ok(write_state(&rule, &memory))
}

/// Decides. A state that is not ours leaves the number as it is.
pub(crate) fn decide(observation: &Observation, state: Vec<u8>) -> Decision {
    let Some((rule, mut memory)) = read_state(&state) else {
        let reason = "the state is not one of this policy".to_owned();
        return Decision { desired: observation.running, reason, state };
    };
    let (desired, reason) = rule.decide(observation, &mut memory);
    Decision { desired, reason, state: write_state(&rule, &memory) }.unless_limited(observation)
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    target: f64,
    tolerance: f64,
    sync_period: Duration,
    behavior: Behavior,
}

fn read_state(state: &[u8]) -> Option<(Rule, Memory)> {
    let mut pairs = decode(FORM, state)?;
    let memory = Memory::take(&mut pairs)?;
    Some((Rule::read(pairs).ok()?, memory))
}

fn write_state(rule: &Rule, memory: &Memory) -> Vec<u8> {
    let mut pairs = vec![
        ("target-utilization", rule.target.to_string()),
        ("tolerance", rule.tolerance.to_string()),
        ("sync-period", format!("{}ms", millis(rule.sync_period))),
    ];
    rule.behavior.write(&mut pairs);
    memory.write(&mut pairs);
    encode(FORM, &pairs)
}

impl Rule {
    fn read(mut settings: Settings) -> Result<Self, String> {
        let rule = Self {
            target: settings.take_f64("target-utilization", 80.0, 1.0..=100.0)?,
            tolerance: settings.take_f64("tolerance", 0.1, 0.0..=1.0)?,
            sync_period: settings.take_duration("sync-period", Duration::from_secs(15))?,
            behavior: Behavior::take(&mut settings)?,
        };
        settings.finish()?;
        Ok(rule)
    }

    fn decide(&self, observation: &Observation, memory: &mut Memory) -> (u32, String) {
        let (now_ms, current) = (observation.now_ms, observation.running);
        let left = observation.pending.saturating_add(observation.ack_pending);
        if current == 0 {
            // The HPA is off at zero. Here the first message starts the first worker, and from there it scales.
            let desired = clamp(u32::from(left > 0), observation);
            memory.changed(now_ms, current, desired, &self.behavior);
            return (desired, if left > 0 { format!("{left} messages, nobody runs") } else { "idle".to_owned() });
        }
        if let Some(synced_ms) = memory.synced_ms
            && now_ms.saturating_sub(synced_ms) < millis(self.sync_period)
        {
            return (
                current,
                format!("between two syncs, {} s after the last", (now_ms - synced_ms.min(now_ms)) / 1_000),
            );
        }
        let Some((mut wanted, mut reason)) = self.recommend(observation) else {
            return (current, "how busy the workers are is not known".to_owned());
        };
        if wanted == 0 && left > 0 {
            (wanted, reason) = (1, format!("{reason}, {left} messages left"));
        }
        memory.synced_ms = Some(now_ms);
        let stable = memory.stabilize(now_ms, current, wanted, &self.behavior);
        if stable != wanted {
            reason = format!("{reason}, held at {stable}");
        }
        let limited = clamp(memory.limit(now_ms, current, stable, &self.behavior), observation);
        if limited != stable {
            reason = format!("{reason}, limited to {limited}");
        }
        memory.changed(now_ms, current, limited, &self.behavior);
        (limited, reason)
    }

    /// The recommendation by the metric alone: `ceil(current * metric / target)`, or the current number where the
    /// metric is within the tolerance of the target.
    fn recommend(&self, observation: &Observation) -> Option<(u32, String)> {
        let current = observation.running;
        if !observation.busy_ratio.is_finite() {
            return None;
        }
        // The controller's utilization is a whole number, cut off. The ratio is in millionths, which are told apart
        // before that: 0.29 times 100 is less than 29.
        let percent = ((observation.busy_ratio * 1e6).round() / 1e4).floor();
        let ratio = percent / self.target;
        let busy = format!("busy {percent:.0} % of {} %", self.target);
        if (1.0 - ratio).abs() <= self.tolerance {
            return Some((current, format!("{busy} is near enough")));
        }
        // The conversion saturates.
        let wanted = (f64::from(current) * ratio).ceil() as u32;
        Some((wanted, format!("{busy} needs {wanted}")))
    }
}

fn clamp(desired: u32, observation: &Observation) -> u32 {
    desired.min(observation.max).max(observation.min.min(observation.max))
}

#[cfg(test)]
mod tests;
