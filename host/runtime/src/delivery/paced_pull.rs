//! A pull with pauses: a consumer that refuses, or does not answer, is not asked again at once.

use tokio::time::{Instant, sleep_until};

use crate::delivery::pull_backoff::PullBackoff;
use crate::ports::{Notice, Pull, Pulled};

/// A pull, and when it may be asked again.
pub(crate) struct PacedPull<P, T> {
    pull: P,
    /// Called with the reason each time a pull fails, and with `None` when pulls do not fail any more.
    tell: T,
    backoff: PullBackoff,
}

impl<P: Pull, T: FnMut(Option<Notice>)> PacedPull<P, T> {
    pub(crate) fn new(pull: P, tell: T) -> Self {
        Self { pull, tell, backoff: PullBackoff::default() }
    }

    /// Deliveries that were asked for and may still come.
    pub(crate) fn asked(&self) -> usize {
        self.pull.asked()
    }

    /// Asks until nothing more is wanted: `wanted` makes of the number that is asked for how many more are, and of how
    /// many bytes together. Asks for nothing where it is too early. `false` if there is no connection to ask on.
    pub(crate) async fn ask(&mut self, wanted: impl Fn(usize) -> Option<(usize, usize)>) -> bool {
        // A consumer may let one pull ask for less than is wanted.
        while self.backoff.until().is_none()
            && let asked = self.pull.asked()
            && let Some((count, bytes)) = wanted(asked)
        {
            match self.pull.ask(count, bytes).await {
                Ok(()) if self.pull.asked() > asked => self.backoff.asked(Instant::now()),
                Ok(()) => break,
                Err(_) => {
                    self.backoff.unable(Instant::now());
                    return false;
                }
            }
        }
        true
    }

    /// Waits for what comes next; `None` when a wait is over and it can be asked again. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Pulled<P::Held>> {
        let until = self.backoff.until();
        tokio::select! {
            biased;
            pulled = self.pull.next() => {
                self.note(&pulled, Instant::now());
                Some(pulled)
            }
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                self.backoff.is_over();
                None
            }
        }
    }

    /// What has come already.
    pub(crate) fn ready(&mut self, now: Instant) -> Option<Pulled<P::Held>> {
        let pulled = self.pull.ready()?;
        self.note(&pulled, now);
        Some(pulled)
    }

    /// The pull, for its end: what comes then is not told.
    pub(crate) fn into_inner(self) -> P {
        self.pull
    }

    fn note(&mut self, pulled: &Pulled<P::Held>, now: Instant) {
        let works_again = match pulled {
            Pulled::Delivery(_) => self.backoff.delivered(now),
            Pulled::Ended => self.backoff.ended(now),
            Pulled::Lost => false,
            Pulled::Connected => {
                self.backoff.is_over();
                false
            }
            Pulled::Failed(why) => {
                self.backoff.failed(now);
                (self.tell)(Some(why.clone()));
                false
            }
        };
        if works_again {
            (self.tell)(None);
        }
    }
}
