//! What waits of one key, in the order of the stream.

use std::collections::VecDeque;

/// A delivery that waits.
#[derive(Debug)]
pub(super) struct Place<T> {
    pub(super) sequence: u64,
    pub(super) bytes: usize,
    pub(super) item: T,
}

/// The deliveries of one key that wait, of each message at most one.
#[derive(Debug)]
pub(super) struct Queue<T>(VecDeque<Place<T>>);

impl<T> Queue<T> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<&Place<T>> {
        self.0.front()
    }

    pub(super) fn find(&mut self, sequence: u64) -> Option<&mut T> {
        let at = self.position(sequence)?;
        self.0.get_mut(at).map(|place| &mut place.item)
    }

    pub(super) fn has(&self, sequence: u64) -> bool {
        self.position(sequence).is_some()
    }

    pub(super) fn insert(&mut self, place: Place<T>) {
        let at = self.0.partition_point(|other| other.sequence < place.sequence);
        self.0.insert(at, place);
    }

    pub(super) fn take_first(&mut self) -> Option<Place<T>> {
        self.0.pop_front()
    }

    pub(super) fn take(&mut self, sequence: u64) -> Option<Place<T>> {
        let at = self.position(sequence)?;
        self.0.remove(at)
    }

    /// Takes those that match.
    pub(super) fn take_those(&mut self, these: impl Fn(&T) -> bool) -> VecDeque<Place<T>> {
        let (matching, left) = self.0.drain(..).partition(|place| these(&place.item));
        self.0 = left;
        matching
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|place| &mut place.item)
    }

    fn position(&self, sequence: u64) -> Option<usize> {
        self.0.binary_search_by_key(&sequence, |place| place.sequence).ok()
    }
}
