//! Which delivery may begin: one of each key, in the order of the stream.

use std::collections::BTreeSet;
use std::collections::hash_map::{Entry, OccupiedEntry};

use tokio::time::Instant;

use super::queue::{Place, Queue};
use super::{ByKey, KeyHash};

/// What may wait for earlier messages of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Messages.
    pub(crate) messages: usize,
    /// Bytes of their payloads and headers.
    pub(crate) bytes: usize,
}

impl Limits {
    /// What is left of them beside so much.
    pub(super) fn without(self, messages: usize, bytes: usize) -> Self {
        Self { messages: self.messages.saturating_sub(messages), bytes: self.bytes.saturating_sub(bytes) }
    }

    /// What of `count` messages and their `bytes` may be asked for beside the `asked`, where so much room is left, so
    /// that all of it may wait. If little may, nothing is: else each message that ends would be one request.
    pub(crate) fn fit(self, room: Self, (count, bytes): (usize, usize), asked: usize) -> Option<(usize, usize)> {
        let may = room.messages.saturating_sub(asked);
        let enough = may >= count || may * 4 >= self.messages;
        (may > 0 && enough && room.bytes > self.bytes / 4).then(|| (count.min(may), bytes.min(room.bytes)))
    }
}

/// What is held of all keys. `T` is a delivery. The state of a key is there as long as one of its messages is held.
#[derive(Debug)]
pub(crate) struct Dispatch<T> {
    keys: ByKey<Line<T>>,
    /// When a key's first message is tried again.
    due: BTreeSet<(Instant, KeyHash)>,
    held: usize,
    waiting: usize,
    bytes: usize,
}

/// The messages of one key.
#[derive(Debug)]
struct Line<T> {
    /// The one that has begun.
    begun: Option<u64>,
    /// The others in the order of the stream. A later delivery of the one that has begun can be among them.
    waiting: Queue<T>,
    /// When the first is tried again; until then none begins.
    until: Option<Instant>,
}

/// The key with the most messages that wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fullest<'a, T> {
    /// How many of it wait.
    pub(crate) waiting: usize,
    /// The message that they wait for, if it has begun; otherwise it is the first of those that wait.
    pub(crate) begun: Option<u64>,
    /// The first of those that wait.
    pub(crate) first: &'a T,
    /// When the first is tried again, if it failed.
    pub(crate) until: Option<Instant>,
}

impl<T> Default for Dispatch<T> {
    fn default() -> Self {
        Self { keys: ByKey::default(), due: BTreeSet::new(), held: 0, waiting: 0, bytes: 0 }
    }
}

impl<T> Dispatch<T> {
    /// Messages that are held, those that have begun among them.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Deliveries that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Keys of which a message is held.
    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// What may still wait under these limits.
    pub(crate) fn room(&self, limits: Limits) -> Limits {
        limits.without(self.waiting, self.bytes)
    }

    /// Whether this message is held.
    pub(crate) fn holds(&self, key: KeyHash, sequence: u64) -> bool {
        self.keys.get(&key).is_some_and(|line| line.begun == Some(sequence) || line.waiting.has(sequence))
    }

    /// Whether this message, of whichever key, has begun.
    pub(crate) fn has_begun(&self, sequence: u64) -> bool {
        self.keys.values().any(|line| line.begun == Some(sequence))
    }

    /// The delivery of this message that waits.
    pub(crate) fn find(&mut self, key: KeyHash, sequence: u64) -> Option<&mut T> {
        self.keys.get_mut(&key)?.waiting.find(sequence)
    }

    /// Takes the delivery of this message that waits.
    pub(crate) fn take(&mut self, key: KeyHash, sequence: u64) -> Option<T> {
        let place = self.keys.get_mut(&key)?.waiting.take(sequence)?;
        Some(self.left(place))
    }

    /// A delivery arrives that is not [found](Dispatch::find). It begins if nothing of its key is held and `may_begin`.
    pub(crate) fn arrive(&mut self, key: KeyHash, sequence: u64, bytes: usize, item: T, may_begin: bool) -> Option<T> {
        let line = self.keys.entry(key).or_insert_with(Line::empty);
        // Another delivery of the one that has begun is not one message more.
        self.held += usize::from(line.begun != Some(sequence));
        if may_begin && line.is_free() && line.waiting.is_empty() {
            line.begun = Some(sequence);
            return Some(item);
        }
        line.waiting.insert(Place { sequence, bytes, item });
        self.waiting += 1;
        self.bytes += bytes;
        None
    }

    /// The message that had begun is settled for good. Returns another delivery of it, if one came meanwhile, and what
    /// begins now.
    pub(crate) fn settled(&mut self, key: KeyHash, sequence: u64, may_begin: bool) -> (Option<T>, Option<T>) {
        let Entry::Occupied(mut entry) = self.keys.entry(key) else { return (None, None) };
        let line = entry.get_mut();
        if line.begun != Some(sequence) {
            return (None, None);
        }
        line.begun = None;
        let copy = line.waiting.take(sequence);
        let next = advance(entry, &mut self.due, may_begin);
        self.held -= 1;
        (copy.map(|place| self.left(place)), next.map(|place| self.left(place)))
    }

