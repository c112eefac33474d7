//! The keys of messages that are handled one after the other, and which message may begin when. Times are nanoseconds.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};

use fastrand::Rng;

use super::coming::ReadyMessage;
use super::random::mix;

/// What is drawn from one seed does not repeat itself.
const KEYS: u64 = 0x6b65_7973;

/// How many keys messages have, and how they are spread over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyModel {
    /// How many there are, from 1.
    pub count: u32,
    /// Which share of the messages each has.
    pub spread: KeySpread,
}

/// Which share of the messages each key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySpread {
    /// All have the same.
    Uniform,
    /// The second has half of what the first has, the third a third of it, and so on.
    Zipf,
}

impl KeyModel {
    /// The key of the `message`-th message, from 0.
    pub(super) fn key(self, seed: u64, message: u64) -> u32 {
        let mut chance = Rng::with_seed(mix(mix(seed, KEYS), message));
        match self.spread {
            KeySpread::Uniform => chance.u32(0..self.count.max(1)),
            KeySpread::Zipf => zipf(self.count.max(1), &mut chance) - 1,
        }
    }
}

/// A number from 1 to `count`, each as likely as its inverse says, by rejection from the integral of that (W. Hörmann
/// and G. Derflinger, 1996).
fn zipf(count: u32, chance: &mut Rng) -> u32 {
    let first = libm::log(1.5) - 1.0;
    let last = libm::log(f64::from(count) + 0.5);
    // What is so close to its number is taken without another logarithm.
    let close = 2.0 - libm::exp(libm::log(2.5) - 0.5);
    loop {
        let drawn = last + chance.f64() * (first - last);
        let at = libm::exp(drawn);
        let number = (at + 0.5).clamp(1.0, f64::from(count)).floor();
        if number - at <= close || drawn >= libm::log(number + 0.5) - 1.0 / number {
            // It is a whole number from 1 to `count`.
            return number as u32;
        }
    }
}

/// What is known of a key.
#[derive(Debug, Default)]
struct Line {
    /// A message of it may begin, has begun, or is to be tried again.
    occupied: bool,
    /// When the last one ended.
    free_at: u64,
    waiting: VecDeque<ReadyMessage>,
}

/// Messages that have arrived and were not tried yet, by key.
#[derive(Debug)]
pub(super) struct SimulatedKeys {
    model: KeyModel,
    seed: u64,
    lines: HashMap<u32, Line>,
    /// Those whose turn it was at the last time that was asked about.
    due: BinaryHeap<Reverse<ReadyMessage>>,
    /// Those whose turn will be at a time that is known.
    later: BinaryHeap<Reverse<ReadyMessage>>,
    /// All of them, oldest first.
    all: BTreeSet<(u64, u64)>,
    /// How many keys are occupied.
    occupied: usize,
    /// The others of which a message was begun, by when that ends.
    ending: BTreeSet<(u64, u32)>,
}

impl SimulatedKeys {
    pub(super) fn new(model: KeyModel, seed: u64) -> Self {
        Self {
            model,
            seed,
            lines: HashMap::new(),
            due: BinaryHeap::new(),
            later: BinaryHeap::new(),
            all: BTreeSet::new(),
            occupied: 0,
            ending: BTreeSet::new(),
        }
    }

    /// The next message is fetched at `at`. They are fetched in the order of their numbers.
    pub(super) fn arrive(&mut self, new: ReadyMessage, at: u64) {
        let key = self.model.key(self.seed, new.message);
        let line = self.lines.entry(key).or_default();
        let new = ReadyMessage { ready: at.max(line.free_at), ..new };
        self.all.insert((new.arrival, new.message));
        if line.occupied {
            line.waiting.push_back(new);
        } else {
            line.occupied = true;
            self.occupied += 1;
            self.ending.remove(&(line.free_at, key));
            self.later.push(Reverse(new));
        }
        self.advance(at);
    }

    /// Finds those whose turn it is by `now`.
    fn advance(&mut self, now: u64) {
        while self.later.peek().is_some_and(|Reverse(new)| new.ready <= now) {
            self.due.extend(self.later.pop());
        }
    }

    /// When there is room for one that arrives at `arrival`, where no more are fetched while more than `most` wait
    /// behind others; `None` if it is not known yet.
    pub(super) fn room(&mut self, arrival: u64, most: usize) -> Option<u64> {
        if self.blocked(arrival) <= most {
            return Some(arrival);
        }
        self.later.peek().map(|Reverse(next)| next.ready)
    }

