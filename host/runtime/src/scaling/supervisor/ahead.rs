//! The instance that is made ahead of the next message while there are no workers.

use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;
use crate::contract::Fault;
use crate::delivery::slow_lane::roam;

/// What became of one.
pub(super) type Prepared = Result<Result<(), Fault>, JoinError>;

/// What is waited for.
pub(super) enum Next {
    /// It was made, or was not.
    Prepared(Prepared),
    /// The pause after one that could not be made is over.
    MayPrepare,
}

/// Makes one, and tries again after pauses where that fails.
pub(super) struct MadeAhead {
    state: State,
    pauses: Backoff,
    /// Whether it is told that none can be made.
    told: bool,
}

enum State {
    /// There is none, and none is being made.
    No,
    Making(JoinHandle<Result<(), Fault>>),
    Ready,
    /// It could not be made, and is tried again then.
    Failed(Instant),
}

/// What there is to tell of one.
pub(super) enum Came {
    /// Nothing.
    Well,
    /// One was made, and none could be before.
    WellAgain,
    /// Why none could be made.
    Failed(String),
}

impl MadeAhead {
    /// With these pauses.
    pub(super) fn new(pauses: Backoff) -> Self {
        Self { state: State::No, pauses, told: false }
    }

    /// Has one made where there are no workers, so that the next message need not wait for it.
    pub(super) fn keep<F>(&mut self, at_zero: bool, prepare: impl FnOnce() -> F)
    where
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        match self.state {
            // What is being made may still be of use: a worker takes it if it is there.
            _ if !at_zero => self.state = State::No,
            State::No => self.state = State::Making(tokio::spawn(roam(prepare()))),
            State::Making(_) | State::Ready | State::Failed(_) => {}
        }
    }

    /// Another is to be made.
    pub(super) fn again(&mut self) {
        self.state = State::No;
    }

    /// Waits for what becomes of it. Cancel-safe.
    pub(super) async fn next(&mut self) -> Next {
        match &mut self.state {
            State::Making(making) => Next::Prepared(making.await),
            State::Failed(until) => {
                sleep_until(*until).await;
                Next::MayPrepare
            }
            State::No | State::Ready => std::future::pending().await,
        }
    }

    /// It was made, or was not.
    pub(super) fn came(&mut self, made: Prepared) -> Came {
        let problem = match made {
            Ok(Ok(())) => {
                self.state = State::Ready;
                self.pauses.reset();
                return if std::mem::take(&mut self.told) { Came::WellAgain } else { Came::Well };
            }
            Ok(Err(fault)) => fault.to_string(),
            Err(error) => error.to_string(),
        };
        self.state = State::Failed(Instant::now() + self.pauses.pause());
        self.told = true;
        Came::Failed(problem)
    }

    /// A worker has started, so that it is told no more.
    pub(super) fn is_told_no_more(&mut self) {
        self.told = false;
    }
}
