//! A shadow: a policy that is asked what the live policy is asked, and whose decisions are only counted and recorded.
//!
//! A shadow runs in a task of its own. However long it takes and however it ends, its decisions reach the journal and
//! the status of its workload, and change nothing else.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::contract::{Author, Observation};
use crate::ports::Policies;
use crate::scaling::clamp;
use crate::scaling::history::History;
use crate::scaling::policy_state::ActivePolicy;

/// What the policies are asked on one tick.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tick {
    /// What was observed.
    pub seen: Observation,
    /// Messages that had arrived since the host began to watch.
    pub arrivals: u64,
    /// How many workers the live policy wants, within the limits; `None` if it did not answer.
    pub live: Option<u32>,
}

/// The way of ticks to the shadow, if the workload has one. One tick may wait. A tick that comes while one waits is
/// missed, and counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ticks(Option<mpsc::Sender<Tick>>);

/// A policy that runs as a shadow.
pub(crate) struct Shadow<P: Policies> {
    /// The policy.
    pub policy: ActivePolicy<P>,
    /// The ticks that it is asked about.
    pub ticks: mpsc::Receiver<Tick>,
    /// The workload's name.
    pub workload: Arc<str>,
    /// Where its decisions are counted.
    pub history: Arc<History>,
}

impl Ticks {
    /// A way to a shadow, and the end that the shadow reads.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Tick>) {
        let (sender, ticks) = mpsc::channel(1);
        (Self(Some(sender)), ticks)
    }

    /// Sends a tick to the shadow, if there is one.
    pub(crate) fn send(&self, history: &History, tick: Tick) {
        if self.0.as_ref().is_some_and(|ticks| ticks.try_send(tick).is_err()) {
            history.shadow(|shadow| shadow.missed += 1);
        }
    }
}

impl<P: Policies> Shadow<P> {
    /// Runs until no tick can come any more.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                () = self.policy.newer() => self.adopt().await,
                tick = self.ticks.recv() => match tick {
                    Some(tick) => self.decide(tick).await,
                    None => return,
                },
            }
        }
    }

    async fn adopt(&mut self) {
        let Some((author, outcome)) = self.policy.adopt().await else { return };
        match outcome {
            Ok(()) => {
                let Author { plugin, generation } = &author;
                tracing::info!(workload = %self.workload, %plugin, %generation, "shadow in use");
                self.history.shadow(|shadow| (shadow.policy, shadow.problem) = (Some(author), None));
            }
            Err(problem) => {
                let Author { plugin, generation } = &author;
                tracing::warn!(workload = %self.workload, %plugin, %generation, problem,
                    "shadow not used; it changes nothing");
                self.history.shadow(|shadow| shadow.problem = Some(problem));
            }
        }
    }

    async fn decide(&mut self, Tick { seen, arrivals, live }: Tick) {
        let Some(call) = self.policy.decide(&seen, arrivals).await else { return };
        self.history.shadow(|shadow| match &call.answer {
            Ok(decision) => {
                let count = clamp(decision.desired, seen.min, seen.max);
                shadow.decisions += 1;
                shadow.differing += u64::from(live.is_some_and(|live| live != count));
                shadow.problem = None;
                shadow.last = Some((count, decision.reason.clone()));
            }
            Err(fault) => {
                shadow.failures += 1;
                shadow.problem = Some(fault.to_string());
            }
        });
        self.policy.record(call, None);
    }
}
