//! A host that is drained: its workloads stop as they do when the host stops, and the process stays until somebody lets
//! it go on.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::watch;

/// Whether a host is drained.
#[derive(Debug)]
pub(crate) struct Drain {
    wanted: watch::Sender<bool>,
    /// Workloads that are kept running, those that rest among them.
    kept: AtomicUsize,
    resting: AtomicUsize,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DrainState {
    /// It works.
    No,
    /// So many workloads have not finished yet.
    Draining(usize),
    /// It pulls nothing and holds nothing.
    Drained,
}

/// A workload that has finished what it had. It goes on when this is dropped.
#[derive(Debug)]
pub(crate) struct Resting<'a>(&'a Drain);

/// A workload that is kept running until this is dropped.
#[derive(Debug)]
pub(crate) struct Kept<'a>(&'a Drain);

impl Default for Drain {
    /// Of a host that works.
    fn default() -> Self {
        Self { wanted: watch::Sender::new(false), kept: AtomicUsize::default(), resting: AtomicUsize::default() }
    }
}

impl Drain {
    /// A workload is kept running from now on.
    pub(crate) fn keep(&self) -> Kept<'_> {
        self.kept.fetch_add(1, SeqCst);
        Kept(self)
    }

    /// Begins or ends it. Returns whether that is another state than before.
    pub(crate) fn set(&self, drained: bool) -> bool {
        let changed = self.wanted.send_if_modified(|wanted| std::mem::replace(wanted, drained) != drained);
        match (changed, drained) {
            (true, true) => tracing::info!("the host is drained: it fetches no more, and finishes what it has"),
            (true, false) => tracing::info!("the host is not drained any more: it goes on"),
            (false, _) => {}
        }
        changed
    }

    /// How far it is now.
    pub(crate) fn state(&self) -> DrainState {
        let left = self.kept.load(SeqCst).saturating_sub(self.resting.load(SeqCst));
        match (*self.wanted.borrow(), left) {
            (false, _) => DrainState::No,
            (true, 0) => DrainState::Drained,
            (true, left) => DrainState::Draining(left),
        }
    }

    /// Whether the host is to be drained.
    pub(crate) fn is_wanted(&self) -> bool {
        *self.wanted.borrow()
    }

    /// Waits until the host is drained, or is no more.
    pub(crate) async fn is(&self, drained: bool) {
        // The sender is this one's.
        let _ = self.wanted.subscribe().wait_for(|wanted| *wanted == drained).await;
    }

    /// A workload has finished what it had.
    pub(crate) fn rest(&self) -> Resting<'_> {
        self.resting.fetch_add(1, SeqCst);
        if self.state() == DrainState::Drained {
            tracing::info!("drained: nothing is held, and nothing is fetched until the host is told to go on");
        }
        Resting(self)
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.resting.fetch_sub(1, SeqCst);
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.0.kept.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_drained_when_all_its_workloads_rest() {
        let drain = Drain::default();
        let _kept = (drain.keep(), drain.keep());
        assert_eq!(drain.state(), DrainState::No);
        assert!(drain.set(true) && !drain.set(true));
        assert_eq!(drain.state(), DrainState::Draining(2));
        let (one, two) = (drain.rest(), drain.rest());
        assert_eq!(drain.state(), DrainState::Drained);
        drop(one);
        assert_eq!(drain.state(), DrainState::Draining(1));
        assert!(drain.set(false));
        drop(two);
        assert_eq!(drain.state(), DrainState::No);
    }
}