    /// The message that had begun is tried again at `until`, before all others of its key. There is no other delivery
    /// of it that [waits](Dispatch::find).
    pub(crate) fn retry(&mut self, key: KeyHash, sequence: u64, bytes: usize, item: T, until: Instant) {
        let line = self.keys.entry(key).or_insert_with(Line::empty);
        if line.begun == Some(sequence) {
            line.begun = None;
        } else {
            self.held += 1;
        }
        line.waiting.insert(Place { sequence, bytes, item });
        self.waiting += 1;
        self.bytes += bytes;
        if let Some(before) = line.until.replace(until) {
            self.due.remove(&(before, key));
        }
        self.due.insert((until, key));
    }

    /// The message that had begun is neither settled for good nor here any more.
    pub(crate) fn gone(&mut self, key: KeyHash, sequence: u64) {
        let Some(line) = self.keys.get_mut(&key).filter(|line| line.begun == Some(sequence)) else { return };
        line.begun = None;
        // Another delivery of it may be here.
        let copy = line.waiting.has(sequence);
        self.held -= usize::from(!copy);
        self.begin(key, false);
    }

    /// When the next key is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What begins because it is due.
    pub(crate) fn due(&mut self, now: Instant, may_begin: bool) -> Vec<T> {
        let mut begins = Vec::new();
        while let Some((at, key)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, key));
            if let Some(line) = self.keys.get_mut(&key) {
                line.until = None;
            }
            begins.extend(self.begin(key, may_begin));
        }
        begins
    }

    /// What begins because everything may: the first of each key of which nothing has begun, in the order of the
    /// stream.
    pub(crate) fn begin_all(&mut self) -> Vec<T> {
        let free = self.keys.iter().filter(|(_, line)| line.is_free());
        let mut first: Vec<_> = free.filter_map(|(key, line)| Some((line.waiting.first()?.sequence, *key))).collect();
        first.sort_unstable();
        first.into_iter().filter_map(|(_, key)| self.begin(key, true)).collect()
    }

    /// Takes all that waits, in the order of the stream.
    pub(crate) fn take_waiting(&mut self) -> Vec<T> {
        let mut all: Vec<_> = self.keys.values_mut().flat_map(|line| line.waiting.take_those(|_| true)).collect();
        all.sort_by_key(|place| place.sequence);
        self.keys.retain(|_, line| {
            line.until = None;
            line.begun.is_some()
        });
        self.due.clear();
        (self.held, self.waiting, self.bytes) = (self.keys.len(), 0, 0);
        all.into_iter().map(|place| place.item).collect()
    }

    /// All that waits.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.keys.values_mut().flat_map(|line| line.waiting.iter_mut())
    }

    /// The key with the most messages that wait.
    pub(crate) fn fullest(&self) -> Option<Fullest<'_, T>> {
        let line = self.keys.values().max_by_key(|line| line.waiting.len())?;
        let first = &line.waiting.first()?.item;
        Some(Fullest { waiting: line.waiting.len(), begun: line.begun, first, until: line.until })
    }

    /// Begins the first of a key, if nothing of it has begun.
    fn begin(&mut self, key: KeyHash, may_begin: bool) -> Option<T> {
        let Entry::Occupied(entry) = self.keys.entry(key) else { return None };
        let place = advance(entry, &mut self.due, may_begin)?;
        Some(self.left(place))
    }

    /// Counts one that does not wait any more.
    fn left(&mut self, place: Place<T>) -> T {
        self.waiting -= 1;
        self.bytes -= place.bytes;
        place.item
    }
}

/// Begins the first of a key, if nothing of it has begun. A key of which nothing is held is forgotten.
fn advance<T>(
    mut entry: OccupiedEntry<'_, KeyHash, Line<T>>,
    due: &mut BTreeSet<(Instant, KeyHash)>,
    may_begin: bool,
) -> Option<Place<T>> {
    let line = entry.get_mut();
    let first = if may_begin && line.is_free() { line.waiting.take_first() } else { None };
    if let Some(place) = &first {
        line.begun = Some(place.sequence);
    } else if line.begun.is_none() && line.waiting.is_empty() {
        let (key, line) = entry.remove_entry();
        line.until.into_iter().for_each(|until| _ = due.remove(&(until, key)));
    }
    first
}

impl<T> Line<T> {
    fn empty() -> Self {
        Self { begun: None, waiting: Queue::new(), until: None }
    }

    fn is_free(&self) -> bool {
        self.begun.is_none() && self.until.is_none()
    }
}

#[cfg(test)]
mod tests;
