//! Limits what one store may allocate, and remembers whether it asked for more.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use super::usage::Meter;
use crate::config::Limits;
use crate::plugin::limits::instance::UNCOUNTED;

/// Counts what a store has allocated, refuses what is over the limits, and remembers each refusal.
///
/// The limits hold for all memories and tables of the store together: a component may have many.
#[derive(Debug)]
pub(crate) struct Quota {
    memory: Budget,
    elements: Budget,
    /// The most core instances, the most memories and the most tables.
    count: usize,
    meter: Arc<Meter>,
    /// What the meter was told.
    told: usize,
}

#[derive(Debug)]
struct Budget {
    used: usize,
    limit: usize,
    refused: bool,
    /// What the last growth that was allowed has added.
    last: usize,
}

impl Budget {
    fn new(limit: usize) -> Self {
        Self { used: 0, limit, refused: false, last: 0 }
    }

    /// Allows or refuses the growth of one memory or table from `current` to `desired`. `maximum` is its own declared
    /// maximum.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        let more = desired.saturating_sub(current);
        let used = more.saturating_add(self.used);
        self.last = 0;
        // Growth beyond the guest's own maximum fails without the host.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        if used > self.limit {
            self.refused = true;
            return false;
        }
        self.used = used;
        self.last = more;
        true
    }

    /// Takes back a growth that was allowed and failed, as where the system had no memory for it.
    fn failed(&mut self) {
        self.used = self.used.saturating_sub(self.last);
        self.last = 0;
    }
}

impl Quota {
    /// `begins_with` is how many bytes an instance takes beside its memories.
    /// `meter` is told what the store has as long as it lives.
    pub(crate) fn new(limits: &Limits, begins_with: usize, meter: Arc<Meter>) -> Self {
        let mut memory = Budget::new(limits.memory);
        // If this is over the limit already, the first memory is refused, and the refusal names the limit.
        memory.used = begins_with.saturating_sub(UNCOUNTED);
        let elements = Budget::new(limits.table_elements);
        Self { memory, elements, count: limits.instances, meter, told: 0 }
    }

    /// What the store's instance uses is counted there.
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    fn tell(&mut self, now: usize) {
        self.meter.memory(self.told, now);
        self.told = now;
    }

    /// The memory limit in bytes, if memory was refused since the last [`Quota::forget`].
    pub(crate) fn refused_memory(&self) -> Option<usize> {
        self.memory.refused.then_some(self.memory.limit)
    }

    /// The limit in elements, if table elements were refused since the last [`Quota::forget`].
    pub(crate) fn refused_elements(&self) -> Option<usize> {
        self.elements.refused.then_some(self.elements.limit)
    }

    /// Begins a new call. A refusal that an earlier call survived does not explain a later trap.
    pub(crate) fn forget(&mut self) {
        self.memory.refused = false;
        self.elements.refused = false;
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.tell(0);
    }
}

impl ResourceLimiter for Quota {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let may = self.memory.grow(current, desired, maximum);
        self.tell(self.memory.used);
        Ok(may)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.failed();
        self.tell(self.memory.used);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.elements.grow(current, desired, maximum))
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.elements.failed();
        Ok(())
    }

    fn instances(&self) -> usize {
        self.count
    }

    fn tables(&self) -> usize {
        self.count
    }

    fn memories(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memories_share_one_limit() {
        let mut budget = Budget::new(100);
        assert!(budget.grow(0, 60, None));
        assert!(!budget.grow(0, 60, None));
        assert!(budget.refused);
        assert!(budget.grow(60, 100, None));
    }

    #[test]
    fn growth_that_failed_is_not_charged() {
        let mut budget = Budget::new(100);
        assert!(budget.grow(0, 60, None));
        budget.failed();
        assert!(budget.grow(0, 90, None));
        // wasmtime also reports a failure for a growth that was refused before it was tried.
        assert!(!budget.grow(90, 190, None));
        budget.failed();
        assert_eq!(budget.used, 90);
    }

    #[test]
    fn what_an_instance_begins_with_is_memory_too() {
        let limits = Limits { memory: 2 << 20, ..Limits::default() };
        let mut small = Quota::new(&limits, 1 << 20, Arc::default());
        assert!(small.memory_growing(0, 2 << 20, None).unwrap());
        let mut large = Quota::new(&limits, 4 << 20, Arc::default());
        assert!(!large.memory_growing(0, 1, None).unwrap());
        assert_eq!(large.refused_memory(), Some(2 << 20));
    }

    #[test]
    fn a_guests_own_maximum_is_not_a_refusal_of_the_host() {
        let mut budget = Budget::new(100);
        assert!(!budget.grow(0, 60, Some(50)));
        assert!(!budget.refused);
    }

    proptest! {
        #[test]
        fn no_sequence_of_growths_passes_the_limit(steps in proptest::collection::vec((0usize..4, 0usize..50), 0..40)) {
            let mut budget = Budget::new(100);
            let mut sizes = [0usize; 4];
            for (which, by) in steps {
                let Some(size) = sizes.get_mut(which) else { continue };
                if budget.grow(*size, *size + by, None) {
                    *size += by;
                }
            }
            prop_assert!(sizes.iter().sum::<usize>() <= 100);
        }

        #[test]
        fn absurd_sizes_are_refused_without_overflow(current: usize, desired: usize) {
            let mut budget = Budget::new(100);
            let grown = budget.grow(current, desired, None);
            prop_assert_eq!(grown, desired.saturating_sub(current) <= 100);
        }
    }
}
