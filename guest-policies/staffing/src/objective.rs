//! The rule that keeps waits within an objective.

use crate::bursts::Bursts;
use crate::erlang;
use std::time::Duration;
use tidegate_guest::{
    Settings,
    settings::{LONGEST, millis},
};
use tidegate_guest_history::{Ages, Peaks};

/// Over how long a measured service time is smoothed.
const SMOOTHED_OVER_MS: f64 = 10_000.0;
/// In how many steps the time that a worker takes to start is told, so that the state stays small however long that is.
const STEPS: u64 = 64;

/// What of an observation the rule needs.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// The messages a second to plan for.
    pub rate: f64,
    /// The mean time of a handler call in milliseconds; 0 where none was handled.
    pub service_ms: f64,
    /// Messages in the system: with workers and waiting.
    pub in_system: u64,
    /// Workers that run, those that start among them.
    pub running: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Staffing {
    ErlangC,
    SquareRoot,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Standby {
    /// Where a message could not wait for the next look.
    Auto,
    Always,
}

const STAFFINGS: &[(&str, Staffing)] = &[("erlang-c", Staffing::ErlangC), ("square-root", Staffing::SquareRoot)];
const STANDBYS: &[(&str, Standby)] = &[("auto", Standby::Auto), ("always", Standby::Always)];

/// The settings: which wait, of which share of messages, and how it is to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    wait: Duration,
    share: f64,
    staffing: Staffing,
    work_off: f64,
    standby: Standby,
    start_delay: Duration,
    burst_memory: Duration,
    service_time: Duration,
}

/// What is remembered from one decision to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    service_ms: Option<f64>,
    last_ms: Option<u64>,
    interval_ms: u64,
    /// What was needed while a worker that is asked for now would have been starting.
    wanted: Peaks,
    /// How long the workers have been there, up to `start-delay`.
    workers: Ages,
    bursts: Bursts,
}

impl Objective {
    /// Takes the settings of the rule; those that are not its own are left.
    ///
    /// # Errors
    /// Names the key of a value that is wrong, and what would be right.
    pub fn take(settings: &mut Settings) -> Result<Self, String> {
        Ok(Self {
            wait: take_positive(settings, "objective", Duration::from_secs(1))?,
            share: settings.take_f64("share", 0.99, 0.5..=0.999_999)?,
            staffing: settings.take_choice("staffing", Staffing::ErlangC, STAFFINGS)?,
            work_off: settings.take_f64("work-off", 0.5, 0.01..=1.0)?,
            standby: settings.take_choice("standby", Standby::Auto, STANDBYS)?,
            start_delay: settings.take_duration("start-delay", Duration::ZERO)?,
            burst_memory: settings.take_duration("burst-memory", Duration::from_secs(3_600))?,
            service_time: take_positive(settings, "service-time", Duration::from_millis(100))?,
        })
    }

