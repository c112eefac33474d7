//! From the messages in the system, or their rate, to a number of workers.

use std::time::Duration;
use tidegate_guest::policy::{Decision, Observation};
use tidegate_guest::{
    Settings,
    settings::millis,
    state::{decode, encode},
};
use tidegate_guest_history::{Means, Peaks};

const FORM: &str = "kpa/1";

/// The most slots of history. Those of the default window are as long as Knative's: a second.
const SLOTS: usize = 60;

/// Checks the settings. Of a version before, history and panic are taken over; history only if the window has kept its
/// length and the metric is the same.
pub(crate) fn init(settings: Settings, previous: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let rule = Rule::read(settings)?;
    let memory = match previous.and_then(read_state) {
        Some((before, memory)) if before.metric == rule.metric && before.slot_ms() == rule.slot_ms() => memory,
        Some((_, memory)) => Memory { history: Means::new(rule.slot_ms(), SLOTS), ..memory },
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
    Decision { desired, reason, state: write_state(&rule, &memory) }.unless_limited(observation)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Concurrency,
    Rps,
}

const METRICS: &[(&str, Metric)] = &[("concurrency", Metric::Concurrency), ("rps", Metric::Rps)];

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    metric: Metric,
    target: f64,
    target_utilization: f64,
    stable_window: Duration,
    panic_window_percent: f64,
    panic_threshold_percent: f64,
    max_scale_up_rate: f64,
    max_scale_down_rate: f64,
    activation_scale: u32,
    scale_down_delay: Duration,
    scale_to_zero_grace: Duration,
}

/// What is remembered from one decision to the next.
#[derive(Clone, Debug, PartialEq)]
struct Memory {
    history: Means,
    panic: Option<Panic>,
    /// Whether there was a decision before: what runs at the first is kept by a panic.
    has_decided: bool,
    /// The numbers wanted within the scale-down delay.
    delayed: Peaks,
    /// Since when no worker is wanted.
    unwanted_since_ms: Option<u64>,
}

/// In a panic the number does not fall.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Panic {
    /// When the threshold was last exceeded.
    since_ms: u64,
    /// The most workers that were wanted.
    most: u32,
}

impl Memory {
    fn new(rule: &Rule) -> Self {
        let history = Means::new(rule.slot_ms(), SLOTS);
        Self { history, panic: None, has_decided: false, delayed: Peaks::new(), unwanted_since_ms: None }
    }
}

