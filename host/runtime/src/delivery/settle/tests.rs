#![allow(clippy::unwrap_used)]

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
    let work = async { drop(places.acquire().await.unwrap()) };
    let kept = timeout(Duration::from_secs(600), keep(&held, &mut since, &consumer, work));
    let one_place = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        places.add_permits(1);
    };
    assert!(tokio::join!(kept, one_place).0.is_ok(), "it waits for its own announcement");
    assert!(since.elapsed() < Duration::from_secs(60), "it was announced");
}
