//! Fetches the deliveries of one workload into its inbox.
//!
//! One task fetches for all workers of a workload, instead of each for itself. So a worker that drains has nothing
//! to give back but the message it runs, a new worker finds messages at once, no worker hoards messages that others
//! could run, and the pull that stays parked at zero workers is the same pull as any other.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::delivery::consumer_settings::Effective;
use crate::delivery::inbox::Inbox;
use crate::delivery::paced_pull::PacedPull;
use crate::delivery::settle::give_back_untaken;
use crate::ports::{Notice, Pull, Pulled};

/// Fetches until `stop` ends, then gives back (nak, no delay) what no worker has taken and what still comes.
///
/// `tell` is called with the reason each time a pull fails, and with `None` when pulls do not fail any more. This
/// returns when no pull can bring anything any more, which takes up to the pull's `expires`.
pub(crate) async fn fetch<P: Pull>(
    inbox: &Inbox<P::Held>,
    pull: P,
    consumer: &Effective,
    tell: impl FnMut(Option<Notice>) + Send,
    stop: impl Future<Output = ()> + Send,
) {
    tokio::pin!(stop);
    let mut announcer = Announcer::new(consumer);
    let mut pull = PacedPull::new(pull, tell);
    loop {
        if consumer.lost_pin() {
            tracing::info!("another host is given the messages: what no worker has begun is given back");
            for waiting in inbox.take_unpinned() {
                give_back_untaken(waiting, consumer).await;
            }
        }
        pull.ask(|asked| inbox.wanted(asked)).await;
        inbox.set_asked(pull.asked());
        tokio::select! {
            biased;
            () = &mut stop => break,
            pulled = pull.next() => take_in(inbox, &mut pull, pulled),
            () = inbox.room() => {}
            () = inbox.more_may_begin() => {}
            quarter = announcer.due() => inbox.announce(quarter).await,
        }
    }
    give_all_back(inbox, pull.into_inner(), &mut announcer).await;
}

/// Takes in what has come, and all that is there with it.
fn take_in<P: Pull>(
    inbox: &Inbox<P::Held>,
    pull: &mut PacedPull<P, impl FnMut(Option<Notice>)>,
    first: Option<Pulled<P::Held>>,
) {
    let (mut pulled, now) = (first, Instant::now());
    while let Some(one) = pulled {
        if let Pulled::Delivery(delivery) = one {
            inbox.put(delivery, now);
        }
        pulled = pull.ready(now);
    }
}

/// Gives back all at the end, when no pull is open any more. A delivery that is given back while one is open comes
/// right back by it, and each time costs the message one of its attempts.
async fn give_all_back<P: Pull>(inbox: &Inbox<P::Held>, mut pull: P, announcer: &mut Announcer<'_>) {
    let add = |pulled| {
        if let Pulled::Delivery(delivery) = pulled {
            inbox.add(delivery, Instant::now());
        }
    };
    inbox.end();
    while pull.asked() > 0 {
        tokio::select! {
            pulled = pull.next() => add(pulled),
            quarter = announcer.due() => inbox.announce(quarter).await,
        }
    }
    while let Some(pulled) = pull.ready() {
        add(pulled);
    }
    for waiting in inbox.take_last() {
        give_back_untaken(waiting, announcer.consumer).await;
    }
    // After that, so that what was given back comes to the next host before what is new.
    pull.leave().await;
}

