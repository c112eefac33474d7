//! The inbox of a workload of which so many deliveries of a key are handled at once, and no more: a delivery gets into
//! the queue when a place of its key is free.
//!
//! What finds none is here, announced as all that waits. A delivery has its place, a [`Turn`], from when it gets into
//! the queue until it is settled or given back. No lock is held when one is dropped.

use std::sync::Weak;
use std::time::Duration;

use super::turn::Turn;
use super::{Arc, Company, FullBuffer, Held, Inbox, Instant, LOOK, Mutex, Notify, Relaxed, Waiting, attempt, sequence};
use crate::config::OrderKey;
use crate::delivery::consumer_settings::Effective;
use crate::delivery::inbox::full_buffer::{Blocks, is_full};
use crate::delivery::order::seen::KeysSeen;
use crate::delivery::order::{KeyHasher, KeyPlaces, Limits};

/// What a workload with few places for each key has beside its queue.
#[derive(Debug)]
pub(crate) struct PerKey<D> {
    hasher: KeyHasher,
    limits: Limits,
    consumer: Arc<Effective>,
    places: Mutex<KeyPlaces<Waiting<D>>>,
    /// One waits.
    waits: Notify,
    seen: Arc<KeysSeen>,
    inbox: Weak<Inbox<D>>,
}

impl<D> PerKey<D> {
    /// What may wait: the consumer may let fewer be unsettled than the configuration says.
    fn limits(&self) -> Limits {
        let most = self.consumer.max_ack_pending().unwrap_or(usize::MAX);
        Limits { messages: self.limits.messages.min(most), ..self.limits }
    }

    fn tell(&self, places: &KeyPlaces<Waiting<D>>) {
        self.seen.set(places.keys(), places.waiting());
    }

    /// What of this may be asked for, so that all of it may wait.
    pub(super) fn fits(&self, wanted: (usize, usize), asked: usize) -> Option<(usize, usize)> {
        let limits = self.limits();
        limits.fit(self.places.lock().room(limits), wanted, asked)
    }

    /// Whether deliveries wait.
    pub(super) fn has_waiting(&self) -> bool {
        self.places.lock().waiting() > 0
    }

    /// Takes what matches of what waits, to be given back.
    pub(super) fn take_those(&self, these: impl Fn(&D) -> bool) -> Vec<Waiting<D>> {
        let mut places = self.places.lock();
        let taken = places.take_those(|waiting| these(&waiting.held));
        self.tell(&places);
        taken
    }
}

impl<D: Held> PerKey<D> {
    /// The announcements that are due of what waits.
    pub(super) fn announcements(&self, quarter: Duration) -> Vec<impl Future<Output = ()> + Send + use<D>> {
        let mut places = self.places.lock();
        let stale = places.iter_mut().filter(|waiting| waiting.since.elapsed() >= quarter);
        stale
            .map(|waiting| {
                waiting.since = Instant::now();
                waiting.held.in_progress()
            })
            .collect()
    }
}

impl<D: Held> Inbox<D> {
    /// The same inbox, of which no more than `each` deliveries of a key have begun at once. No more than `limits` wait
    /// for that.
    pub(crate) fn few_of_a_key(self, by: OrderKey, each: usize, limits: Limits, consumer: Arc<Effective>) -> Arc<Self> {
        Arc::new_cyclic(|inbox| {
            let per_key = PerKey {
                hasher: KeyHasher::new(by, self.workload.clone()),
                limits,
                consumer,
                places: Mutex::new(KeyPlaces::new(each)),
                waits: Notify::new(),
                seen: Arc::default(),
                inbox: inbox.clone(),
            };
            Self { per_key: Some(Box::new(per_key)), ..self }
        })
    }

    /// What can be seen of the keys, if few of each are handled at once.
    pub(crate) fn places_seen(&self) -> Option<Arc<KeysSeen>> {
        self.per_key.as_ref().map(|per_key| per_key.seen.clone())
    }

