//! What is learned of the rate, and what it foretells: Holt's level and damped trend, with a daily season.

use tidegate_guest::Settings;

/// How long a step of level and trend is.
const STEP_MS: u64 = 10_000;
/// How many parts a day has.
const BINS: usize = 96;
const BIN_MS: u64 = 86_400_000 / BINS as u64;
/// After so long a time without a look, level and trend begin anew.
const STALE_MS: u64 = BIN_MS;
/// The least share of the day's mean that counts as a season: a level divided by less would be noise.
const LEAST_INDEX: f64 = 0.05;
/// Rates beyond this are taken for this, so that nothing overflows.
const LARGEST: f64 = 1e12;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Season {
    Multiplicative,
    Additive,
}

const SEASONS: &[(&str, Season)] = &[("multiplicative", Season::Multiplicative), ("additive", Season::Additive)];

/// How it is learned: the weights of what is new, and how a trend fades.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model {
    level_weight: f64,
    trend_weight: f64,
    damping: f64,
    season: Season,
    season_weight: f64,
}

impl Model {
    pub(super) fn take(settings: &mut Settings) -> Result<Self, String> {
        Ok(Self {
            level_weight: settings.take_f64("level-weight", 0.5, 0.001..=1.0)?,
            trend_weight: settings.take_f64("trend-weight", 0.1, 0.0..=1.0)?,
            damping: settings.take_f64("damping", 0.9, 0.0..=1.0)?,
            season: settings.take_choice("season", Season::Multiplicative, SEASONS)?,
            season_weight: settings.take_f64("season-weight", 0.3, 0.0..=1.0)?,
        })
    }

    pub(super) fn write(&self, pairs: &mut Vec<(&'static str, String)>) {
        let season = SEASONS.iter().find(|(_, it)| *it == self.season).map_or("", |(word, _)| word);
        pairs.push(("level-weight", self.level_weight.to_string()));
        pairs.push(("trend-weight", self.trend_weight.to_string()));
        pairs.push(("damping", self.damping.to_string()));
        pairs.push(("season", season.to_owned()));
        pairs.push(("season-weight", self.season_weight.to_string()));
    }

    /// What a trend adds in so many steps, if each step it fades: `f + f^2 + ...`.
    fn faded(&self, steps: f64) -> f64 {
        if self.damping >= 1.0 {
            return steps;
        }
        self.damping * (1.0 - self.damping.powf(steps)) / (1.0 - self.damping)
    }
}

/// The mean of the values that came within one slot of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Slot {
    number: u64,
    mean: f64,
    count: u64,
}

impl Slot {
    /// Adds a value; where it begins another slot, gives the one that is over.
    fn record(&mut self, number: u64, value: f64) -> Option<Self> {
        let over = (self.count > 0 && number > self.number).then_some(*self);
        if over.is_some() || self.count == 0 {
            *self = Self { number, mean: value, count: 1 };
        } else {
            self.count = self.count.saturating_add(1);
            self.mean += (value - self.mean) / self.count as f64;
        }
        over
    }

    fn write(&self) -> String {
        format!("{}:{}:{}", self.number, self.mean, self.count)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let slot = Self {
            number: parts.next()?.parse().ok()?,
            mean: rate(parts.next()?)?,
            count: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(slot)
    }
}

fn rate(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.abs() <= 1e15)
}

/// What was learned.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct History {
    step: Slot,
    /// Level and trend, without the season. Only once a day is known.
    holt: Option<(f64, f64)>,
    bin: Slot,
    /// The rate of each part of the day, from midnight UTC; `None` where it was not seen yet.
    day: Vec<Option<f64>>,
}

impl History {
    /// Learns a rate. One that is not a number, or is negative, is left out.
    pub(super) fn record(&mut self, model: &Model, now_ms: u64, rate: f64) {
        if rate.is_nan() || rate < 0.0 {
            return;
        }
        let rate = rate.min(LARGEST);
        if let Some(over) = self.bin.record(now_ms / BIN_MS, rate) {
            self.learn_bin(model, over);
        }
        if let Some(over) = self.step.record(now_ms / STEP_MS, rate) {
            self.learn_step(model, over, now_ms);
        }
    }

