//! When a delivery may begin: a rate, a number in handlers at once, and a breaker. What may not begin stays in the
//! stream, because the host asks only for what may.
//!
//! [`Gate`] decides, and is pure: it is told the time. This file is the lock around it, and who is woken.

mod breaker;
mod bucket;
mod gate;
mod held_back;
mod told;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::conditions::{Conditions, Part};
use crate::config::units::show_duration;
use crate::config::{BreakerConfig, StartLimits};
pub use breaker::Turn;
pub(crate) use gate::Demand;
pub use gate::{Gate, Kind, StartStatus};
pub use told::Told;

/// Lets the deliveries of one workload begin. There is none where nothing is limited.
#[derive(Debug)]
pub(crate) struct StartGate {
    gate: Mutex<Gate>,
    /// Notified when more may begin than before.
    changed: Notify,
    breaker: Option<BreakerConfig>,
    conditions: Arc<Conditions>,
    /// What [`StartGate::limited`] has said last.
    was_limited: AtomicBool,
}

/// A delivery that was taken, and may begin. When this is dropped, another one may in its place.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<StartGate>,
    kind: Kind,
    /// Its call has begun.
    called: bool,
}

impl Permit {
    fn new(gate: &Arc<StartGate>, kind: Kind) -> Self {
        Self { gate: gate.clone(), kind, called: false }
    }

    /// The call of these deliveries of one workload begins.
    pub(crate) fn begin<'a>(permits: impl IntoIterator<Item = &'a mut Self>) {
        let (mut gate, mut count) = (None, 0);
        for permit in permits.into_iter().filter(|permit| !permit.called) {
            permit.called = true;
            gate.get_or_insert_with(|| permit.gate.clone());
            count += 1;
        }
        if let Some(gate) = gate {
            gate.called(count);
        }
    }

    /// The delivery is out of its handler.
    pub(crate) fn ended(self, told: Told) {
        self.gate.told(told, self.kind);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let mut gate = self.gate.gate.lock();
            gate.free(usize::from(!self.called));
            gate.end(self.kind);
        }
        self.gate.changed.notify_one();
    }
}

impl StartGate {
    /// For a workload that begins now; `None` if nothing is limited.
    pub(crate) fn new(limits: &StartLimits, conditions: &Arc<Conditions>) -> Option<Arc<Self>> {
        let make = || Self {
            gate: Mutex::new(Gate::new(limits, Instant::now())),
            changed: Notify::new(),
            breaker: limits.breaker,
            conditions: conditions.clone(),
            was_limited: AtomicBool::new(false),
        };
        (!limits.is_none()).then(|| Arc::new(make()))
    }

    /// Has of its rate only what is left of that of an earlier run of the workload.
    pub(crate) fn goes_on_from(&self, before: &Self) {
        let before = before.gate.lock().bucket();
        self.gate.lock().goes_on_from(before, Instant::now());
    }

    /// Lets up to so many deliveries be taken that may begin, a permit each.
    pub(crate) fn reserve(self: &Arc<Self>, most: usize) -> Vec<Permit> {
        let kinds = self.gate.lock().reserve(most, Instant::now());
        kinds.into_iter().map(|kind| Permit::new(self, kind)).collect()
    }

    /// Lets one delivery be taken, if it may begin.
    pub(crate) fn reserve_one(self: &Arc<Self>) -> Option<Permit> {
        let kind = self.gate.lock().reserve_one(Instant::now())?;
        Some(Permit::new(self, kind))
    }

    /// The calls of so many begin.
    fn called(&self, count: usize) {
        if self.gate.lock().called(count, Instant::now()) {
            // Of a burst that was kept whole for them nothing could come before.
            self.changed.notify_one();
        }
    }

    /// Whether no more may be taken before one that was taken begins.
    pub(crate) fn is_used_up(&self) -> bool {
        self.gate.lock().is_used_up()
    }

    /// How many deliveries may begin now.
    pub(crate) fn startable(&self) -> usize {
        self.gate.lock().startable(Instant::now())
    }

    /// How many deliveries to hold, waiting and asked for, where the workers could use [`Demand::capacity`].
    pub(crate) fn capacity(&self, demand: Demand) -> usize {
        self.gate.lock().capacity(demand, Instant::now())
    }

    /// Nothing is wanted now, whatever the limits are.
    pub(crate) fn nothing_wanted(&self) {
        self.gate.lock().nothing_wanted(Instant::now());
    }

    /// Waits until more may begin than with this demand, or a delivery has ended. Cancel-safe.
    pub(crate) async fn more(&self, demand: Demand) {
        let at = self.gate.lock().next(demand, Instant::now());
        tokio::select! {
            () = self.changed.notified() => {}
            () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {}
        }
    }

    /// Whether a limit, and not the number of workers, was what mostly kept messages waiting since this was asked last.
    /// `pending` is whether the stream has any that were not delivered.
    pub(crate) fn limited(&self, pending: bool) -> bool {
        let limited = self.gate.lock().limited(pending, Instant::now());
        self.was_limited.store(limited, Relaxed);
        limited
    }

    /// What [`StartGate::limited`] has said last.
    pub(crate) fn was_limited(&self) -> bool {
        self.was_limited.load(Relaxed)
    }

    /// How many parts the limits have that can be divided among hosts; `None` where there are none.
    pub(crate) fn parts(&self) -> Option<u32> {
        self.gate.lock().parts()
    }

    /// From now on this host has so many of so many parts of the limits, or all of them.
    pub(crate) fn divide(&self, part: Option<(u32, u32)>) {
        if self.gate.lock().divide(part, Instant::now()) {
            self.changed.notify_one();
        }
    }

    /// The most parts that this host uses, where the limits can be divided. `expects` is whether deliveries wait for a
    /// worker or may still come.
    pub(crate) fn uses(&self, expects: bool) -> Option<u32> {
        self.gate.lock().uses(expects)
    }

    /// What the limits say now.
    pub(crate) fn status(&self) -> StartStatus {
        self.gate.lock().status()
    }

    fn told(&self, told: Told, kind: Kind) {
        let turn = self.gate.lock().told(told, kind, Instant::now());
        let (Some(turn), Some(BreakerConfig { ratio, window, probe_interval, .. })) = (turn, self.breaker) else {
            return;
        };
        match turn {
            Turn::Opened => self.conditions.raise(
                Part::Breaker,
                &format!(
                    "more than {ratio} of the calls within {} asked to retry or ran out of time, so what is behind the \
                     handler seems not to work: one call each {} tries it, and the workload goes on by itself when one \
                     ends well",
                    show_duration(&window),
                    show_duration(&probe_interval)
                ),
            ),
            Turn::Closed => self.conditions.clear(Part::Breaker),
        }
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests;
