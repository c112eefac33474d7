//! What tempers a recommendation: stabilization windows, and limits of how fast the number may change.
//!
//! The order is the controller's: first the recommendation is stabilized, then the change is limited.

use std::time::Duration;
use tidegate_guest::{Settings, settings::millis};
use tidegate_guest_history::Peaks;

/// Into how many parts of a period changes are told apart, so that the state stays small however often they come.
const PARTS: u64 = 128;

/// The longest window or period, as the Kubernetes API has it for windows.
const LONGEST: Duration = Duration::from_secs(3600);

/// Which of several limits holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Select {
    /// The one that allows the larger change.
    Max,
    /// The one that allows the smaller change.
    Min,
    /// None: no change this way.
    Disabled,
}

const SELECTS: &[(&str, Select)] = &[("max", Select::Max), ("min", Select::Min), ("disabled", Select::Disabled)];

/// How the number may change in one direction.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Way {
    pub(super) window: Duration,
    pub(super) workers: u32,
    pub(super) percent: u32,
    pub(super) period: Duration,
    pub(super) select: Select,
}

/// How the number may change.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Behavior {
    pub(super) up: Way,
    pub(super) down: Way,
}

struct Keys {
    window: &'static str,
    workers: &'static str,
    percent: &'static str,
    period: &'static str,
    select: &'static str,
}

const UP: Keys = Keys {
    window: "scale-up-window",
    workers: "scale-up-workers",
    percent: "scale-up-percent",
    period: "scale-up-period",
    select: "scale-up-select",
};
const DOWN: Keys = Keys {
    window: "scale-down-window",
    workers: "scale-down-workers",
    percent: "scale-down-percent",
    period: "scale-down-period",
    select: "scale-down-select",
};

impl Way {
    fn take(settings: &mut Settings, keys: &Keys, window_s: u64, workers: u32) -> Result<Self, String> {
        let way = Self {
            window: take_duration(settings, keys.window, window_s)?,
            workers: settings.take_u32(keys.workers, workers, 0..=u32::MAX)?,
            percent: settings.take_u32(keys.percent, 100, 0..=1_000_000)?,
            period: take_duration(settings, keys.period, 15)?,
            select: settings.take_choice(keys.select, Select::Max, SELECTS)?,
        };
        if way.workers == 0 && way.percent == 0 && way.select != Select::Disabled {
            return Err(format!(
                "{} and {} are both 0, so nothing could change: set one of them, or {} = \"disabled\"",
                keys.workers, keys.percent, keys.select
            ));
        }
        Ok(way)
    }

    fn write(&self, keys: &Keys, pairs: &mut Vec<(&'static str, String)>) {
        let select = SELECTS.iter().find(|(_, select)| *select == self.select).map_or("", |(word, _)| word);
        pairs.push((keys.window, format!("{}ms", millis(self.window))));
        pairs.push((keys.workers, self.workers.to_string()));
        pairs.push((keys.percent, self.percent.to_string()));
        pairs.push((keys.period, format!("{}ms", millis(self.period))));
        pairs.push((keys.select, select.to_owned()));
    }

    /// What the limits that are set allow, of which `select` chooses.
    fn chosen(&self, start: i64, sign: i64) -> Option<i64> {
        let workers = (self.workers > 0).then(|| i64::from(self.workers));
        let share = start as f64 * f64::from(self.percent) / 100.0;
        // Rounded so that the change is never made smaller by it.
        let percent = (self.percent > 0).then_some(share.ceil() as i64);
        let changes = [workers, percent].into_iter().flatten();
        let change = if self.select == Select::Min { changes.min() } else { changes.max() };
        change.map(|change| start.saturating_add(change.saturating_mul(sign)))
    }
}

fn take_duration(settings: &mut Settings, key: &'static str, default_s: u64) -> Result<Duration, String> {
    settings.take_duration_in(key, Duration::from_secs(default_s), Duration::ZERO..=LONGEST, "at most 1h")
}

impl Behavior {
    pub(super) fn take(settings: &mut Settings) -> Result<Self, String> {
        Ok(Self { up: Way::take(settings, &UP, 0, 4)?, down: Way::take(settings, &DOWN, 300, 0)? })
    }

