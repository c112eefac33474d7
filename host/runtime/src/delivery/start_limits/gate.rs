//! All limits of a workload together. Pure: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Breaker, Turn};
use super::bucket::Bucket;
use super::held_back::HeldBack;
use super::told::Told;
use crate::config::{Rate, StartLimits};

/// For how long at once a rate hands out starts, where its burst allows that: a pull for each would be more requests
/// than messages need.
const TOGETHER: Duration = Duration::from_millis(50);

/// How many parts a limit has that is no number of deliveries.
const FINE: u32 = 10_000;

/// What the limits say now, for `/status` and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartStatus {
    /// Deliveries that have begun and are not out of their handlers.
    pub in_flight: usize,
    /// Whether the workload has slowed to probes; `None` if it has no breaker.
    pub breaker_open: Option<bool>,
    /// How often it has.
    pub breaker_opened: u64,
    /// How many of how many parts of the limits this host has; `None` where it has all of them.
    pub part: Option<(u32, u32)>,
}

/// How a call began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// As all do.
    Ordinary,
    /// To try what does not work.
    Probe,
}

/// What is wanted of a consumer, were it not for limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Demand {
    /// How many deliveries to hold, waiting and asked for; at least 1.
    pub capacity: usize,
    /// Deliveries that wait for a worker.
    pub waiting: usize,
    /// Deliveries that were asked for and may still come.
    pub asked: usize,
}

impl Demand {
    fn held(self) -> usize {
        self.waiting + self.asked
    }
}

/// When a delivery may begin.
#[derive(Debug)]
pub struct Gate {
    /// The limits of all hosts together, and the part of them that this one has; `None` is all.
    whole: (Option<Rate>, Option<usize>),
    part: Option<(u32, u32)>,
    rate: Option<Bucket>,
    most: Option<usize>,
    in_flight: usize,
    /// Those of them whose calls have not begun. The rate is kept for them, and counts each when its call begins: what
    /// waits in a batch must not begin together with what the rate allows meanwhile.
    reserved: usize,
    breaker: Option<Breaker>,
    held_back: HeldBack,
}

impl Gate {
    /// Nothing has begun yet.
    pub fn new(limits: &StartLimits, now: Instant) -> Self {
        Self {
            whole: (limits.rate, limits.max_in_flight),
            part: None,
            rate: limits.rate.map(|rate| Bucket::new(rate, now)),
            most: limits.max_in_flight,
            in_flight: 0,
            reserved: 0,
            breaker: limits.breaker.map(|breaker| Breaker::new(breaker, now)),
            held_back: HeldBack::new(now),
        }
    }

    /// What the rate has, if there is one.
    pub(super) fn bucket(&self) -> Option<Bucket> {
        self.rate
    }

    /// The rate has only what an earlier one has left.
    pub(super) fn goes_on_from(&mut self, before: Option<Bucket>, now: Instant) {
        if let (Some(rate), Some(before)) = (self.whole.0, before) {
            self.rate = Some(Bucket::after(Some(before), rate, now));
        }
    }

    /// How many parts the limits have: as many as may be in handlers, or fine ones of a rate.
    pub(super) fn parts(&self) -> Option<u32> {
        let (rate, most) = self.whole;
        let of_rate = rate.map(|_| FINE);
        most.map(|most| u32::try_from(most).unwrap_or(u32::MAX)).or(of_rate)
    }

    /// From now on this host has so many of so many parts, or all. Returns whether that is another part than before.
    /// What could begin at once and is taken away is gone; what is given is not there at once.
    pub(super) fn divide(&mut self, part: Option<(u32, u32)>, now: Instant) -> bool {
        // A breaker alone is each host's own.
        let part = part.filter(|_| self.parts().is_some());
        if self.part == part {
            return false;
        }
        let (before, (rate, most)) = (self.rate(), self.whole);
        self.part = part;
        self.most = most.map(|most| scaled(most, part));
        self.rate = rate.map(|rate| Bucket::after(before, of_rate(rate, part), now));
        true
    }

    /// Whether this host has no part of the limits. What it has asked for before may begin, one at a time.
    fn is_closed(&self) -> bool {
        self.part.is_some_and(|(part, _)| part == 0) || (self.part.is_some() && self.most == Some(0))
    }

