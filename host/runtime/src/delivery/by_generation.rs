//! What calls of a handler came to, by the generation that was called.
//!
//! A worker counts in one place whatever it runs. Where it moves to another generation, which is between two calls,
//! what was counted until then is that of the one before. So a call costs nothing for it.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The generations whose sums are kept. Of more, the one that was longest without a call is forgotten.
const KEPT: usize = 8;

/// What calls came to. Each number only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct CallSums {
    /// Calls that ended, a batch as one for each of its deliveries. Those of a batch that failed as a whole are not
    /// among them: each of its deliveries has a call of its own later.
    pub calls: u64,
    /// Those that ended in a failure.
    pub failed: u64,
    /// Calls without an answer that could be carried out, such as traps; a batch as one.
    pub faulted: u64,
    /// The calls whose time is in `us`: a batch that failed as a whole counts too.
    pub timed: u64,
    /// Microseconds in the handler.
    pub us: u64,
}

impl CallSums {
    /// The sums of both.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            failed: self.failed.saturating_add(other.failed),
            faulted: self.faulted.saturating_add(other.faulted),
            timed: self.timed.saturating_add(other.timed),
            us: self.us.saturating_add(other.us),
        }
    }

    /// What was counted since.
    #[must_use]
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(before.calls),
            failed: self.failed.saturating_sub(before.failed),
            faulted: self.faulted.saturating_sub(before.faulted),
            timed: self.timed.saturating_sub(before.timed),
            us: self.us.saturating_sub(before.us),
        }
    }
}

/// Sums by generation, the one that was added to last at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GenerationSums(Vec<(Digest, CallSums)>);

impl GenerationSums {
    /// Adds to those of a generation.
    pub(crate) fn add(&mut self, generation: &Digest, more: CallSums) {
        let at = self.0.iter().position(|(of, _)| of == generation);
        let before = at.map(|at| self.0.remove(at).1).unwrap_or_default();
        if self.0.len() >= KEPT {
            self.0.remove(0);
        }
        self.0.push((generation.clone(), before.plus(more)));
    }

    /// Adds all of another.
    pub(crate) fn add_all(&mut self, other: &Self) {
        other.0.iter().for_each(|(generation, sums)| self.add(generation, *sums));
    }

    /// Those of a generation.
    pub(crate) fn of(&self, generation: &Digest) -> CallSums {
        self.0.iter().find(|(of, _)| of == generation).map(|(_, sums)| *sums).unwrap_or_default()
    }
}

/// What one worker has run.
#[derive(Debug, Default)]
pub(super) struct ByGeneration {
    /// The generation that it runs, and what was counted before it did.
    now: Option<(Digest, CallSums)>,
    before: GenerationSums,
}

impl ByGeneration {
    /// The worker runs this generation from now on, when so much is counted.
    pub(super) fn runs(&mut self, generation: &Digest, counted: CallSums) {
        if self.now.as_ref().is_some_and(|(of, _)| of == generation) {
            return;
        }
        if let Some((of, at_first)) = self.now.take() {
            self.before.add(&of, counted.since(at_first));
        }
        self.now = Some((generation.clone(), counted));
    }

    /// The generation that it runs.
    pub(super) fn running(&self) -> Option<Digest> {
        self.now.as_ref().map(|(of, _)| of.clone())
    }

    /// The sums, when so much is counted.
    pub(super) fn sums(&self, counted: CallSums) -> GenerationSums {
        let mut sums = self.before.clone();
        if let Some((of, at_first)) = &self.now {
            sums.add(of, counted.since(*at_first));
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(calls: u64) -> CallSums {
        CallSums { calls, timed: calls, ..CallSums::default() }
    }

    #[test]
    fn what_is_counted_is_that_of_the_generation_that_ran() {
        let (old, new) = (Digest::from("old"), Digest::from("new"));
        let mut worker = ByGeneration::default();
        worker.runs(&old, calls(0));
        worker.runs(&old, calls(3));
        worker.runs(&new, calls(5));
        worker.runs(&old, calls(7));
        let mut sums = worker.sums(calls(10));
        assert_eq!((sums.of(&old), sums.of(&new), worker.running()), (calls(8), calls(2), Some(old.clone())));
        sums.add_all(&worker.sums(calls(10)));
        assert_eq!(sums.of(&old), calls(16));
    }

    #[test]
    fn the_generation_that_is_called_no_more_is_forgotten() {
        let mut sums = GenerationSums::default();
        sums.add(&"old".into(), calls(1));
        for n in 0..KEPT {
            sums.add(&Digest::from(n.to_string()), calls(1));
            sums.add(&"old".into(), calls(1));
        }
        let of = |generation: &str| sums.of(&Digest::from(generation));
        assert_eq!((of("0"), of("1"), of("old")), (calls(0), calls(1), calls(KEPT as u64 + 1)));
    }
}