    fn learn_bin(&mut self, model: &Model, over: Slot) {
        self.day.resize(BINS, None);
        if let Some(bin) = self.day.get_mut((over.number % BINS as u64) as usize) {
            let before = bin.unwrap_or(over.mean);
            let learned = before + model.season_weight * (over.mean - before);
            // Rounded, so that the state stays small.
            *bin = Some((learned * 1_000.0).round() / 1_000.0);
        }
    }

    fn learn_step(&mut self, model: &Model, over: Slot, now_ms: u64) {
        let middle_ms = over.number.saturating_mul(STEP_MS).saturating_add(STEP_MS / 2);
        let Some(season) = self.season(middle_ms) else { return };
        let value = season.without(model.season, over.mean);
        let is_stale = now_ms.saturating_sub(middle_ms) > STALE_MS;
        self.holt = match self.holt {
            Some((level, trend)) if !is_stale => {
                let foretold = level + model.damping * trend;
                let learned = foretold + model.level_weight * (value - foretold);
                let slope = model.damping * trend;
                Some((learned, slope + model.trend_weight * (learned - level - slope)))
            }
            _ => Some((value, 0.0)),
        };
    }

    /// The rate so far ahead; `None` until a day was seen.
    pub(super) fn foretell(&self, model: &Model, now_ms: u64, ahead_ms: u64) -> Option<f64> {
        let (level, trend) = self.holt?;
        let season = self.season(now_ms.saturating_add(ahead_ms))?;
        // The level is that of the middle of the last step.
        let steps = ahead_ms as f64 / STEP_MS as f64 + 0.5;
        Some(season.with(model.season, level + trend * model.faded(steps)).clamp(0.0, LARGEST))
    }

    /// The season at a time, between the middles of two parts of the day; `None` until all of them were seen.
    fn season(&self, at_ms: u64) -> Option<AtTime> {
        let sum: Option<f64> = self.day.iter().copied().sum();
        let mean = sum.filter(|_| self.day.len() == BINS)? / BINS as f64;
        let at = (at_ms % 86_400_000) as f64 / BIN_MS as f64 + BINS as f64 - 0.5;
        let bin = |number: f64| self.day.get(number as usize % BINS).copied().flatten();
        let (before, after) = (bin(at.floor())?, bin(at.floor() + 1.0)?);
        Some(AtTime { rate: before + (after - before) * at.fract(), mean })
    }

    /// Takes the history out of a state; `None` if it is damaged.
    pub(super) fn take(pairs: &mut Settings) -> Option<Self> {
        let mut history =
            Self { step: Slot::read(&pairs.take("step")?)?, bin: Slot::read(&pairs.take("bin")?)?, ..Self::default() };
        if let Some(text) = pairs.take("holt") {
            let (level, trend) = text.split_once(':')?;
            history.holt = Some((rate(level)?, rate(trend)?));
        }
        if let Some(text) = pairs.take("day") {
            for word in text.split(',') {
                history.day.push(if word.is_empty() { None } else { Some(rate(word)?) });
            }
            (history.day.len() == BINS).then_some(())?;
        }
        Some(history)
    }

    pub(super) fn write(&self, pairs: &mut Vec<(&'static str, String)>) {
        pairs.push(("step", self.step.write()));
        pairs.push(("bin", self.bin.write()));
        if let Some((level, trend)) = self.holt {
            pairs.push(("holt", format!("{level}:{trend}")));
        }
        if !self.day.is_empty() {
            let words: Vec<String> =
                self.day.iter().map(|bin| bin.map_or(String::new(), |rate| rate.to_string())).collect();
            pairs.push(("day", words.join(",")));
        }
    }
}

/// The rate that is usual at a time of the day, and the day's mean.
struct AtTime {
    rate: f64,
    mean: f64,
}

impl AtTime {
    fn index(&self) -> f64 {
        if self.mean > 0.0 { (self.rate / self.mean).max(LEAST_INDEX) } else { 1.0 }
    }

    fn without(&self, season: Season, rate: f64) -> f64 {
        match season {
            Season::Multiplicative => rate / self.index(),
            Season::Additive => rate - (self.rate - self.mean),
        }
    }

    fn with(&self, season: Season, level: f64) -> f64 {
        match season {
            Season::Multiplicative => level * self.index(),
            Season::Additive => level + (self.rate - self.mean),
        }
    }
}
