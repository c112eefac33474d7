//! Messages of which so many of a key are with workers at once, in any order. Which one gets a place is the host's own
//! decision. Times are nanoseconds.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::coming::{Coming, ReadyMessage};
use super::keys::KeyModel;
use tidegate_runtime::delivery::order::KeyPlaces;

/// How many messages may wait for a place, as a host has it by default.
const BUFFER: usize = 1_000;

/// Messages that have come and were not begun, by key.
#[derive(Debug)]
pub(super) struct SimulatedPlaces {
    model: KeyModel,
    seed: u64,
    places: KeyPlaces<ReadyMessage>,
    /// Those that have a place and no worker: those that are delivered again, and the others.
    again: BinaryHeap<Reverse<ReadyMessage>>,
    new: BinaryHeap<Reverse<ReadyMessage>>,
    /// When places of which key are free again.
    ends: BinaryHeap<Reverse<(u64, u32)>>,
    /// What was not tried yet, oldest first.
    untried: BTreeSet<(u64, u64)>,
    /// How many of those wait for a place.
    blocked: usize,
}

impl SimulatedPlaces {
    pub(super) fn new(model: KeyModel, each: usize, seed: u64) -> Self {
        Self {
            model,
            seed,
            places: KeyPlaces::new(each),
            again: BinaryHeap::new(),
            new: BinaryHeap::new(),
            ends: BinaryHeap::new(),
            untried: BTreeSet::new(),
            blocked: 0,
        }
    }

    /// Gives each message that comes before the next one can begin on a worker that is `free` to its key, and each
    /// place that is free by then to who waits for it. What comes while the buffer is full stays where it is.
    pub(super) fn take_in(&mut self, coming: &mut Coming<'_>, free: u64, limit: u64) {
        loop {
            let has_room = self.places.waiting() < BUFFER;
            let (end, again, new) = (self.next_end(), coming.again.next(), coming.arrival());
            let comes = again.into_iter().chain(new).min().filter(|_| has_room);
            let Some(at) = end.into_iter().chain(comes).min().filter(|at| *at < limit) else { return };
            if self.next().is_some_and(|ready| ready.max(free) < at) {
                return;
            }
            if end == Some(at) {
                self.end_next();
            } else if again == Some(at) {
                coming.take_again().into_iter().for_each(|message| self.arrive(message));
            } else {
                coming.take_new().into_iter().for_each(|message| self.arrive(message));
            }
        }
    }

    fn arrive(&mut self, message: ReadyMessage) {
        let is_new = message.attempt == 1;
        if is_new {
            self.untried.insert((message.arrival, message.message));
        }
        let key = self.model.key(self.seed, message.message);
        match self.places.arrive(key.into(), message.message, 0, message) {
            Some(message) => self.gets_place(message),
            None => self.blocked += usize::from(is_new),
        }
    }

    fn gets_place(&mut self, message: ReadyMessage) {
        let queue = if message.attempt == 1 { &mut self.new } else { &mut self.again };
        queue.push(Reverse(message));
    }

    fn next_end(&self) -> Option<u64> {
        self.ends.peek().map(|Reverse((end, _))| *end)
    }

    fn end_next(&mut self) {
        let Some(Reverse((end, key))) = self.ends.pop() else { return };
        let Some((next, _)) = self.places.ended(key.into()) else { return };
        self.blocked -= usize::from(next.attempt == 1);
        self.gets_place(ReadyMessage { ready: end.max(next.ready), ..next });
    }

    /// When the next message may begin, of those that have a place.
    pub(super) fn next(&self) -> Option<u64> {
        let ready = |queue: &BinaryHeap<Reverse<ReadyMessage>>| queue.peek().map(|Reverse(message)| message.ready);
        ready(&self.again).into_iter().chain(ready(&self.new)).min()
    }

    /// When the next place is free that somebody waits for.
    pub(super) fn next_place(&self) -> Option<u64> {
        self.next_end().filter(|_| self.places.waiting() > 0)
    }

    /// The next message begins. JetStream delivers again before it delivers what is new.
    pub(super) fn begin(&mut self, start: u64) -> Option<ReadyMessage> {
        if self.again.peek().is_some_and(|Reverse(message)| message.ready <= start) {
            return self.again.pop().map(|Reverse(message)| message);
        }
        let Reverse(new) = self.new.pop()?;
        self.untried.remove(&(new.arrival, new.message));
        Some(new)
    }

    /// An attempt at a message that had begun ends at `end`, and with that its place is free.
    pub(super) fn ends(&mut self, message: u64, end: u64) {
        self.ends.push(Reverse((end, self.model.key(self.seed, message))));
    }

    /// How many that were not tried yet wait for a place.
    pub(super) fn blocked(&self) -> usize {
        self.blocked
    }

    /// Whether more workers could do nothing more: all that is here waits for a place.
    pub(super) fn binds(&self, now: u64) -> bool {
        self.places.waiting() > 0 && self.next().is_none_or(|ready| ready > now)
    }

    /// When each that was not tried yet arrived, oldest first.
    pub(super) fn untried(&self) -> impl Iterator<Item = u64> {
        self.untried.iter().map(|(arrival, _)| *arrival)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::simulate::KeySpread;

    fn message(message: u64, ready: u64, attempt: u32) -> ReadyMessage {
        ReadyMessage { ready, message, arrival: message, attempt, time: 5, fails: false }
    }

    #[test]
    fn two_of_a_key_begin_and_the_oldest_when_a_place_is_free() {
        let mut places = SimulatedPlaces::new(KeyModel { count: 1, spread: KeySpread::Uniform }, 2, 1);
        (1..=4).for_each(|number| places.arrive(message(number, number, 1)));
        assert_eq!((places.next(), places.blocked(), places.binds(0), places.next_place()), (Some(1), 2, true, None));
        assert_eq!([places.begin(1).unwrap().message, places.begin(2).unwrap().message], [1, 2]);
        places.ends(1, 10);
        places.ends(2, 12);
        assert_eq!((places.next(), places.next_place(), places.binds(5)), (None, Some(10), true));
        // The first fails, and has to wait for a place like all others, but before them.
        places.arrive(message(1, 11, 2));
        places.end_next();
        assert_eq!((places.next(), places.blocked()), (Some(11), 2));
        places.end_next();
        assert_eq!((places.next(), places.blocked(), places.next_place()), (Some(11), 1, None));
        assert_eq!([places.begin(11).unwrap().message, places.begin(12).unwrap().message], [1, 3]);
        assert_eq!(places.untried().collect::<Vec<_>>(), [4]);
    }
}