/// Says when deliveries that wait have to be announced as in progress: after each quarter of the ack wait, which may be
/// edited meanwhile.
struct Announcer<'a> {
    consumer: &'a Effective,
    quarter: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl<'a> Announcer<'a> {
    fn new(consumer: &'a Effective) -> Self {
        let quarter = consumer.announce_after();
        Self { consumer, quarter, sleep: Box::pin(sleep(quarter)) }
    }

    /// Waits until deliveries have to be announced, and returns a quarter of the ack wait. Cancel-safe.
    async fn due(&mut self) -> Duration {
        loop {
            // Armed before the ack wait is read, so that an edit in between is not missed.
            let edited = self.consumer.edited();
            let quarter = self.consumer.announce_after();
            if quarter != self.quarter {
                self.quarter = quarter;
                let soonest = self.sleep.deadline().min(Instant::now() + quarter);
                self.sleep.as_mut().reset(soonest);
            }
            tokio::select! {
                () = &mut self.sleep => {
                    self.sleep.as_mut().reset(Instant::now() + quarter);
                    return quarter;
                }
                () = edited => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use parking_lot::Mutex;

    use super::*;
    use crate::conditions::Conditions;
    use crate::config::{Rate, StartLimits};
    use crate::contract::Delivery;
    use crate::delivery::inbox::Waiting;
    use crate::delivery::start_limits::{Permit, StartGate};
    use crate::delivery::test_delivery::TestDelivery;

    /// A pull that brings these deliveries as soon as it is asked.
    struct Brings {
        deliveries: Vec<TestDelivery>,
        asked: usize,
    }

    impl Pull for Brings {
        type Held = TestDelivery;

        fn asked(&self) -> usize {
            self.asked
        }

        async fn ask(&mut self, count: usize, _: usize) -> anyhow::Result<()> {
            self.asked += count;
            Ok(())
        }

        async fn next(&mut self) -> Pulled<TestDelivery> {
            match self.ready() {
                Some(pulled) => pulled,
                None if self.asked > 0 => {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    self.asked = 0;
                    Pulled::Ended
                }
                None => std::future::pending().await,
            }
        }

        fn ready(&mut self) -> Option<Pulled<TestDelivery>> {
            self.asked = self.asked.checked_sub(1)?;
            match self.deliveries.pop() {
                Some(delivery) => Some(Pulled::Delivery(delivery)),
                None => {
                    self.asked += 1;
                    None
                }
            }
        }
    }

    fn numbered(count: u64) -> Vec<TestDelivery> {
        let delivery = |stream_sequence| Delivery { stream_sequence, ..Delivery::default() };
        let held = |sequence| TestDelivery { delivery: delivery(sequence), ..TestDelivery::default() };
        (1..=count).rev().map(held).collect()
    }

    fn every_200ms() -> StartLimits {
        let rate = Rate { every: Duration::from_millis(200), burst: 5 };
        StartLimits { rate: Some(rate), ..StartLimits::default() }
    }

    /// Fetches so many deliveries within limits for eight workers that take `service` each, for so long. Returns when
    /// each began, how many were in their hands at most, and how often a pull was sent.
    async fn within(
        limits: StartLimits,
        count: u64,
        service: Duration,
        time: Duration,
    ) -> (Vec<Instant>, usize, usize) {
        let starts = StartGate::new(&limits, &Conditions::new("w".into()));
        let inbox = Arc::new(Inbox::<TestDelivery>::new(10, usize::MAX).limited_by(starts));
        inbox.set_workers(8);
        let asks = Arc::new(AtomicUsize::new(0));
        let pull = Counted { pull: Brings { deliveries: numbered(count), asked: 0 }, asks: asks.clone() };
        let (fetching, seen) = (inbox.clone(), Arc::new(Mutex::new((Vec::new(), 0_usize, 0_usize))));
        tokio::spawn(async move {
            let consumer = Effective::with_ack_wait(Duration::from_secs(30));
            fetch(&fetching, pull, &consumer, |_| {}, std::future::pending()).await;
        });
        for _ in 0..8 {
            let (inbox, seen) = (inbox.clone(), seen.clone());
            tokio::spawn(async move {
                loop {
                    let mut waiting = inbox.take().await;
                    assert!(waiting.permit.is_some());
                    Permit::begin(&mut waiting.permit);
                    {
                        let (begun, now, most) = &mut *seen.lock();
                        begun.push(Instant::now());
                        *now += 1;
                        *most = (*most).max(*now);
                    }
                    tokio::time::sleep(service).await;
                    seen.lock().1 -= 1;
                    drop(waiting);
                }
            });
        }
        tokio::time::sleep(time).await;
        let (begun, _, most) = seen.lock().clone();
        (begun, most, asks.load(Relaxed))
    }

    /// The same pull, whose requests are counted.
    struct Counted {
        pull: Brings,
        asks: Arc<AtomicUsize>,
    }

    impl Pull for Counted {
        type Held = TestDelivery;

        fn asked(&self) -> usize {
            self.pull.asked()
        }

        async fn ask(&mut self, count: usize, bytes: usize) -> anyhow::Result<()> {
            self.asks.fetch_add(1, Relaxed);
            self.pull.ask(count, bytes).await
        }

        async fn next(&mut self) -> Pulled<TestDelivery> {
            self.pull.next().await
        }

        fn ready(&mut self) -> Option<Pulled<TestDelivery>> {
            self.pull.ready()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_lets_a_burst_begin_and_then_so_many_a_second_and_asks_for_no_more() {
        let (ms, begin) = (Duration::from_millis, Instant::now());
        let (begun, _, asks) = within(every_200ms(), 1_000, ms(10), ms(4_050)).await;
        assert_eq!(begun.len(), 5 + 20);
        assert!(begun.iter().take(5).all(|at| *at == begin));
        assert!(asks <= 25, "{asks} pulls for 25 deliveries");
    }

    #[tokio::test(start_paused = true)]
    async fn workers_at_the_limit_do_not_go_round() {
        let once_an_hour = StartLimits {
            rate: Some(Rate { every: Duration::from_secs(3600), burst: 1 }),
            max_in_flight: Some(3),
            ..StartLimits::default()
        };
        let (begun, _, asks) = within(once_an_hour, 10, Duration::ZERO, Duration::from_secs(3_599)).await;
        assert_eq!((begun.len(), asks), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_in_handlers_at_once_than_may_be_and_no_place_stays_empty() {
        let three = StartLimits { max_in_flight: Some(3), ..StartLimits::default() };
        let (ms, begin) = (Duration::from_millis, Instant::now());
        let (begun, most, _) = within(three, 30, ms(100), ms(1_050)).await;
        assert_eq!((begun.len(), most), (30, 3));
        assert_eq!(begun.last().map(|last| *last - begin), Some(ms(900)));
    }

    #[tokio::test(start_paused = true)]
    async fn where_no_worker_can_start_nothing_more_is_asked_for_and_what_waits_can_be_given_back() {
        let given_back = Arc::new(Mutex::new(Vec::new()));
        let deliveries = (1..=9).rev().map(|stream_sequence| TestDelivery {
            delivery: Delivery { stream_sequence, ..Delivery::default() },
            given_back: given_back.clone(),
            ..TestDelivery::default()
        });
        let pull = Brings { deliveries: deliveries.collect(), asked: 0 };
        let inbox = Arc::new(Inbox::<TestDelivery>::new(10, usize::MAX));
        inbox.set_workers(3);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let fetching = inbox.clone();
        let fetching = tokio::spawn(async move {
            let stop = async { stopped.await.unwrap() };
            let consumer = Effective::with_ack_wait(Duration::from_secs(30));
            fetch(&fetching, pull, &consumer, |_| {}, stop).await;
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((inbox.len(), given_back.lock().len()), (3, 0));
        inbox.suspend();
        tokio::time::timeout(Duration::from_secs(60), inbox.closed()).await.unwrap();
        let number = |waiting: &Waiting<TestDelivery>| waiting.held.delivery.stream_sequence;
        let taken = inbox.take_those(|held| held.delivery.stream_sequence != 2);
        assert_eq!(taken.iter().map(number).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(inbox.try_take().as_ref().map(number), Some(2));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(inbox.is_empty());
        inbox.resume();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(inbox.len(), 3);
        stop.send(()).unwrap();
        fetching.await.unwrap();
        assert_eq!(given_back.lock().clone(), [4, 5, 6]);
    }
}
