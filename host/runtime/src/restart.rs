//! Keeps a workload running: one that cannot be set up, ends or panics is told and tried again, and the others do not
//! notice.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};

use crate::backoff::Backoff;
use crate::jetstream::Bound;
use crate::plugin::{PluginHandlers, PluginPolicies};
use crate::status::conditions::Part;
use crate::status::workload::Board;
use crate::workload::{self, Surroundings, stopped};

/// The shortest and the longest pause before a workload is tried again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// How long a workload that had ended has to run until that is no longer told.
const STEADY: Duration = Duration::from_secs(10);
/// How many workloads are set up at the same time: a server should not meet a thousand at once.
const TOGETHER: usize = 16;

/// What all workloads of a host are kept with.
pub(crate) struct Keeper {
    around: Arc<Surroundings>,
    turns: Semaphore,
    stops: watch::Receiver<bool>,
}

/// One workload with its plugins.
pub(crate) struct Kept {
    pub(crate) board: Arc<Board>,
    pub(crate) handlers: PluginHandlers,
    pub(crate) policies: PluginPolicies,
    pub(crate) shadow: Option<PluginPolicies>,
}

impl Keeper {
    pub(crate) fn new(around: Arc<Surroundings>, stops: watch::Receiver<bool>) -> Arc<Self> {
        Arc::new(Self { around, turns: Semaphore::new(TOGETHER), stops })
    }

    /// Runs a workload until the host stops, and begins anew each time it ends before.
    pub(crate) async fn keep(self: Arc<Self>, kept: Kept) {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        let mut has_ended = false;
        loop {
            let began = Instant::now();
            let once = Box::pin(AssertUnwindSafe(self.once(&kept, has_ended)).catch_unwind()).await;
            kept.board.ended();
            let problem = match once {
                Ok(Ok(())) if *self.stops.borrow() => return,
                Ok(Ok(())) => "it ended though nobody stopped it".to_owned(),
                Ok(Err(error)) => format!("it ended: {error:#}"),
                Err(panic) => format!("it panicked, which is a fault of tidegate's own: {}", words(&*panic)),
            };
            let problem = format!("{problem}; what it held is delivered again after its ack wait");
            if *self.stops.borrow() {
                tracing::error!(workload = kept.board.workload.name, "{problem}");
                return;
            }
            has_ended = true;
            kept.board.conditions.ended(&format!("{problem}; it is started again"));
            if began.elapsed() > STEADY {
                backoff.reset();
            }
            tokio::select! {
                () = sleep(backoff.pause()) => {}
                () = stopped(self.stops.clone()) => return,
            }
        }
    }

    /// Sets it up and runs it. Returns when the host stops, or when it ends by itself.
    async fn once(&self, kept: &Kept, has_ended: bool) -> anyhow::Result<()> {
        let Kept { board, handlers, policies, shadow } = kept;
        let mut handlers = handlers.clone();
        let begin = async {
            let bound = self.set_up(board).await;
            handlers.loaded().await;
            bound
        };
        let bound = tokio::select! {
            bound = begin => bound,
            () = stopped(self.stops.clone()) => return Ok(()),
        };
        let (policies, shadow) = (policies.anew(), shadow.as_ref().map(PluginPolicies::anew));
        let (around, stops) = (self.around.clone(), self.stops.clone());
        let mut run = pin!(workload::run(board.clone(), bound, around, handlers, policies, shadow, stops));
        if has_ended {
            tokio::select! {
                ended = &mut run => return ended,
                () = sleep(STEADY) => board.conditions.clear(Part::Run),
            }
        }
        run.await
    }

    /// Tries until it is done.
    async fn set_up(&self, board: &Board) -> Bound {
        let Surroundings { client, dead_letters, host, .. } = &*self.around;
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        loop {
            client.connected().await;
            let turn = self.turns.acquire().await;
            let bound = Bound::new(client, &board.workload, dead_letters, host).await;
            drop(turn);
            match bound {
                Ok(bound) => {
                    board.conditions.clear(Part::Setup);
                    return bound;
                }
                Err(error) if client.is_connected() => {
                    let text = error.to_string();
                    let name = format!("workload {}: ", board.workload.name);
                    let problem = text.strip_prefix(&name).unwrap_or(&text).trim_end_matches('.');
                    board.conditions.raise(Part::Setup, &format!("{problem}; tried again until it works"));
                }
                // That the server is away is told once, for all.
                Err(error) => tracing::debug!(workload = board.workload.name, %error, "not set up"),
            }
            client.reconnected(backoff.pause()).await;
        }
    }
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
