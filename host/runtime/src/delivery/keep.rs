//! Tells the server that deliveries are in progress while something else goes on.

use std::pin::Pin;
use std::task::Poll;

use tokio::time::{Instant, sleep};

use crate::delivery::consumer_settings::Effective;
use crate::ports::Held;

/// Awaits a future, and tells the server that the delivery is in progress each quarter of its ack wait until then.
///
/// `since` is when the server last heard of the delivery, and is updated. The future is pinned by the caller, so that
/// it is not moved for each message.
pub(crate) fn keep<D: Held, T>(
    held: &D,
    since: &mut Instant,
    consumer: &Effective,
    work: Pin<&mut impl Future<Output = T>>,
) -> impl Future<Output = T> {
    keep_all(std::slice::from_ref(held), std::slice::from_mut(since), consumer, work)
}

/// As [`keep`], for several deliveries. When the first of them is due, all are announced.
pub(crate) async fn keep_all<D: Held, T>(
    held: &[D],
    since: &mut [Instant],
    consumer: &Effective,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> T {
    // Most futures are done at their first poll, and need no timer.
    match futures_util::poll!(work.as_mut()) {
        Poll::Ready(done) => done,
        Poll::Pending => Box::pin(announce_until_done(held, since, consumer, work)).await,
    }
}

async fn announce_until_done<D: Held, T>(
    held: &[D],
    since: &mut [Instant],
    consumer: &Effective,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> T {
    loop {
        // Armed before the ack wait is read, so that an edit in between is not missed.
        let edited = consumer.edited();
        let oldest = since.iter().min().copied();
        let due = oldest.map(|oldest| consumer.announce_after().saturating_sub(oldest.elapsed()));
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(due.unwrap_or_default()), if due.is_some() => {}
            () = edited => continue,
        }
        // The work goes on meanwhile. It may hold places in a queue that the announcements wait in too: if it stood
        // still, enough workers at once would wait for each other for ever.
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = announce_all(held, since, consumer) => {}
        }
    }
}

async fn announce_all<D: Held>(held: &[D], since: &mut [Instant], consumer: &Effective) {
    for (held, since) in held.iter().zip(since) {
        consumer.announced(held.delivery().stream_sequence, *since);
        *since = Instant::now();
        held.in_progress().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::pin::pin;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::*;
    use crate::delivery::test_delivery::TestDelivery;

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_while_its_delivery_is_announced_and_may_take_the_place_that_the_announcement_waits_for() {
        let places = Arc::new(Semaphore::new(0));
        let held = TestDelivery { announced_in: Some(places.clone()), ..TestDelivery::default() };
        let (consumer, mut since) = (Effective::with_ack_wait(Duration::from_secs(4)), Instant::now());
        // It waits in the queue before the announcement, which begins to wait after a second.
        let work = pin!(async { drop(places.acquire().await.unwrap()) });
        let kept = timeout(Duration::from_secs(600), keep(&held, &mut since, &consumer, work));
        let one_place = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            places.add_permits(1);
        };
        assert!(tokio::join!(kept, one_place).0.is_ok(), "it waits for its own announcement");
        assert!(since.elapsed() < Duration::from_secs(60), "it was announced");
    }
}
