//! Raises what is wrong with the pulls on a consumer as a condition of the workload, and recreates a consumer that
//! somebody deleted, where the configuration allows that.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;
use crate::conditions::Part;
use crate::config::Manage;
use crate::host_context::HostContext;
use crate::jetstream::{BoundConsumer, Client};
use crate::ports::Notice;
use crate::status::workload::WorkloadState;

/// A consumer that is gone again within so long is recreated ever later, at most so far apart.
const SETTLED: Duration = Duration::from_secs(60);

/// The pulls on one consumer.
pub(crate) struct PullHealth<'a> {
    pub(crate) state: &'a WorkloadState,
    pub(crate) host: &'a HostContext,
    pub(crate) client: &'a Client,
    pub(crate) consumer: &'a str,
    pub(crate) part: Part,
}

/// A channel for why a pull failed, and `None` when pulls do not fail any more: only the latest counts.
pub(crate) fn notices() -> (impl FnMut(Option<Notice>), watch::Receiver<Option<Notice>>) {
    let (send, notices) = watch::channel(None);
    (move |notice| drop(send.send_replace(notice)), notices)
}

impl PullHealth<'_> {
    /// Runs until the sender of the notices is dropped.
    pub(crate) async fn run(&self, mut notices: watch::Receiver<Option<Notice>>) {
        let mut schedule = Schedule::new();
        let mut in_vain = None;
        while notices.changed().await.is_ok() {
            let notice = notices.borrow_and_update().clone();
            let Some(notice) = notice else {
                in_vain = None;
                self.state.conditions.clear(self.part);
                continue;
            };
            let gone = matches!(notice, Notice::NoResponders | Notice::ConsumerDeleted);
            let makes = gone && self.state.workload.queue.manage == Manage::Create;
            self.state.conditions.raise(self.part, &self.problem(&notice, makes, in_vain.as_deref()));
            if !makes {
                continue;
            }
            tokio::select! {
                () = sleep_until(schedule.next(Instant::now())) => {}
                () = ended(notices.clone()) => return,
            }
            let (workload, host) = (&self.state.workload, self.host);
            let made = BoundConsumer::new(self.client, workload, host.own_streams(workload), &host.host).await;
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

async fn ended(mut notices: watch::Receiver<Option<Notice>>) {
    while notices.changed().await.is_ok() {}
}

/// When a consumer is recreated: at once, and ever later if that does not last.
#[derive(Debug)]
struct Schedule {
    last: Option<Instant>,
    backoff: Backoff,
}

impl Schedule {
    fn new() -> Self {
        Self { last: None, backoff: Backoff::new(Duration::from_secs(1), SETTLED) }
    }

    fn next(&mut self, now: Instant) -> Instant {
        let lasted = self.last.is_none_or(|last| last + SETTLED <= now);
        if lasted {
            self.backoff.reset();
        }
        let next = if lasted { now } else { now + self.backoff.pause() };
        self.last = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_is_gone_again_and_again_is_recreated_ever_later() {
        let (mut schedule, mut now) = (Schedule::new(), Instant::now());
        let begin = now;
        let mut made = 0;
        while now < begin + Duration::from_secs(600) {
            now = schedule.next(now) + Duration::from_millis(500);
            made += 1;
        }
        assert!(made <= 16, "{made}");
        assert_eq!(schedule.next(now + 2 * SETTLED), now + 2 * SETTLED);
    }
}
