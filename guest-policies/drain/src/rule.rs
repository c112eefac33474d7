//! From a backlog and the rate it is processed at to a number of workers.

use std::time::Duration;
use tidegate_guest::policy::{Decision, Observation};
use tidegate_guest::{
    Settings,
    settings::{LONGEST, millis},
    state::{decode, encode},
};
use tidegate_guest_history::Means;

const FORM: &str = "drain/1";

/// How many slots of history there are in the time that is looked back.
const SLOTS: usize = 40;

/// Checks the settings. Of a version before, history and the last change are taken over; history only if the time that
/// is looked back is the same.
pub(crate) fn init(settings: Settings, previous: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let rule = Rule::read(settings)?;
    let memory = match previous.and_then(read_state) {
        Some((before, memory)) if before.slot_ms() == rule.slot_ms() => memory,
        Some((_, memory)) => Memory { last_change_ms: memory.last_change_ms, ..Memory::new(&rule) },
        None => Memory::new(&rule),
    };
    Ok(write_state(&rule, &memory))
}

/// Decides. A state that is not ours leaves the number as it is.
pub(crate) fn decide(observation: &Observation, state: Vec<u8>) -> Decision {
    let Some((rule, mut memory)) = read_state(&state) else {
        let reason = "the state is not one of this policy".to_owned();
        return Decision { desired: observation.running, reason, state };
    };
    let (desired, reason) = rule.decide(observation, &mut memory);
    let decision = Decision { desired, reason, state: Vec::new() }.unless_limited(observation);
    if decision.desired != observation.running {
        memory.last_change_ms = Some(observation.now_ms);
    }
    Decision { state: write_state(&rule, &memory), ..decision }
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    target_processing: Duration,
    lookback: Duration,
    per_scale_up: u32,
    per_scale_down: u32,
    up_cooldown: Duration,
    down_cooldown: Duration,
}

/// What is remembered from one decision to the next.
#[derive(Clone, Debug, PartialEq)]
struct Memory {
    pending: Means,
    rate: Means,
    last_change_ms: Option<u64>,
}

impl Memory {
    fn new(rule: &Rule) -> Self {
        let history = Means::new(rule.slot_ms(), SLOTS);
        Self { pending: history.clone(), rate: history, last_change_ms: None }
    }
}

fn read_state(state: &[u8]) -> Option<(Rule, Memory)> {
    let mut pairs = decode(FORM, state)?;
    let (pending, rate) = (pairs.take("pending")?, pairs.take("rate")?);
    let last_change_ms = match pairs.take("last-change-ms") {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    let rule = Rule::read(pairs).ok()?;
    let pending = Means::read(&pending, rule.slot_ms(), SLOTS)?;
    let rate = Means::read(&rate, rule.slot_ms(), SLOTS)?;
    Some((rule, Memory { pending, rate, last_change_ms }))
}

fn write_state(rule: &Rule, memory: &Memory) -> Vec<u8> {
    let mut pairs = vec![
        ("target-processing", format!("{}ms", millis(rule.target_processing))),
        ("lookback", format!("{}ms", millis(rule.lookback))),
        ("workers-per-scale-up", rule.per_scale_up.to_string()),
        ("workers-per-scale-down", rule.per_scale_down.to_string()),
        ("scale-up-cooldown", format!("{}ms", millis(rule.up_cooldown))),
        ("scale-down-cooldown", format!("{}ms", millis(rule.down_cooldown))),
        ("pending", memory.pending.write()),
        ("rate", memory.rate.write()),
    ];
    if let Some(last_change_ms) = memory.last_change_ms {
        pairs.push(("last-change-ms", last_change_ms.to_string()));
    }
    encode(FORM, &pairs)
}

fn take_positive(settings: &mut Settings, key: &'static str, default_s: u64) -> Result<Duration, String> {
    let range = Duration::from_millis(1)..=LONGEST;
    settings.take_duration_in(key, Duration::from_secs(default_s), range, "at least 1ms")
}

impl Rule {
    fn read(mut settings: Settings) -> Result<Self, String> {
        let rule = Self {
            target_processing: take_positive(&mut settings, "target-processing", 20)?,
            lookback: take_positive(&mut settings, "lookback", 120)?,
            per_scale_up: settings.take_u32("workers-per-scale-up", 2, 1..=u32::MAX)?,
            per_scale_down: settings.take_u32("workers-per-scale-down", 2, 1..=u32::MAX)?,
            up_cooldown: settings.take_duration("scale-up-cooldown", Duration::from_secs(90))?,
            down_cooldown: settings.take_duration("scale-down-cooldown", Duration::from_secs(90))?,
        };
        settings.finish()?;
        Ok(rule)
    }

    fn slot_ms(&self) -> u64 {
        millis(self.lookback).div_ceil(SLOTS as u64).max(1)
    }

    fn decide(&self, observation: &Observation, memory: &mut Memory) -> (u32, String) {
        let (now_ms, running) = (observation.now_ms, observation.running);
        let left = observation.pending.saturating_add(observation.ack_pending);
        memory.pending.record(now_ms, left as f64);
        memory.rate.record(now_ms, observation.completion_rate.max(0.0));
        if running == 0 {
            return match left {
                0 => (0, "idle".to_owned()),
                _ => (1, format!("{left} messages, nobody runs")),
            };
        }
        let lookback_ms = millis(self.lookback);
        let pending = memory.pending.mean(now_ms, lookback_ms).unwrap_or(0.0);
        let rate = memory.rate.mean(now_ms, lookback_ms).unwrap_or(0.0);
        let (wanted, reason) = self.wanted(running, pending, rate);
        let wanted = wanted.min(observation.max).max(observation.min);
        self.limit(observation, memory.last_change_ms, wanted, reason)
    }

    /// `running * (pending / rate) / target`: as the backlog takes `pending / rate` at what runs now, in time for the
    /// target it takes so many times as many.
    fn wanted(&self, running: u32, pending: f64, rate: f64) -> (u32, String) {
        if pending == 0.0 && rate == 0.0 {
            return (0, format!("nothing for {} s", self.lookback.as_secs()));
        }
        if pending == 0.0 || rate == 0.0 {
            return (1, format!("backlog {pending:.0}, rate {rate:.0}/s"));
        }
        let seconds = pending / rate;
        // The conversion saturates.
        let wanted = (f64::from(running) * seconds / self.target_processing.as_secs_f64()).round() as u32;
        // No more than one a message; and none only where nothing is left.
        let wanted = wanted.max(1).min((pending as u32).max(1));
        (wanted, format!("backlog {pending:.0} at {rate:.0}/s takes {seconds:.1} s, needs {wanted}"))
    }

    /// A few workers a change, and then a pause.
    fn limit(&self, observation: &Observation, last_ms: Option<u64>, wanted: u32, reason: String) -> (u32, String) {
        let (running, now_ms) = (observation.running, observation.now_ms);
        let is_up = wanted > running;
        let cooldown = if is_up { self.up_cooldown } else { self.down_cooldown };
        let since_ms = last_ms.map_or(u64::MAX, |last_ms| now_ms.saturating_sub(last_ms));
        if wanted == running {
            return (running, reason);
        }
        if since_ms < millis(cooldown) {
            return (running, format!("{reason}, cooling down for {} of {} s", since_ms / 1_000, cooldown.as_secs()));
        }
        let step = if is_up { self.per_scale_up } else { self.per_scale_down };
        let limited = wanted.min(running.saturating_add(step)).max(running.saturating_sub(step));
        (limited, reason)
    }
}

#[cfg(test)]
mod tests;
