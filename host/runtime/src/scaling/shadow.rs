//! A policy that is asked what the live one is asked, and not listened to.
//!
//! It runs in a task of its own. What it does, however long it takes and however it ends, reaches nobody but the journal and
//! the board.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::ports::Policies;
use crate::scaling::policy_state::Fold;
use crate::scaling::{Observation, clamp};
use crate::status::workload::Board;

/// One tick.
#[derive(Debug, Clone, Copy)]
pub struct Tick {
    /// What was seen.
    pub seen: Observation,
    /// Messages that had arrived since the host began to watch.
    pub arrivals: u64,
    /// How many workers the live policy wants, within the limits; none if it did not answer.
    pub live: Option<u32>,
}

/// Where ticks go. One may wait; what comes while one waits is missed, and counted.
#[derive(Debug, Clone, Default)]
pub struct Window(Option<mpsc::Sender<Tick>>);

/// A policy in the shadow.
pub struct Shadow<P: Policies> {
    /// The policy.
    pub fold: Fold<P>,
    /// What it is asked.
    pub ticks: mpsc::Receiver<Tick>,
    /// Where it is counted.
    pub board: Arc<Board>,
}

impl Window {
    /// One that somebody looks through.
    pub fn open() -> (Self, mpsc::Receiver<Tick>) {
        let (sender, ticks) = mpsc::channel(1);
        (Self(Some(sender)), ticks)
    }

    /// Shows a tick, if somebody looks.
    pub fn show(&self, board: &Board, tick: Tick) {
        if self.0.as_ref().is_some_and(|ticks| ticks.try_send(tick).is_err()) {
            board.shadow(|shadow| shadow.missed += 1);
        }
    }
}

impl<P: Policies> Shadow<P> {
    /// Runs until nobody shows anything any more.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                () = self.fold.newer() => self.adopt().await,
                tick = self.ticks.recv() => match tick {
                    Some(tick) => self.decide(tick).await,
                    None => return,
                },
            }
        }
    }

    async fn adopt(&mut self) {
        let Some((author, outcome)) = self.fold.adopt().await else { return };
        let workload = &self.board.workload.name;
        match outcome {
            Ok(()) => {
                tracing::info!(workload, plugin = %author.plugin, generation = %author.generation, "shadow in use");
                self.board.shadow(|shadow| (shadow.policy, shadow.problem) = (Some(author), None));
            }
            Err(problem) => {
                tracing::warn!(workload, plugin = %author.plugin, generation = %author.generation, problem,
                    "shadow not used; it changes nothing");
                self.board.shadow(|shadow| shadow.problem = Some(problem));
            }
        }
    }

    async fn decide(&mut self, Tick { seen, arrivals, live }: Tick) {
        let mut decided = None;
        let outcome = self.fold.decide((&seen, arrivals), |decision| {
            decided = Some((clamp(decision.desired, seen.min, seen.max), decision.reason.clone()));
            None
        });
        let Some(outcome) = outcome.await else { return };
        self.board.shadow(|shadow| match (outcome, decided) {
            (Ok(()), Some((count, reason))) => {
                shadow.decisions += 1;
                shadow.differing += u64::from(live.is_some_and(|live| live != count));
                shadow.problem = None;
                shadow.last = Some((count, reason));
            }
            (outcome, _) => {
                shadow.failures += 1;
                shadow.problem = outcome.err().map(|fault| fault.to_string());
            }
        });
    }
}
