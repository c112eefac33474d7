//! Which message of its key may begin: the next in order, or one that has a place. Times are nanoseconds.

use super::coming::{Coming, ReadyMessage};
use super::keys::{KeyModel, SimulatedKeys};
use super::places::SimulatedPlaces;

/// How many messages may wait for their turn until no more are fetched: three quarters of the buffer that a host has by
/// default.
const MOST_WAITING: usize = 7_500;

/// The keys of messages, and which message of each may begin.
#[derive(Debug)]
pub(super) enum KeyTurns {
    /// One after the other, in the order of the stream.
    InOrder(SimulatedKeys),
    /// So many at once.
    Places(Box<SimulatedPlaces>),
}

impl KeyTurns {
    /// `each` of a key at once and in any order, if that is said.
    pub(super) fn new(model: KeyModel, each: Option<usize>, seed: u64) -> Self {
        match each {
            None => Self::InOrder(SimulatedKeys::new(model, seed)),
            Some(each) => Self::Places(Box::new(SimulatedPlaces::new(model, each, seed))),
        }
    }

    /// Gives each message that may begin before the next one of its key, or has to wait for it, to its key. What comes
    /// while the buffer is full stays in the stream.
    pub(super) fn take_in(&mut self, coming: &mut Coming<'_>, free: u64, limit: u64) {
        let keys = match self {
            Self::InOrder(keys) => keys,
            Self::Places(places) => return places.take_in(coming, free, limit),
        };
        while let Some(arrival) = coming.arrival().filter(|arrival| *arrival < limit) {
            let Some(at) = keys.room(arrival, MOST_WAITING).filter(|at| *at < limit) else { return };
            if keys.next().is_some_and(|ready| ready.max(free) < at) {
                return;
            }
            coming.take_new().into_iter().for_each(|message| keys.arrive(message, at));
        }
    }

    /// When the next message may begin that is here.
    pub(super) fn next(&self) -> Option<u64> {
        match self {
            Self::InOrder(keys) => keys.next(),
            Self::Places(places) => places.next(),
        }
    }

    /// When the next message may begin that is here, though who it is may be known only then.
    pub(super) fn available(&self) -> Option<u64> {
        match self {
            Self::InOrder(keys) => keys.next(),
            Self::Places(places) => places.next().into_iter().chain(places.next_place()).min(),
        }
    }

    /// Whether what failed comes here when it is delivered again, and does not keep its turn.
    pub(super) fn take_again(&self) -> bool {
        matches!(self, Self::Places(_))
    }

    /// The next message begins at `start`.
    pub(super) fn begin(&mut self, start: u64) -> Option<ReadyMessage> {
        match self {
            Self::InOrder(keys) => keys.begin(),
            Self::Places(places) => places.begin(start),
        }
    }

    /// An attempt at a message that had begun ends at `end`.
    pub(super) fn ends(&mut self, message: u64, end: u64, fails: bool) {
        match self {
            Self::InOrder(keys) if !fails => keys.ends(message, end),
            Self::InOrder(_) => {}
            Self::Places(places) => places.ends(message, end),
        }
    }

    /// How many that were not tried yet are fetched, and wait for others of their key.
    pub(super) fn blocked(&mut self, now: u64) -> usize {
        match self {
            Self::InOrder(keys) => keys.blocked(now),
            Self::Places(places) => places.blocked(),
        }
    }

    /// Whether more workers could do nothing more, where so many of a key are handled at once.
    pub(super) fn bind(&self, now: u64) -> bool {
        matches!(self, Self::Places(places) if places.binds(now))
    }

    /// Of how many keys messages wait or are with workers, where they are in order. As in a host, it is not known while
    /// others may be fetched.
    pub(super) fn waiting(&mut self, unknown: bool, pending: bool, now: u64) -> Option<u32> {
        let Self::InOrder(keys) = self else { return None };
        let is_full = keys.blocked(now) > MOST_WAITING;
        (is_full || !unknown && !pending).then(|| u32::try_from(keys.keys(now)).unwrap_or(u32::MAX))
    }

    /// When the oldest that was not tried yet arrived.
    pub(super) fn oldest(&self) -> Option<u64> {
        match self {
            Self::InOrder(keys) => keys.oldest(),
            Self::Places(places) => places.untried().next(),
        }
    }

    /// When each that was not tried yet arrived.
    pub(super) fn untried(&self) -> Vec<u64> {
        match self {
            Self::InOrder(keys) => keys.arrivals().collect(),
            Self::Places(places) => places.untried().collect(),
        }
    }
}