    /// Writes the settings as they are taken.
    pub fn write(&self, pairs: &mut Vec<(&'static str, String)>) {
        let staffing = STAFFINGS.iter().find(|(_, it)| *it == self.staffing).map_or("", |(word, _)| word);
        let standby = STANDBYS.iter().find(|(_, it)| *it == self.standby).map_or("", |(word, _)| word);
        pairs.push(("objective", format!("{}ms", millis(self.wait))));
        pairs.push(("share", self.share.to_string()));
        pairs.push(("staffing", staffing.to_owned()));
        pairs.push(("work-off", self.work_off.to_string()));
        pairs.push(("standby", standby.to_owned()));
        pairs.push(("start-delay", format!("{}ms", millis(self.start_delay))));
        pairs.push(("burst-memory", format!("{}ms", millis(self.burst_memory))));
        pairs.push(("service-time", format!("{}ms", millis(self.service_time))));
    }

    /// How long it takes until a message that comes now meets a worker that the next look starts, in milliseconds.
    fn reaction_ms(&self, memory: &Memory) -> u64 {
        memory.interval_ms.saturating_add(millis(self.start_delay))
    }

    /// How many workers there should be, and why.
    ///
    /// The larger of what the rate and what the backlog need. Where a message can wait for the next look and still be
    /// in time, workers without a message are of no use meanwhile: then the rate's is no more than one for each message
    /// there is. Where workers are slow to start, both are what they will be when one that is asked for now is there.
    pub fn decide(&self, seen: &Seen, memory: &mut Memory) -> (u32, String) {
        self.learn(seen, memory);
        let service_ms = memory.service_ms.unwrap_or(millis(self.service_time) as f64);
        let can_wait = self.can_wait(memory);
        let (for_rate, for_bursts, ahead) = self.for_rate(seen, service_ms, memory);
        let left = if can_wait { seen.in_system as f64 } else { self.left(seen, service_ms, memory) };
        let by_backlog = self.for_backlog(left, service_ms);
        let wanted = for_rate.max(for_bursts).max(by_backlog);
        let held = self.hold(wanted, seen.now_ms, memory);
        if can_wait {
            let by_rate = for_rate.min(u32::try_from(seen.in_system).unwrap_or(u32::MAX));
            return (by_rate.max(by_backlog), reason(seen, service_ms, for_rate, "", by_backlog));
        }
        let mut notes = String::new();
        if for_bursts > for_rate {
            notes.push_str(&format!(" (bursts to {ahead:.1}/s need {for_bursts})"));
        }
        if held > wanted {
            notes.push_str(&format!(" (held at {held})"));
        }
        (held, reason(seen, service_ms, for_rate, &notes, by_backlog))
    }

    fn learn(&self, seen: &Seen, memory: &mut Memory) {
        let last_ms = memory.last_ms.unwrap_or(seen.now_ms);
        memory.see(seen);
        if self.start_delay.is_zero() {
            (memory.workers, memory.bursts) = (Ages::new(), Bursts::default());
            return;
        }
        let delay_ms = millis(self.start_delay);
        memory.workers.record(self.step(last_ms), seen.running, delay_ms);
        if self.burst_memory.is_zero() {
            memory.bursts = Bursts::default();
            return;
        }
        let (gap_ms, ahead_ms) = (seen.now_ms.saturating_sub(last_ms), self.reaction_ms(memory));
        memory.bursts.record(seen.now_ms, gap_ms, seen.rate, ahead_ms, millis(self.burst_memory));
    }

    /// What the rate needs now; what it may need when a worker that is asked for now is there; and the rate that would.
    /// Half of the share that may wait longer may do so because a burst was larger than that.
    fn for_rate(&self, seen: &Seen, service_ms: f64, memory: &Memory) -> (u32, u32, f64) {
        let miss = 1.0 - self.share;
        let ahead = memory.bursts.ahead(seen.rate, miss / 2.0);
        let (patience, load) = (millis(self.wait) as f64 / service_ms, |rate: f64| rate * service_ms / 1_000.0);
        let fewest = |rate| match self.staffing {
            Staffing::ErlangC => erlang::fewest(load(rate), patience, miss),
            Staffing::SquareRoot => erlang::fewest_by_square_root(load(rate), patience, miss),
        };
        (fewest(seen.rate), fewest(ahead), ahead)
    }

    /// How many messages will be left when a worker that is asked for now has started: those there are and those that
    /// come at the rate now, without what the workers handle that are there or start before.
    fn left(&self, seen: &Seen, service_ms: f64, memory: &Memory) -> f64 {
        let delay_ms = millis(self.start_delay);
        let handled = memory.workers.sum_ms(seen.now_ms, delay_ms) / service_ms;
        seen.in_system as f64 + seen.rate * delay_ms as f64 / 1_000.0 - handled
    }

    /// The workers that begin so many messages within `h`, the part of the objective that is for working it off: `c`
    /// begin `c` at once and `c h / s` more in that time, so `N` messages, those with workers among them, need `N / (1
    /// + h / s)`. What comes after that finds a worker free, or is seen at the next look.
    fn for_backlog(&self, messages: f64, service_ms: f64) -> u32 {
        let in_time = 1.0 + self.work_off * millis(self.wait) as f64 / service_ms;
        // The conversion saturates. A hair less, so that no rounding error becomes a worker.
        (messages / in_time - 1e-9).ceil() as u32
    }

    /// A worker that goes can be had back only after the time that one takes to start. So one goes when at no time in
    /// that it was needed, and the objective longer: one for a backlog has work as soon as it has started.
    fn hold(&self, wanted: u32, now_ms: u64, memory: &mut Memory) -> u32 {
        if self.start_delay.is_zero() {
            memory.wanted = Peaks::new();
            return wanted;
        }
        let window_ms = millis(self.start_delay).saturating_add(millis(self.wait));
        memory.wanted.record(self.step(now_ms), wanted, window_ms)
    }

    /// The end of the step of the start delay that a moment lies in.
    fn step(&self, moment_ms: u64) -> u64 {
        let step_ms = (millis(self.start_delay) / STEPS).max(1);
        moment_ms.div_ceil(step_ms).saturating_mul(step_ms)
    }

    /// Whether a message may wait for the next look and for a worker to start. Looks are late by a little, so a tenth
    /// more is allowed.
    fn can_wait(&self, memory: &Memory) -> bool {
        let wait_ms = millis(self.wait);
        self.standby == Standby::Auto && self.reaction_ms(memory) <= wait_ms.saturating_add(wait_ms / 10)
    }
}

impl Memory {
    /// Learns the service time and the time between two looks.
    fn see(&mut self, seen: &Seen) {
        let gap_ms = self.last_ms.map_or(0, |last_ms| seen.now_ms.saturating_sub(last_ms));
        self.last_ms = Some(self.last_ms.map_or(seen.now_ms, |last_ms| last_ms.max(seen.now_ms)));
        // A look that came early, for a first message, says little about the interval.
        let fall_ms = self.interval_ms.saturating_sub(gap_ms).div_ceil(8);
        self.interval_ms = gap_ms.max(self.interval_ms - fall_ms);
        // A call of no measurable time is taken for one of a microsecond: there is no load without it.
        if seen.service_ms.is_finite() && seen.service_ms > 0.0 {
            let measured = seen.service_ms.clamp(0.001, 1e12);
            let weight = (gap_ms as f64 / SMOOTHED_OVER_MS).min(1.0);
            self.service_ms = Some(self.service_ms.map_or(measured, |before| before + weight * (measured - before)));
        }
    }