fn read_state(state: &[u8]) -> Option<(Rule, Memory)> {
    let mut pairs = decode(FORM, state)?;
    let history = pairs.take("history")?;
    let panic = match pairs.take("panic") {
        Some(text) => {
            let (since_ms, most) = text.split_once(':')?;
            Some(Panic { since_ms: since_ms.parse().ok()?, most: most.parse().ok()? })
        }
        None => None,
    };
    let has_decided = pairs.take("has-decided")?.parse().ok()?;
    let delayed = Peaks::read(&pairs.take("delayed")?)?;
    let unwanted_since_ms = match pairs.take("unwanted-since-ms") {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    let rule = Rule::read(pairs).ok()?;
    let history = Means::read(&history, rule.slot_ms(), SLOTS)?;
    Some((rule, Memory { history, panic, has_decided, delayed, unwanted_since_ms }))
}

fn write_state(rule: &Rule, memory: &Memory) -> Vec<u8> {
    let metric = METRICS.iter().find(|(_, metric)| *metric == rule.metric).map_or("", |(word, _)| word);
    let mut pairs = vec![
        ("metric", metric.to_owned()),
        ("target", rule.target.to_string()),
        ("target-utilization", rule.target_utilization.to_string()),
        ("stable-window", format!("{}ms", millis(rule.stable_window))),
        ("panic-window-percentage", rule.panic_window_percent.to_string()),
        ("panic-threshold-percentage", rule.panic_threshold_percent.to_string()),
        ("max-scale-up-rate", rule.max_scale_up_rate.to_string()),
        ("max-scale-down-rate", rule.max_scale_down_rate.to_string()),
        ("activation-scale", rule.activation_scale.to_string()),
        ("scale-down-delay", format!("{}ms", millis(rule.scale_down_delay))),
        ("scale-to-zero-grace", format!("{}ms", millis(rule.scale_to_zero_grace))),
        ("history", memory.history.write()),
        ("has-decided", memory.has_decided.to_string()),
        ("delayed", memory.delayed.write()),
    ];
    if let Some(panic) = memory.panic {
        pairs.push(("panic", format!("{}:{}", panic.since_ms, panic.most)));
    }
    if let Some(since_ms) = memory.unwanted_since_ms {
        pairs.push(("unwanted-since-ms", since_ms.to_string()));
    }
    encode(FORM, &pairs)
}

fn take_window(settings: &mut Settings, key: &'static str, default_s: u64, least_s: u64) -> Result<Duration, String> {
    let (least, most) = (Duration::from_secs(least_s), Duration::from_secs(3600));
    let wanted = format!("a duration from {least_s}s to 1h");
    settings.take_duration_in(key, Duration::from_secs(default_s), least..=most, &wanted)
}

impl Rule {
    fn read(mut settings: Settings) -> Result<Self, String> {
        let metric = settings.take_choice("metric", Metric::Concurrency, METRICS)?;
        let target = if metric == Metric::Rps { 200.0 } else { 100.0 };
        let rule = Self {
            metric,
            target: settings.take_f64("target", target, 0.01..=1e9)?,
            target_utilization: settings.take_f64("target-utilization", 70.0, 1.0..=100.0)?,
            stable_window: take_window(&mut settings, "stable-window", 60, 6)?,
            panic_window_percent: settings.take_f64("panic-window-percentage", 10.0, 1.0..=100.0)?,
            panic_threshold_percent: settings.take_f64("panic-threshold-percentage", 200.0, 110.0..=1000.0)?,
            max_scale_up_rate: settings.take_f64("max-scale-up-rate", 1000.0, 1.01..=1e9)?,
            max_scale_down_rate: settings.take_f64("max-scale-down-rate", 2.0, 1.01..=1e9)?,
            activation_scale: settings.take_u32("activation-scale", 1, 1..=u32::MAX)?,
            scale_down_delay: take_window(&mut settings, "scale-down-delay", 0, 0)?,
            scale_to_zero_grace: settings.take_duration("scale-to-zero-grace", Duration::from_secs(30))?,
        };
        settings.finish()?;
        Ok(rule)
    }

    fn slot_ms(&self) -> u64 {
        millis(self.stable_window).div_ceil(SLOTS as u64).max(1_000)
    }

    fn panic_window_ms(&self) -> u64 {
        (millis(self.stable_window) as f64 * self.panic_window_percent / 100.0) as u64
    }

    fn decide(&self, observation: &Observation, memory: &mut Memory) -> (u32, String) {
        let (now_ms, running) = (observation.now_ms, observation.running);
        let in_system = observation.pending.saturating_add(observation.ack_pending);
        let value = match self.metric {
            Metric::Concurrency => in_system as f64,
            Metric::Rps => observation.arrival_rate.max(0.0),
        };
        memory.history.record(now_ms, value);
        let stable = memory.history.mean(now_ms, millis(self.stable_window));
        let panic = memory.history.mean(now_ms, self.panic_window_ms());
        let (Some(stable), Some(panic)) = (stable, panic) else {
            return (running, "no data to scale on".to_owned());
        };
        let target = self.target * self.target_utilization / 100.0;
        let (for_stable, for_panic) = ((stable / target).ceil(), (panic / target).ceil());

        self.consider_panic(now_ms, running, for_panic, memory);
        let wanted = self.bound(running, for_stable);
        let (wanted, reason) = match &mut memory.panic {
            None => (wanted, format!("{stable:.1} over {} s need {wanted}", self.stable_window.as_secs())),
            Some(state) => {
                state.most = state.most.max(wanted).max(self.bound(running, for_panic));
                (state.most, format!("panic, {panic:.1} over {} s, {}", self.panic_window_ms() / 1_000, state.most))
            }
        };
        let delayed = memory.delayed.record(now_ms, wanted, millis(self.scale_down_delay));
        self.keep_the_last(observation, memory, delayed, reason)
    }

    /// A panic begins where what the panic window needs reaches the threshold times what runs, and ends a stable
    /// window after that was last so.
    fn consider_panic(&self, now_ms: u64, running: u32, for_panic: f64, memory: &mut Memory) {
        if !memory.has_decided {
            memory.has_decided = true;
            if running > 1 {
                memory.panic = Some(Panic { since_ms: now_ms, most: running });
            }
        }
        let is_over = for_panic / f64::from(running.max(1)) >= self.panic_threshold_percent / 100.0;
        memory.panic = match memory.panic {
            before if is_over => Some(Panic { since_ms: now_ms, most: before.map_or(0, |panic| panic.most) }),
            Some(panic) if now_ms.saturating_sub(panic.since_ms) > millis(self.stable_window) => None,
            before => before,
        };
    }

    /// Within what one decision may change. From 0, Knative counts as if one ran.
    fn bound(&self, running: u32, needed: f64) -> u32 {
        let running = f64::from(running.max(1));
        let most = (self.max_scale_up_rate * running).ceil();
        let least = (running / self.max_scale_down_rate).floor();
        // The conversion saturates.
        let bounded = needed.max(least).min(most) as u32;
        if needed > 0.0 { bounded.max(self.activation_scale) } else { bounded }
    }

    /// Nobody is wanted: the last worker stays for the grace time. At zero, the first message starts one.
    fn keep_the_last(
        &self,
        observation: &Observation,
        memory: &mut Memory,
        wanted: u32,
        reason: String,
    ) -> (u32, String) {
        let (now_ms, running) = (observation.now_ms, observation.running);
        let in_system = observation.pending.saturating_add(observation.ack_pending);
        if wanted > 0 {
            memory.unwanted_since_ms = None;
            return (wanted, reason);
        }
        if in_system > 0 {
            memory.unwanted_since_ms = None;
            return (1, format!("{reason}, {in_system} messages left"));
        }
        let since_ms = *memory.unwanted_since_ms.get_or_insert(now_ms);
        let unwanted_ms = now_ms.saturating_sub(since_ms);
        let grace_ms = millis(self.scale_to_zero_grace);
        if running == 0 || unwanted_ms >= grace_ms {
            return (0, reason);
        }
        (1, format!("{reason}, {} of {} s of grace", unwanted_ms / 1_000, grace_ms / 1_000))
    }
}

#[cfg(test)]
mod tests;
