//! Raises what is wrong with the pulls on a consumer as a condition of the workload, and recreates a consumer that
//! somebody deleted, where the configuration allows that.
//!
//! Pulls tell that it is gone, and so do the signals: a workload may ask for nothing for a long time.

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

/// How long one that was deleted is left alone first: the server says so before it has removed the files, and may
/// remove those of one that is made meanwhile.
const REMOVED: Duration = Duration::from_millis(200);

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
    /// Runs until the sender of the notices is dropped. `gone` is whether the signals find no consumer.
    pub(crate) async fn run(&self, mut notices: watch::Receiver<Option<Notice>>, mut gone: watch::Receiver<bool>) {
        let mut schedule = Schedule::new();
        // Why it cannot be made anew, and what was said of it last if it is gone.
        let (mut in_vain, mut said_gone) = (None, None);
        loop {
            let notice = tokio::select! {
                changed = notices.changed() => match changed {
                    Ok(()) => notices.borrow_and_update().clone(),
                    Err(_) => return,
                },
                Ok(()) = gone.changed() => match *gone.borrow_and_update() {
                    true => said_gone.clone().or(Some(Notice::ConsumerDeleted)),
                    false if said_gone.is_some() => None,
                    // Something else is wrong with the pulls, if anything is.
                    false => continue,
                },
            };
            let Some(mut notice) = notice else {
                (in_vain, said_gone) = (None, None);
                self.state.conditions.clear(self.part);
                continue;
            };
            // The server says that nobody answers only where nobody hears: not where somebody listens to everything.
            let stream = &self.state.workload.queue.stream;
            if notice == Notice::Unanswered && self.client.lacks_consumer(stream, self.consumer).await {
                notice = Notice::ConsumerDeleted;
            }
            said_gone = Some(notice.clone()).filter(is_of_gone);
            let makes = said_gone.is_some() && self.state.workload.queue.manage == Manage::Create;
            self.state.conditions.raise(self.part, &self.problem(&notice, makes, in_vain.as_deref()));
            if !makes {
                continue;
            }
            match awaited(schedule.next(Instant::now()), notices.clone(), gone.clone()).await {
                Awaited::Due => {}
                // Somebody has made it meanwhile.
                Awaited::WorksAgain => continue,
                Awaited::End => return,
            }
            let (workload, host) = (&self.state.workload, self.host);
            let made = BoundConsumer::mend(self.client, workload, host.own_streams(workload), &host.host).await;
            in_vain = made.err().map(|error| error.to_string());
            // What the signals saw before that. If it is gone all the same, their next look tells.
            gone.mark_unchanged();
        }
    }

    fn problem(&self, notice: &Notice, makes: bool, in_vain: Option<&str>) -> String {
        let cannot = format!("cannot fetch from consumer {}: {notice}{}", self.consumer, self.lost(notice));
        match in_vain {
            Some(error) => format!("{cannot}; it cannot be made anew: {error}"),
            None if makes => format!("{cannot}; the host makes it anew"),
            None => format!("{cannot}; {}", notice.remedy()),
        }
    }

    /// What is lost with a consumer that is gone, if anything may be.
    fn lost(&self, notice: &Notice) -> String {
        let of_gone =
            is_of_gone(notice).then(|| self.client.lost_with(&self.state.workload.queue.stream, self.consumer));
        match of_gone.unwrap_or(0) {
            0 => String::new(),
            lost => format!(
                "; its stream has interest retention, so if the consumer was deleted, messages are lost: {lost} were \
                 not settled at the last look"
            ),
        }
    }
}

/// Whether it says that there is no consumer.
fn is_of_gone(notice: &Notice) -> bool {
    matches!(notice, Notice::NoResponders | Notice::ConsumerDeleted)
}

/// What came first of what is awaited before a consumer is recreated.
#[derive(Debug, PartialEq, Eq)]
enum Awaited {
    /// It is time to.
    Due,
    /// Pulls do not fail any more.
    WorksAgain,
    /// There are no notices any more.
    End,
}

async fn awaited(
    due: Instant,
    mut notices: watch::Receiver<Option<Notice>>,
    mut gone: watch::Receiver<bool>,
) -> Awaited {
    // Where only pulls have told, the signals may not have looked since.
    let was_gone = *gone.borrow();
    tokio::select! {
        () = sleep_until(due) => Awaited::Due,
        Ok(_) = gone.wait_for(|gone| !gone), if was_gone => Awaited::WorksAgain,
        works = work_again(&mut notices) => if works.is_some() { Awaited::WorksAgain } else { Awaited::End },
    }
}

/// Waits until pulls that have failed do not any more; `None` if that is never told. Where none has failed yet, as if
/// only the signals have found no consumer, that tells nothing.
async fn work_again(notices: &mut watch::Receiver<Option<Notice>>) -> Option<()> {
    notices.wait_for(Option::is_some).await.ok().map(drop)?;
    notices.wait_for(Option::is_none).await.ok().map(drop)
}

/// When a consumer is recreated: soon, and ever later if that does not last.
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
        let next = now + if lasted { REMOVED } else { self.backoff.pause() };
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
        assert_eq!(schedule.next(now + 2 * SETTLED), now + 2 * SETTLED + REMOVED);
    }

    #[tokio::test(start_paused = true)]
    async fn what_works_again_is_not_waited_for_any_longer() {
        let (mut tell, notices) = notices();
        let due = Instant::now() + SETTLED;
        tell(Some(Notice::ConsumerDeleted));
        let gone = watch::Sender::new(false);
        assert_eq!(awaited(due, notices.clone(), gone.subscribe()).await, Awaited::Due);
        let (due, waiting, seen) = (Instant::now() + SETTLED, notices.clone(), gone.subscribe());
        let waits = tokio::spawn(async move { (awaited(due, waiting, seen).await, Instant::now()) });
        tokio::task::yield_now().await;
        // Another reason why it fails is no end of that.
        tell(Some(Notice::NoResponders));
        tokio::task::yield_now().await;
        tell(None);
        let (came, at) = waits.await.unwrap();
        assert!(came == Awaited::WorksAgain && at < due, "{came:?}");
        tell(Some(Notice::ConsumerDeleted));
        drop(tell);
        assert_eq!(awaited(Instant::now() + SETTLED, notices, gone.subscribe()).await, Awaited::End);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_that_the_signals_find_again_is_not_recreated() {
        let (_tell, notices) = notices();
        let gone = watch::Sender::new(true);
        let (due, seen) = (Instant::now() + SETTLED, gone.subscribe());
        let waits = tokio::spawn(async move { (awaited(due, notices, seen).await, Instant::now()) });
        tokio::task::yield_now().await;
        // Pulls have not told, and the signals look again: it is gone still.
        gone.send_replace(true);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        gone.send_replace(false);
        let (came, at) = waits.await.unwrap();
        assert!(came == Awaited::WorksAgain && at < due, "{came:?}");
    }
}