    /// Takes the memory out of a state; `None` if it is damaged.
    pub fn take(pairs: &mut Settings) -> Option<Self> {
        let mut memory = Self { interval_ms: pairs.take("interval-ms")?.parse().ok()?, ..Self::default() };
        if let Some(text) = pairs.take("service-ms") {
            memory.service_ms = Some(text.parse().ok().filter(|ms: &f64| ms.is_finite() && *ms > 0.0)?);
        }
        if let Some(text) = pairs.take("last-ms") {
            memory.last_ms = Some(text.parse().ok()?);
        }
        if let Some(text) = pairs.take("wanted") {
            memory.wanted = Peaks::read(&text)?;
        }
        if let Some(text) = pairs.take("workers") {
            memory.workers = Ages::read(&text)?;
        }
        memory.bursts = Bursts::take(pairs)?;
        Some(memory)
    }

    /// Writes what [`Memory::take`] takes.
    pub fn write(&self, pairs: &mut Vec<(&'static str, String)>) {
        pairs.push(("interval-ms", self.interval_ms.to_string()));
        if let Some(service_ms) = self.service_ms {
            pairs.push(("service-ms", service_ms.to_string()));
        }
        if let Some(last_ms) = self.last_ms {
            pairs.push(("last-ms", last_ms.to_string()));
        }
        if self.wanted != Peaks::new() {
            pairs.push(("wanted", self.wanted.write()));
        }
        if self.workers != Ages::new() {
            pairs.push(("workers", self.workers.write()));
        }
        self.bursts.write(pairs);
    }
}

fn reason(seen: &Seen, service_ms: f64, for_rate: u32, notes: &str, by_backlog: u32) -> String {
    format!(
        "{:.1}/s of {service_ms:.0} ms need {for_rate}{notes}, backlog {} needs {by_backlog}",
        seen.rate, seen.in_system
    )
}

fn take_positive(settings: &mut Settings, key: &'static str, default: Duration) -> Result<Duration, String> {
    settings.take_duration_in(key, default, Duration::from_millis(1)..=LONGEST, "at least 1ms")
}
