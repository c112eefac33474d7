//! What the guests of a workload use, by generation.

use std::cell::Cell;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use super::generation::Generation;
use crate::delivery::slow_lane::spent;

/// How many generations of a workload are told, so that a file that is replaced all day adds no labels without end.
const GENERATIONS: usize = 8;
/// One first poll of so many is timed, and counts for all of them: reading the processor time takes half a microsecond,
/// and a small call takes five.
const ONE_OF: u32 = 16;

/// What all guests of one workload and one plugin use. Its numbers stay when a generation is replaced.
#[derive(Debug, Default)]
pub struct GuestUsage(Mutex<Vec<(Generation, Arc<Meter>)>>);

impl GuestUsage {
    /// The meter of one generation.
    pub(crate) fn of(&self, generation: &Generation) -> Arc<Meter> {
        let mut meters = self.0.lock();
        if let Some((_, meter)) = meters.iter().find(|(of, _)| of == generation) {
            return meter.clone();
        }
        if meters.len() >= GENERATIONS {
            meters.remove(0);
        }
        let meter = Arc::<Meter>::default();
        meters.push((generation.clone(), meter.clone()));
        meter
    }

    /// The last generations, the oldest first.
    pub(crate) fn all(&self) -> Vec<(Generation, Used)> {
        self.0.lock().iter().map(|(generation, meter)| (generation.clone(), meter.used())).collect()
    }
}

/// What the guests of one generation use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Used {
    /// Processor time of all calls.
    pub cpu: Duration,
    /// Bytes that the instances have now, as `limits.memory` counts them.
    pub memory: u64,
}

impl Add for Used {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { cpu: self.cpu.saturating_add(other.cpu), memory: self.memory.saturating_add(other.memory) }
    }
}

/// Counts for one generation.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    cpu_ns: AtomicU64,
    memory: AtomicU64,
}

impl Meter {
    fn used(&self) -> Used {
        Used { cpu: Duration::from_nanos(self.cpu_ns.load(Relaxed)), memory: self.memory.load(Relaxed) }
    }

    /// Processor time was used.
    pub(crate) fn spent(&self, time: Duration) {
        self.cpu_ns.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Begins a call's first poll. Most are not timed.
    pub(crate) fn first_poll(&self) -> Timed<'_> {
        Timed { meter: self, began: is_chosen().then(spent) }
    }

    /// The memory of an instance has changed.
    pub(crate) fn memory(&self, before: usize, now: usize) {
        let count = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        if now > before {
            self.memory.fetch_add(count(now - before), Relaxed);
        } else if before > now {
            self.memory.fetch_sub(count(before - now), Relaxed);
        }
    }
}

/// A poll that may be timed. It ends where this is dropped.
pub(crate) struct Timed<'a> {
    meter: &'a Meter,
    began: Option<Duration>,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        if let Some(began) = self.began {
            self.meter.spent(spent().saturating_sub(began) * ONE_OF);
        }
    }
}

/// True once in each [`ONE_OF`] times on a thread, at a place that nobody can foresee by counting: messages may come in
/// a pattern.
fn is_chosen() -> bool {
    thread_local! {
        /// How often until the next, and the last random number.
        static NEXT: Cell<(u32, u32)> = const { Cell::new((0, 0x9e37_79b9)) };
    }
    let (left, last) = NEXT.get();
    if left > 0 {
        NEXT.set((left - 1, last));
        return false;
    }
    // The rest of this block, and then some of the next.
    let place = |number: u32| (number >> 16) % ONE_OF;
    let number = last.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    NEXT.set((ONE_OF - 1 - place(last) + place(number), number));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(digest: &str) -> Generation {
        Generation { plugin: "echo".into(), digest: digest.into() }
    }

    #[test]
    fn one_of_so_many_is_chosen_and_each_place_is() {
        const BLOCKS: u32 = 4000;
        while !is_chosen() {}
        let mut places = [0; ONE_OF as usize];
        let chosen = (0..BLOCKS * ONE_OF).filter(|_| is_chosen()).count();
        assert!(chosen.abs_diff(BLOCKS as usize) <= 1, "{chosen}");
        (0..BLOCKS * ONE_OF).filter(|_| is_chosen()).for_each(|at| places[(at % ONE_OF) as usize] += 1);
        assert!(places.iter().all(|count| *count > BLOCKS / ONE_OF / 2), "{places:?}");
    }

    #[test]
    fn what_is_timed_counts_for_all() {
        let meter = Meter::default();
        for _ in 0..ONE_OF * 2 {
            let _timed = meter.first_poll();
            let began = spent();
            while spent() - began < Duration::from_millis(1) {}
        }
        assert!(meter.used().cpu >= Duration::from_millis(u64::from(ONE_OF)), "{:?}", meter.used());
    }

    #[test]
    fn the_oldest_generation_is_forgotten() {
        let usage = GuestUsage::default();
        let first = usage.of(&generation("0"));
        first.memory(0, 7);
        usage.of(&generation("0")).memory(7, 5);
        assert_eq!(usage.all(), [(generation("0"), Used { memory: 5, ..Used::default() })]);
        (1..=GENERATIONS).for_each(|n| drop(usage.of(&generation(&n.to_string()))));
        let kept: Vec<_> = usage.all().into_iter().map(|(of, _)| of).collect();
        assert_eq!((kept.len(), &kept[0]), (GENERATIONS, &generation("1")));
    }
}
