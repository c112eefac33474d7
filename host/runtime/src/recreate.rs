//! Tells what is wrong with the pulls on a consumer, and makes one anew that somebody deleted, where the configuration allows
//! that.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::config::Manage;
use crate::jetstream::Bound;
use crate::ports::Notice;
use crate::status::conditions::Part;
use crate::status::workload::Board;
use crate::workload::Surroundings;

/// A consumer that is gone again within so long is made anew ever later, at most so far apart.
const SETTLED: Duration = Duration::from_secs(60);

/// The pulls on one consumer, and what was said of them last: only the latest counts.
pub(crate) struct Mend<'a> {
    pub(crate) board: &'a Board,
    pub(crate) around: &'a Surroundings,
    pub(crate) consumer: &'a str,
    pub(crate) part: Part,
}

/// Whoever pulls says here why a pull failed, and `None` when they do not fail any more.
pub(crate) fn teller() -> (impl FnMut(Option<Notice>), watch::Receiver<Option<Notice>>) {
    let (tell, told) = watch::channel(None);
    (move |notice| drop(tell.send_replace(notice)), told)
}

impl Mend<'_> {
    /// Ends when nobody pulls any more.
    pub(crate) async fn run(&self, mut told: watch::Receiver<Option<Notice>>) {
        let mut pace = Pace::default();
        let mut in_vain = None;
        while told.changed().await.is_ok() {
            let notice = told.borrow_and_update().clone();
            let Some(notice) = notice else {
                in_vain = None;
                self.board.conditions.clear(self.part);
                continue;
            };
            let gone = matches!(notice, Notice::NoResponders | Notice::ConsumerDeleted);
            let makes = gone && self.board.workload.queue.manage == Manage::Create;
            self.board.conditions.raise(self.part, &self.problem(&notice, makes, in_vain.as_deref()));
            if !makes {
                continue;
            }
            tokio::select! {
                () = sleep_until(pace.next(Instant::now())) => {}
                () = ended(told.clone()) => return,
            }
            let Surroundings { client, dead_letters, host, .. } = self.around;
            let made = Bound::new(client, &self.board.workload, dead_letters, host).await;
            in_vain = made.err().map(|error| error.to_string());
        }
    }

    fn problem(&self, notice: &Notice, makes: bool, in_vain: Option<&str>) -> String {
        let cannot = format!("cannot fetch from consumer {}: {notice}", self.consumer);
        match in_vain {
            Some(error) => format!("{cannot}; it cannot be made anew: {error}"),
            None if makes => format!("{cannot}; the host makes it anew"),
            None => format!("{cannot}; {}", notice.remedy()),
        }
    }
}

async fn ended(mut told: watch::Receiver<Option<Notice>>) {
    while told.changed().await.is_ok() {}
}

/// When a consumer is made anew: at once, and ever later if that does not last.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    apart: Duration,
}

impl Pace {
    fn next(&mut self, now: Instant) -> Instant {
        let lasted = self.last.is_none_or(|last| last + SETTLED <= now);
        self.apart = if lasted { Duration::ZERO } else { (self.apart * 2).clamp(Duration::from_secs(1), SETTLED) };
        let next = now + self.apart;
        self.last = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_is_gone_again_and_again_is_made_ever_later() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let begin = now;
        let mut made = 0;
        while now < begin + Duration::from_secs(600) {
            now = pace.next(now) + Duration::from_millis(500);
            made += 1;
        }
        assert!(made <= 16, "{made}");
        assert_eq!(pace.next(now + 2 * SETTLED), now + 2 * SETTLED);
    }
}