    pub(super) fn write(&self, pairs: &mut Vec<(&'static str, String)>) {
        self.up.write(&UP, pairs);
        self.down.write(&DOWN, pairs);
    }
}

/// What is remembered from one decision to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// When the metric was last looked at.
    pub(super) synced_ms: Option<u64>,
    /// The recommendations of the scale-down window, for the largest of them.
    largest: Peaks,
    /// The recommendations of the scale-up window below `u32::MAX`, for the least of them.
    least: Peaks,
    /// When and by how much the number was changed.
    changes: Vec<(u64, i64)>,
}

impl Memory {
    /// Records a recommendation and tempers it: up to the least of the scale-up window, down to the largest of the
    /// scale-down window.
    pub(super) fn stabilize(&mut self, now_ms: u64, current: u32, wanted: u32, behavior: &Behavior) -> u32 {
        if self.largest == Peaks::new() {
            // Nobody knows what was recommended before the first look: what runs then counts as recommended.
            self.largest.record(now_ms, current, millis(behavior.down.window));
        }
        let most = self.largest.record(now_ms, wanted, millis(behavior.down.window));
        let least = u32::MAX - self.least.record(now_ms, u32::MAX - wanted, millis(behavior.up.window));
        current.max(least).min(most)
    }

    /// Limits a change to what may be changed within the period.
    pub(super) fn limit(&self, now_ms: u64, current: u32, wanted: u32, behavior: &Behavior) -> u32 {
        let (way, sign) = if wanted > current { (&behavior.up, 1) } else { (&behavior.down, -1) };
        if wanted == current || way.select == Select::Disabled {
            return current;
        }
        let changed: i64 = self.younger(now_ms, way.period).map(|(_, by)| by).fold(0, i64::saturating_add);
        let start = i64::from(current).saturating_sub(changed).max(0);
        let Some(limit) = way.chosen(start, sign) else { return current };
        let limit = u32::try_from(limit.max(0)).unwrap_or(u32::MAX);
        // Where the period has had its change already, nothing more happens; it is not taken back.
        if sign > 0 { wanted.min(limit.max(current)) } else { wanted.max(limit.min(current)) }
    }

    /// Records a change, and forgets those that no period needs. Those of the same part of a period are one, as old as
    /// the youngest of them: the shorter period's parts where that needs them, else the longer one's.
    pub(super) fn changed(&mut self, now_ms: u64, from: u32, to: u32, behavior: &Behavior) {
        let (up, down) = (behavior.up.period, behavior.down.period);
        let change = (from != to).then(|| (now_ms, i64::from(to) - i64::from(from)));
        let all: Vec<_> = self.younger(now_ms, up.max(down)).chain(change).collect();
        self.changes.clear();
        for (then, by) in all {
            let is_young = now_ms.saturating_sub(then) < millis(up.min(down));
            let part_ms = (millis(if is_young { up.min(down) } else { up.max(down) }) / PARTS).max(1);
            match self.changes.last_mut() {
                Some((before, sum)) if *before / part_ms == then / part_ms => {
                    *before = then;
                    *sum = sum.saturating_add(by);
                }
                _ => self.changes.push((then, by)),
            }
        }
    }

    fn younger(&self, now_ms: u64, than: Duration) -> impl Iterator<Item = (u64, i64)> {
        self.changes.iter().copied().filter(move |(then, _)| now_ms.saturating_sub(*then) < millis(than))
    }

    /// Takes the memory out of a state; `None` if it is damaged.
    pub(super) fn take(pairs: &mut Settings) -> Option<Self> {
        let mut memory = Self::default();
        if let Some(text) = pairs.take("synced-ms") {
            memory.synced_ms = Some(text.parse().ok()?);
        }
        memory.largest = Peaks::read(&pairs.take("largest").unwrap_or_default())?;
        memory.least = Peaks::read(&pairs.take("least").unwrap_or_default())?;
        let changes = pairs.take("changes").unwrap_or_default();
        for change in changes.split(',').filter(|_| !changes.is_empty()) {
            let (then, by) = change.split_once(':')?;
            memory.changes.push((then.parse().ok()?, by.parse().ok()?));
        }
        Some(memory)
    }

    pub(super) fn write(&self, pairs: &mut Vec<(&'static str, String)>) {
        if let Some(synced_ms) = self.synced_ms {
            pairs.push(("synced-ms", synced_ms.to_string()));
        }
        pairs.push(("largest", self.largest.write()));
        pairs.push(("least", self.least.write()));
        let changes: Vec<String> = self.changes.iter().map(|(then, by)| format!("{then}:{by}")).collect();
        pairs.push(("changes", changes.join(",")));
    }
}
