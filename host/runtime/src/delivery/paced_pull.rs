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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;
    use crate::delivery::test_delivery::TestDelivery;

    /// A pull that can be sent or not, and brings what it is told to.
    #[derive(Default)]
    struct Scripted {
        is_connected: bool,
        sent: usize,
        brings: Vec<Pulled<TestDelivery>>,
    }

    impl Pull for Scripted {
        type Held = TestDelivery;

        fn asked(&self) -> usize {
            self.sent
        }

        async fn ask(&mut self, _: usize, _: usize) -> anyhow::Result<()> {
            anyhow::ensure!(self.is_connected, "the server is away");
            self.sent += 1;
            Ok(())
        }

        async fn next(&mut self) -> Pulled<TestDelivery> {
            match self.ready() {
                Some(pulled) => pulled,
                None => std::future::pending().await,
            }
        }

        fn ready(&mut self) -> Option<Pulled<TestDelivery>> {
            self.brings.pop()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_sent_or_is_refused_is_asked_again_after_a_pause_and_told() {
        let told = RefCell::new(Vec::new());
        let mut pull = PacedPull::new(Scripted::default(), |notice| told.borrow_mut().push(notice));
        let one_more = |pulls: usize| move |asked: usize| (asked < pulls).then_some((1, 1));

        assert!(!pull.ask(one_more(1)).await);
        pull.pull.is_connected = true;
        assert!(pull.ask(one_more(1)).await);
        assert_eq!(pull.asked(), 0);
        assert!(pull.next().await.is_none());
        assert!(pull.ask(one_more(3)).await);
        assert_eq!(pull.asked(), 3);

        pull.pull.brings.push(Pulled::Failed(Notice::ConsumerDeleted));
        assert!(pull.next().await.is_some());
        pull.ask(one_more(4)).await;
        assert_eq!(pull.asked(), 3);
        assert!(pull.next().await.is_none());
        pull.ask(one_more(4)).await;
        assert_eq!(pull.asked(), 4);

        tokio::time::sleep(Duration::from_secs(10)).await;
        pull.pull.brings.push(Pulled::Ended);
        assert!(pull.ready(Instant::now()).is_some());
        assert_eq!(*told.borrow(), [Some(Notice::ConsumerDeleted), None]);
    }
}
