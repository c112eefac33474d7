//! Outages: effects are not confirmed, through no fault of a message. An outage is a condition of the workload as long
//! as it lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::conditions::{Conditions, Part};
use crate::ports::EffectError;

/// For how long nothing must fail until an outage is over. Without such a time, a workload with two target streams one
/// of which fails would begin and end an outage with each message.
const CALM: Duration = Duration::from_secs(5);

/// After how long without any effect an outage is taken to be over: the messages that failed may have been purged.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// Whether one kind of effect is confirmed now.
#[derive(Debug)]
pub(crate) struct Outage {
    conditions: Arc<Conditions>,
    part: Part,
    /// When the last effect failed, while the condition lasts.
    failed: Mutex<Option<Instant>>,
    lasts: AtomicBool,
    succeeded: AtomicBool,
    begun: Notify,
}

impl Outage {
    /// Watches this part of a workload, which is well at first.
    pub(crate) fn new(conditions: Arc<Conditions>, part: Part) -> Self {
        let (failed, lasts, succeeded) = (Mutex::default(), AtomicBool::default(), AtomicBool::default());
        Self { conditions, part, failed, lasts, succeeded, begun: Notify::new() }
    }

    /// Notes that an effect failed through no fault of its message. The first failure raises the condition; later ones
    /// prolong it.
    pub(crate) fn failed(&self, error: &EffectError) {
        let first = self.failed.lock().replace(Instant::now()).is_none();
        self.succeeded.store(false, Relaxed);
        if first {
            self.lasts.store(true, Relaxed);
            self.conditions.raise(self.part, &error.to_string());
            self.begun.notify_one();
        }
    }

    /// Notes that an effect was confirmed. Cheap.
    pub(crate) fn succeeded(&self) {
        if self.lasts.load(Relaxed) {
            self.succeeded.store(true, Relaxed);
        }
    }

    /// Clears the condition each time an outage is over; never returns.
    pub(crate) async fn watch(&self) -> std::convert::Infallible {
        loop {
            self.begun.notified().await;
            while let Some(at) = self.last() {
                sleep_until((at + CALM).max(Instant::now() + CALM / 10)).await;
                self.look();
            }
        }
    }

    fn last(&self) -> Option<Instant> {
        *self.failed.lock()
    }

    fn look(&self) {
        let mut failed = self.failed.lock();
        let over = if self.succeeded.load(Relaxed) { CALM } else { FORGOTTEN };
        if failed.is_some_and(|at| at.elapsed() >= over) {
            *failed = None;
            self.lasts.store(false, Relaxed);
            self.conditions.clear(self.part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_lasts_until_effects_succeed_and_none_has_failed_for_a_while() {
        let conditions = Conditions::new("orders".into());
        let outage = Arc::new(Outage::new(conditions.clone(), Part::Effects));
        let watched = outage.clone();
        tokio::spawn(async move { watched.watch().await });
        let problems = || conditions.all().into_iter().map(|(_, problem)| problem).collect::<Vec<_>>();
        let error = |text: &str| EffectError::Unavailable(text.to_owned());
        outage.succeeded();
        assert!(problems().is_empty());
        for which in ["full", "full", "gone"] {
            outage.failed(&error(which));
            outage.succeeded();
            tokio::time::sleep(CALM / 2).await;
            assert_eq!(problems(), ["full"]);
        }
        outage.failed(&error("full"));
        tokio::time::sleep(FORGOTTEN / 2).await;
        assert_eq!(problems(), ["full"], "nothing has shown that it is over");
        outage.succeeded();
        tokio::time::sleep(CALM).await;
        assert!(problems().is_empty());
        outage.failed(&error("full again"));
        tokio::time::sleep(FORGOTTEN / 2).await;
        assert_eq!(problems(), ["full again"]);
        tokio::time::sleep(FORGOTTEN).await;
        assert!(problems().is_empty());
    }
}