    /// The rate, unless this host has no part of it.
    fn rate(&self) -> Option<Bucket> {
        self.rate.filter(|_| !self.is_closed())
    }

    /// The most parts that are used.
    pub(super) fn uses(&self, expects: bool) -> Option<u32> {
        let own = self.parts()?;
        let (part, of) = self.part.unwrap_or((own, own));
        let whole = self.whole.1.unwrap_or(usize::MAX).max(1);
        let next = usize::from(self.is_closed() && expects && self.in_flight == 0);
        let used = (self.in_flight + next) as u128 * u128::from(of);
        let used = u32::try_from(used.div_ceil(whole as u128)).unwrap_or(u32::MAX);
        Some(used.max(self.reserves(of)).max(part))
    }

    /// How many of so many parts of the rate are kept for deliveries whose calls have not begun, beside the one that
    /// each host may have.
    fn reserves(&self, of: u32) -> u32 {
        let Some(rate) = self.whole.0 else { return 0 };
        let kept = self.reserved.saturating_sub(1) as u128 * u128::from(of);
        u32::try_from(kept.div_ceil(u128::from(rate.burst.max(1)))).unwrap_or(u32::MAX)
    }

    /// How many may begin now.
    pub fn startable(&self, now: Instant) -> usize {
        let of_rate = self.rate().map_or(usize::MAX, |rate| rate.available(now).saturating_sub(self.reserved));
        let of_breaker = self.breaker.as_ref().map_or(usize::MAX, |breaker| breaker.startable(now));
        self.places().min(of_rate).min(of_breaker)
    }

    /// When so many may begin at once; `None` if time alone does not bring that.
    pub fn when(&self, count: usize, now: Instant) -> Option<Instant> {
        let of_rate = self.rate().map_or(Some(now), |rate| rate.when(count + self.reserved, now))?;
        let of_breaker = self.breaker.as_ref().map_or(Some(now), |breaker| breaker.when(count, now))?;
        (count <= self.places()).then(|| of_rate.max(of_breaker))
    }

    /// Lets one begin at once, if it may.
    pub fn begin_one(&mut self, now: Instant) -> Option<Kind> {
        let kind = self.reserve_one(now)?;
        self.called(1, now);
        Some(kind)
    }

    /// Lets one be taken, if it may begin. It counts for the rate when its call [begins](Gate::called).
    pub(super) fn reserve_one(&mut self, now: Instant) -> Option<Kind> {
        if self.startable(now) == 0 {
            return None;
        }
        self.in_flight += 1;
        self.reserved += 1;
        let probe = self.breaker.as_mut().is_some_and(|breaker| breaker.begin(now));
        Some(if probe { Kind::Probe } else { Kind::Ordinary })
    }

    /// Lets up to so many be taken, as far as they may begin.
    pub(super) fn reserve(&mut self, most: usize, now: Instant) -> Vec<Kind> {
        (0..most).map_while(|_| self.reserve_one(now)).collect()
    }

    /// The calls of so many begin that were taken. Returns whether time brings more from now on than before.
    pub(super) fn called(&mut self, count: usize, now: Instant) -> bool {
        self.free(count);
        let is_closed = self.is_closed();
        let Some(rate) = self.rate.as_mut().filter(|_| !is_closed) else { return false };
        rate.take(count, now);
        true
    }

    /// So many that were taken are not called.
    pub(super) fn free(&mut self, count: usize) {
        self.reserved = self.reserved.saturating_sub(count);
    }

