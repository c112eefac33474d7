//! How many deliveries of one key may have begun at once, without an order: each takes one of the places of its key,
//! and what finds none waits, oldest first.

use super::queue::{Place, Queue};
use super::{ByKey, KeyHash, Limits};

/// The places of all keys. `T` is a delivery. The state of a key is there as long as one of its messages is held.
#[derive(Debug)]
pub struct KeyPlaces<T> {
    /// How many places a key has; at least 1.
    each: usize,
    keys: ByKey<Line<T>>,
    waiting: usize,
    bytes: usize,
}

/// The messages of one key.
#[derive(Debug)]
struct Line<T> {
    /// Places that are taken; at least 1.
    begun: usize,
    /// Those that wait, in the order of the stream.
    waiting: Queue<T>,
}

/// The key with the most messages that wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MostWaiting<'a, T> {
    /// How many of it have begun.
    pub(crate) begun: usize,
    /// The first of those that wait.
    pub(crate) first: &'a T,
}

impl<T> KeyPlaces<T> {
    /// With so many places for each key, at least 1.
    pub fn new(each: usize) -> Self {
        Self { each: each.max(1), keys: ByKey::default(), waiting: 0, bytes: 0 }
    }

    /// Deliveries that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Keys of which a message is held.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// What may still wait under these limits.
    pub(crate) fn room(&self, limits: Limits) -> Limits {
        limits.without(self.waiting, self.bytes)
    }

    /// The delivery of this message that waits.
    pub(crate) fn find(&mut self, key: KeyHash, sequence: u64) -> Option<&mut T> {
        self.keys.get_mut(&key)?.waiting.find(sequence)
    }

    /// A delivery of so many bytes arrives that is not here yet. It is returned if it begins.
    pub fn arrive(&mut self, key: KeyHash, sequence: u64, bytes: usize, item: T) -> Option<T> {
        let line = self.keys.entry(key).or_insert_with(|| Line { begun: 0, waiting: Queue::new() });
        if line.begun < self.each {
            line.begun += 1;
            return Some(item);
        }
        line.waiting.insert(Place { sequence, bytes, item });
        self.waiting += 1;
        self.bytes += bytes;
        None
    }

    /// One that had begun has ended, whatever became of it. Returns what begins in its place, and its bytes.
    pub fn ended(&mut self, key: KeyHash) -> Option<(T, usize)> {
        let line = self.keys.get_mut(&key)?;
        if let Some(Place { bytes, item, .. }) = line.waiting.take_first() {
            self.waiting -= 1;
            self.bytes -= bytes;
            return Some((item, bytes));
        }
        line.begun -= 1;
        if line.begun == 0 {
            self.keys.remove(&key);
        }
        None
    }

    /// Takes those that wait and match.
    pub(crate) fn take_those(&mut self, these: impl Fn(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for line in self.keys.values_mut() {
            for Place { bytes, item, .. } in line.waiting.take_those(&these) {
                self.waiting -= 1;
                self.bytes -= bytes;
                taken.push(item);
            }
        }
        taken
    }

    /// All that waits.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.keys.values_mut().flat_map(|line| line.waiting.iter_mut())
    }

    /// The key with the most messages that wait.
    pub(crate) fn most_waiting(&self) -> Option<MostWaiting<'_, T>> {
        let line = self.keys.values().max_by_key(|line| line.waiting.len())?;
        Some(MostWaiting { begun: line.begun, first: &line.waiting.first()?.item })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn arrive(places: &mut KeyPlaces<u64>, key: u64, sequence: u64) -> Option<u64> {
        places.arrive(key, sequence, 10, sequence)
    }

    #[test]
    fn so_many_of_a_key_begin_and_the_oldest_that_waits_when_one_has_ended() {
        let mut places = KeyPlaces::new(2);
        assert_eq!([1, 2, 5, 4].map(|sequence| arrive(&mut places, 7, sequence)), [Some(1), Some(2), None, None]);
        assert_eq!(arrive(&mut places, 8, 6), Some(6));
        assert_eq!(places.most_waiting(), Some(MostWaiting { begun: 2, first: &4 }));
        let limits = Limits { messages: 3, bytes: 25 };
        assert_eq!(places.room(limits), Limits { messages: 1, bytes: 5 });
        assert_eq!(places.find(7, 5), Some(&mut 5));
        assert_eq!(places.ended(7), Some((4, 10)));
        assert_eq!(places.take_those(|sequence| *sequence == 5), [5]);
        assert_eq!([places.ended(7), places.ended(7), places.ended(8)], [None, None, None]);
        assert_eq!((places.keys(), places.waiting(), places.bytes), (0, 0, 0));
    }

    #[test]
    fn a_million_keys_leave_nothing_behind() {
        let mut places = KeyPlaces::new(3);
        for sequence in 0..1_000_000 {
            arrive(&mut places, sequence, sequence).unwrap();
            if sequence >= 100 {
                assert_eq!(places.ended(sequence - 100), None);
            }
        }
        assert_eq!((places.keys(), places.waiting()), (100, 0));
        assert!(places.keys.capacity() < 1_000, "{}", places.keys.capacity());
    }

    proptest! {
        #[test]
        fn no_key_has_more_than_its_places_and_none_waits_where_one_is_free(
            each in 1usize..4,
            steps in proptest::collection::vec((0u8..8, 0u64..4), 1..200),
        ) {
            let mut places = KeyPlaces::new(each);
            let mut begun: BTreeMap<u64, usize> = BTreeMap::new();
            let mut waiting: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            for ((step, key), sequence) in steps.into_iter().zip(1..) {
                let (has, waits) = (begun.entry(key).or_default(), waiting.entry(key).or_default());
                match step {
                    0..=3 => match places.arrive(key, sequence, 1, sequence) {
                        Some(item) => {
                            prop_assert_eq!(item, sequence);
                            *has += 1;
                        }
                        None => waits.push(sequence),
                    },
                    4..=6 if *has > 0 => match places.ended(key) {
                        Some((item, _)) => prop_assert_eq!(item, waits.remove(0)),
                        None => *has -= 1,
                    },
                    7 => {
                        let (mut expected, mut taken) = (Vec::new(), places.take_those(|item| item % 2 == 0));
                        for waits in waiting.values_mut() {
                            expected.extend(waits.extract_if(.., |item| *item % 2 == 0));
                        }
                        expected.sort_unstable();
                        taken.sort_unstable();
                        prop_assert_eq!(taken, expected);
                    }
                    _ => {}
                }
                for (key, has) in &begun {
                    let waits = waiting.get(key).map_or(0, Vec::len);
                    prop_assert!(*has <= each && (waits == 0 || *has == each));
                }
                prop_assert_eq!(places.waiting(), waiting.values().map(Vec::len).sum::<usize>());
                prop_assert_eq!(places.bytes, places.waiting());
            }
        }
    }
}