    /// When the next message may begin.
    pub(super) fn next(&self) -> Option<u64> {
        self.due.peek().or(self.later.peek()).map(|Reverse(new)| new.ready)
    }

    /// The next message begins.
    pub(super) fn begin(&mut self) -> Option<ReadyMessage> {
        let Reverse(new) = self.due.pop().or_else(|| self.later.pop())?;
        self.all.remove(&(new.arrival, new.message));
        Some(new)
    }

    /// A message that had begun will be settled at `end`, and the next of its key may begin then.
    pub(super) fn ends(&mut self, message: u64, end: u64) {
        let key = self.model.key(self.seed, message);
        let Some(line) = self.lines.get_mut(&key) else { return };
        line.free_at = end;
        match line.waiting.pop_front() {
            Some(next) => self.later.push(Reverse(ReadyMessage { ready: end.max(next.ready), ..next })),
            None => {
                line.occupied = false;
                self.occupied -= 1;
                self.ending.insert((end, key));
            }
        }
    }

    /// Of how many keys messages wait or are with workers.
    pub(super) fn keys(&mut self, now: u64) -> usize {
        self.ending = self.ending.split_off(&(now + 1, 0));
        self.occupied + self.ending.len()
    }

    /// How many wait behind an earlier one of their key that is not settled yet.
    pub(super) fn blocked(&mut self, now: u64) -> usize {
        self.advance(now);
        self.all.len() - self.due.len()
    }

    /// When the oldest arrived.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.all.first().map(|(arrival, _)| *arrival)
    }

    /// When each arrived.
    pub(super) fn arrivals(&self) -> impl Iterator<Item = u64> {
        self.all.iter().map(|(arrival, _)| *arrival)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn keys_have_the_shares_that_they_should() {
        let shares = |spread, count: u32| {
            let model = KeyModel { count, spread };
            let mut found = vec![0u32; usize::try_from(count).unwrap()];
            (0..200_000).for_each(|message| found[model.key(7, message) as usize] += 1);
            found.into_iter().map(|found| f64::from(found) / 200_000.0).collect::<Vec<_>>()
        };
        let near = |share: f64, wanted: f64| assert!((share - wanted).abs() < 0.01, "{share} is not {wanted}");
        shares(KeySpread::Uniform, 4).into_iter().for_each(|share| near(share, 0.25));
        let all: f64 = (1..=10).map(|number| 1.0 / f64::from(number)).sum();
        for (share, number) in shares(KeySpread::Zipf, 10).into_iter().zip(1..) {
            near(share, 1.0 / f64::from(number) / all);
        }
        assert_eq!(shares(KeySpread::Zipf, 1), [1.0]);
    }

    #[test]
    fn a_message_may_begin_when_the_one_before_of_its_key_is_settled() {
        let mut keys = SimulatedKeys::new(KeyModel { count: 1, spread: KeySpread::Zipf }, 1);
        let arrive = |keys: &mut SimulatedKeys, message, arrival| {
            keys.arrive(ReadyMessage { ready: arrival, message, arrival, attempt: 1, time: 5, fails: false }, arrival);
        };
        (0..3).for_each(|message| arrive(&mut keys, message, 10 * message));
        assert_eq!((keys.next(), keys.blocked(0), keys.oldest(), keys.keys(0)), (Some(0), 2, Some(0), 1));
        assert_eq!(keys.begin().unwrap().message, 0);
        assert_eq!((keys.next(), keys.oldest()), (None, Some(10)));
        keys.ends(0, 15);
        assert_eq!((keys.next(), keys.blocked(10), keys.blocked(15)), (Some(15), 2, 1));
        keys.begin().unwrap();
        keys.ends(1, 17);
        // It arrives later than that.
        assert_eq!(keys.next(), Some(20));
        keys.begin().unwrap();
        keys.ends(2, 40);
        assert_eq!(keys.keys(30), 1);
        arrive(&mut keys, 3, 35);
        assert_eq!((keys.next(), keys.arrivals().collect::<Vec<_>>(), keys.keys(35)), (Some(40), vec![35], 1));
        keys.begin().unwrap();
        keys.ends(3, 50);
        assert_eq!((keys.keys(49), keys.keys(50)), (1, 0));
    }
}
