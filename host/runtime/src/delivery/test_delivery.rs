//! A delivery for tests of the inbox, of workers and of settling.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::contract::Author;
use crate::contract::{Death, Delivery, Publication};
use crate::ports::{Confirmed, Excused, Kept};
use crate::ports::{EffectError, Held, PublicationIds};

/// A delivery that notes when it is given back. All of its effects are confirmed at once.
#[derive(Debug, Default)]
pub(crate) struct TestDelivery {
    pub(crate) delivery: Delivery,
    /// The consumer's number of the delivery.
    pub(crate) number: u64,
    /// The stream sequences of the deliveries that were given back.
    pub(crate) given_back: Arc<Mutex<Vec<u64>>>,
    /// The dead letters that were stored, by whether each is there still.
    pub(crate) letters: Arc<Mutex<Vec<bool>>>,
    /// What stands at the consumer of attempts that do not count.
    pub(crate) excused: Option<Excused>,
    /// How often the message was looked at.
    pub(crate) looks: AtomicUsize,
    /// A queue in which announcements wait for a place.
    pub(crate) announced_in: Option<Arc<Semaphore>>,
}

impl TestDelivery {
    pub(crate) fn of(delivery: Delivery) -> Self {
        Self { delivery, ..Self::default() }
    }
}

impl Held for TestDelivery {
    fn delivery(&self) -> &Delivery {
        self.looks.fetch_add(1, Relaxed);
        &self.delivery
    }

    fn number(&self) -> u64 {
        self.number
    }

    async fn excused(&self) -> Option<Excused> {
        self.excused.clone()
    }

    fn count_attempts(&mut self, more: u32) {
        self.delivery.attempt += more;
    }

    async fn publish(
        &self,
        _: Vec<Publication>,
        _: PublicationIds,
    ) -> Result<impl Future<Output = Result<(), EffectError>> + Send + use<>, EffectError> {
        Ok(std::future::ready(Ok(())))
    }

    async fn reply(&self, _: Vec<u8>) -> Result<(), EffectError> {
        Ok(())
    }

    async fn dead_letter(&self, _: &Death, _: &Author) -> Result<u64, EffectError> {
        let mut letters = self.letters.lock();
        letters.push(true);
        Ok(letters.len() as u64)
    }

    async fn has_letter(&self, kept: &Kept) -> Result<bool, EffectError> {
        let index = usize::try_from(kept.letter_sequence()).unwrap_or_default() - 1;
        Ok(self.letters.lock().get(index).copied().unwrap_or_default())
    }

    fn in_progress(&self) -> impl Future<Output = ()> + Send + use<> {
        let queue = self.announced_in.clone();
        async move {
            if let Some(queue) = queue {
                drop(queue.acquire().await);
            }
        }
    }

    async fn ack(self, _: Confirmed) {}

    async fn nak(self, _: Duration) {
        self.given_back.lock().push(self.delivery.stream_sequence);
    }

    async fn term(self, _: Kept, _: &str) {}
}