    /// A delivery came at `since`. It gets into the queue if a place of its key is free.
    pub(super) fn arrive_at_place(&self, per_key: &PerKey<D>, held: D, since: Instant) {
        let (key, message, bytes) = (per_key.hasher.hash(held.delivery()), sequence(&held), held.delivery().size());
        let again = attempt(&held) > 1;
        let company = self.company(held.delivery());
        let mut arrived = Waiting { held, since, company, turn: None, permit: None };
        if again {
            let Some(left) = self.supersede_queued(arrived) else { return };
            arrived = left;
        }
        let mut places = per_key.places.lock();
        if again && let Some(old) = places.find(key, message) {
            arrived.company = old.company;
            let old = std::mem::replace(old, arrived);
            drop(places);
            return self.superseded(old.held.delivery());
        }
        let begins = places.arrive(key, message, bytes, arrived);
        per_key.tell(&places);
        drop(places);
        match begins {
            Some(mut waiting) => {
                waiting.turn = Some(Box::new(Turn::place(per_key.inbox.clone(), key)));
                self.enqueue(waiting, bytes);
                self.wake(1);
            }
            None => per_key.waits.notify_one(),
        }
    }

    /// Replaces a delivery of the same message that is in the queue, where it is not returned. The place stays.
    fn supersede_queued(&self, mut arrived: Waiting<D>) -> Option<Waiting<D>> {
        let message = sequence(&arrived.held);
        let mut all = self.waiting.lock();
        let Some(old) = all.iter_mut().take(LOOK).find(|old| sequence(&old.held) == message) else {
            return Some(arrived);
        };
        if old.company != Company::Any {
            arrived.company = Company::Suspect;
        }
        arrived.turn = old.turn.take();
        self.bytes.fetch_add(arrived.held.delivery().size(), Relaxed);
        let old = std::mem::replace(old, arrived);
        drop(all);
        self.supersede(old.held.delivery());
        None
    }

    /// Whether no worker could do more: what waits is of keys that have no place free, and nothing else is here.
    pub(crate) fn bound_by_keys(&self) -> bool {
        self.is_empty() && self.per_key.as_ref().is_some_and(|per_key| per_key.has_waiting())
    }

    /// Waits until deliveries wait for a place; for ever where all may begin. Cancel-safe.
    pub(crate) async fn key_waits(&self) {
        let Some(per_key) = &self.per_key else { return std::future::pending().await };
        while !per_key.has_waiting() {
            per_key.waits.notified().await;
        }
    }

    /// The key to blame, if nothing more is fetched because too many messages wait for a place.
    pub(crate) fn full_places(&self) -> Option<FullBuffer> {
        let per_key = self.per_key.as_ref()?;
        let (places, limits) = (per_key.places.lock(), per_key.limits());
        if !is_full(places.room(limits), limits) {
            return None;
        }
        let most = places.most_waiting()?;
        let first = most.first.held.delivery();
        Some(FullBuffer {
            key: per_key.hasher.text(first).unwrap_or_default().to_owned(),
            sequence: first.stream_sequence,
            blocks: Blocks::Places(most.begun),
            messages: limits.messages,
        })
    }
}

impl<D> Inbox<D> {
    /// A place of a key is free, and the next of those that wait for one begins.
    pub(super) fn place_is_free(&self, key: u64) {
        let Some(per_key) = &self.per_key else { return };
        let mut places = per_key.places.lock();
        let next = places.ended(key);
        per_key.tell(&places);
        drop(places);
        let Some((mut waiting, bytes)) = next else { return };
        waiting.turn = Some(Box::new(Turn::place(per_key.inbox.clone(), key)));
        self.enqueue(waiting, bytes);
        self.wake(1);
        // One that waits less may be asked for.
        self.room.notify_one();
    }
}

#[cfg(test)]
mod tests;