    /// One that began has ended.
    pub fn end(&mut self, kind: Kind) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(breaker) = &mut self.breaker {
            breaker.end(kind == Kind::Probe);
        }
    }

    /// What a call has said that began so. It has not [ended](Gate::end) yet.
    pub fn told(&mut self, told: Told, kind: Kind, now: Instant) -> Option<Turn> {
        self.breaker.as_mut()?.told(told, kind == Kind::Probe, now)
    }

    /// How many deliveries to hold, waiting and asked for: no more than may begin.
    pub(super) fn capacity(&mut self, demand: Demand, now: Instant) -> usize {
        let (startable, held) = (self.startable(now), demand.held());
        self.held_back.note(self.binds(demand, startable), now);
        if self.is_closed() {
            return held;
        }
        let may = startable.min(demand.capacity);
        // More is on its way, and is asked for together.
        let soon = may < demand.capacity && may < self.ceiling() && may.saturating_sub(held) < self.together();
        if soon { held.min(may) } else { may }
    }

    /// Nothing is wanted now, whatever the limits are.
    pub(super) fn nothing_wanted(&mut self, now: Instant) {
        self.held_back.note(false, now);
    }

    /// When to look again because of the time alone, after now.
    pub(super) fn next(&self, demand: Demand, now: Instant) -> Option<Instant> {
        if self.is_closed() {
            return None;
        }
        let held = demand.held();
        let begin = if demand.waiting > 0 && self.startable(now) == 0 { self.when(1, now) } else { None };
        // The inbox asks when half of what it may hold is missing.
        let most = demand.capacity.min(self.ceiling());
        let enough = (held + self.together()).max(held * 2).min(most);
        let ask = if enough > held && enough >= held * 2 { self.when(enough, now) } else { None };
        begin.into_iter().chain(ask).filter(|at| *at > now).min()
    }

    /// Whether a limit, and not the number of workers, mostly kept messages waiting since this was asked last.
    pub(super) fn limited(&mut self, pending: bool, now: Instant) -> bool {
        let share = self.held_back.share(now);
        let open = self.breaker.as_ref().is_some_and(Breaker::is_open);
        open || (pending && share >= StartLimits::BINDS)
    }

    /// What the limits say now.
    pub fn status(&self) -> StartStatus {
        StartStatus {
            in_flight: self.in_flight,
            breaker_open: self.breaker.as_ref().map(Breaker::is_open),
            breaker_opened: self.breaker.as_ref().map_or(0, Breaker::opened),
            part: self.part,
        }
    }

    /// Whether a limit keeps a worker from a message, if there is one.
    fn binds(&self, demand: Demand, startable: usize) -> bool {
        let wants = demand.capacity.saturating_sub(demand.held());
        if startable == 0 {
            return demand.waiting > 0 || wants > 0;
        }
        // Where deliveries wait that may begin, workers are what is missing.
        let spare = startable.saturating_sub(demand.held());
        demand.waiting == 0 && spare < wants.min(self.together())
    }

    /// How many more may be in handlers.
    fn places(&self) -> usize {
        self.most().map_or(usize::MAX, |most| most.saturating_sub(self.in_flight))
    }

    /// How many may be in handlers.
    fn most(&self) -> Option<usize> {
        if self.is_closed() { Some(1) } else { self.most }
    }

    /// How many may begin at once, once there was time enough.
    fn ceiling(&self) -> usize {
        let of_rate = self.rate().map_or(usize::MAX, |rate| rate.burst().saturating_sub(self.reserved));
        self.places().min(of_rate).min(self.probes())
    }

    /// The same, if nothing were taken or in handlers.
    fn ceiling_of_all(&self) -> usize {
        let of_rate = self.rate().map_or(usize::MAX, |rate| rate.burst());
        self.most().unwrap_or(usize::MAX).min(of_rate).min(self.probes())
    }

    /// How many the breaker lets begin at once.
    fn probes(&self) -> usize {
        if self.breaker.as_ref().is_some_and(Breaker::is_open) { 1 } else { usize::MAX }
    }

    /// Whether no more may be taken before one that was taken begins.
    pub(super) fn is_used_up(&self) -> bool {
        self.reserved > 0 && self.reserved >= self.ceiling_of_all()
    }

    /// How many are asked for together, where the rate is what limits.
    fn together(&self) -> usize {
        self.rate().map_or(1, |rate| rate.of(TOGETHER))
    }
}

/// The part of a number, rounded down.
fn scaled(whole: usize, part: Option<(u32, u32)>) -> usize {
    let (part, of) = part.unwrap_or((1, 1));
    usize::try_from(whole as u128 * u128::from(part) / u128::from(of.max(1))).unwrap_or(usize::MAX)
}

/// The part of a rate. At least one may begin at once.
fn of_rate(Rate { every, burst }: Rate, part: Option<(u32, u32)>) -> Rate {
    let share = part.map_or(1.0, |(part, of)| f64::from(part) / f64::from(of.max(1)));
    let burst = u32::try_from(scaled(usize::try_from(burst).unwrap_or(usize::MAX), part)).unwrap_or(u32::MAX).max(1);
    Rate { every: Duration::try_from_secs_f64(every.as_secs_f64() / share).unwrap_or(Duration::MAX), burst }
}
