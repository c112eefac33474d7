//! The turn of a message of a key, by which whoever has the message says what became of it.
//!
//! A turn that is dropped without a word, as by a worker that panics, counts as a message that is elsewhere.
//!
//! Where so many of a key are handled at once and no order is kept, the turn is a place of its key. The place is free
//! again when the turn is dropped, whatever became of the message.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Held, Inbox, Instant, Waiting};
use crate::delivery::order::KeyHash;

/// The turn of a message of a key. It is the next one's when this one is settled.
#[derive(Debug)]
pub(crate) struct Turn<D> {
    inbox: Weak<Inbox<D>>,
    pub(super) key: KeyHash,
    pub(super) sequence: u64,
    /// When the delivery came.
    came: Instant,
    /// How often this host tried the message again by itself.
    retries: u32,
    is_over: bool,
    /// The inbox, from when the server may have heard that the message is settled, while it still counts as held.
    settling: Option<Arc<Inbox<D>>>,
    /// It is one of several places of its key, and keeps no order.
    is_place: bool,
}

impl<D> Turn<D> {
    pub(super) fn new(inbox: Weak<Inbox<D>>, key: KeyHash, sequence: u64, came: Instant) -> Self {
        Self { inbox, key, sequence, came, retries: 0, is_over: false, settling: None, is_place: false }
    }

    /// The same for another message, once that of this one is over.
    pub(super) fn becomes(&mut self, key: KeyHash, sequence: u64, came: Instant) {
        (self.key, self.sequence, self.came) = (key, sequence, came);
        (self.retries, self.is_over) = (0, false);
    }

    /// A place of the key, which a message has from when it begins until it is settled.
    pub(super) fn place(inbox: Weak<Inbox<D>>, key: KeyHash) -> Self {
        let mut place = Self::new(inbox, key, 0, Instant::now());
        place.is_place = true;
        place
    }

    /// Whether an order is kept, so that nothing of its key begins elsewhere before this message is back.
    pub(crate) fn keeps_order(&self) -> bool {
        !self.is_place
    }
}

impl<D: Held> Inbox<D> {
    /// Tries a message again after the delay, before all others of its key. Returns it if nothing waits here any more,
    /// or no order is kept.
    fn retry(&self, mut waiting: Waiting<D>, delay: Duration) -> Option<Waiting<D>> {
        let Some(order) = &self.order else { return Some(waiting) };
        let mut state = order.state.lock();
        let Some(turn) = waiting.turn.as_mut().filter(|_| order.is_here(&state)) else {
            drop(state);
            return Some(waiting);
        };
        turn.retries = turn.retries.saturating_add(1);
        let (key, sequence) = (turn.key, turn.sequence);
        waiting.held.count_attempts(1);
        waiting.company = self.company(waiting.held.delivery());
        waiting.permit = None;
        // It may have been delivered again meanwhile.
        let (waiting, replaced) = match state.dispatch.take(key, sequence) {
            Some(mut again) => {
                again.follows(&waiting);
                (again, Some(waiting))
            }
            None => (waiting, None),
        };
        let bytes = waiting.held.delivery().size();
        state.dispatch.retry(key, sequence, bytes, waiting, Instant::now() + delay);
        let may_begin = state.may_begin();
        let begun = if delay.is_zero() { self.begin(state.dispatch.due(Instant::now(), may_begin)) } else { 0 };
        order.tell(&state);
        drop(state);
        self.wake(begun);
        order.changed.notify_one();
        if self.is_suspended() {
            // The fetching task lets it be given back.
            self.room.notify_one();
        }
        if let Some(mut old) = replaced {
            old.leaves();
            self.superseded(old.held.delivery());
        }
        None
    }
}

impl<D> Waiting<D> {
    /// It leaves the order without its turn having come, or with it in the hands of another delivery.
    pub(super) fn leaves(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.is_over = true;
        }
    }

    /// How often the server has delivered the message, this time included. Where an order is kept, its attempts are
    /// more than that.
    pub(crate) fn server_attempt(&self) -> u32
    where
        D: Held,
    {
        let retries = self.turn.as_ref().map_or(0, |turn| turn.retries);
        self.held.delivery().attempt.saturating_sub(retries)
    }
}

impl<D: Held> Waiting<D> {
    /// Has the message tried again by this host after the delay, where an order is kept. Otherwise it is returned, and
    /// the server has to deliver it again.
    pub(crate) fn try_again(self, delay: Duration) -> Option<Self> {
        let Some(inbox) = self.turn.as_ref().and_then(|turn| turn.inbox.upgrade()) else { return Some(self) };
        inbox.retry(self, delay)
    }

    /// Whether this host tries the message again by itself.
    pub(crate) fn is_tried_here(&self) -> bool {
        let inbox = self.turn.as_ref().and_then(|turn| turn.inbox.upgrade());
        let order = inbox.as_ref().and_then(|inbox| inbox.order.as_ref());
        order.is_some_and(|order| order.is_here(&order.state.lock()))
    }

    /// It is a later delivery of the same message as `old`, which this host has tried again by itself.
    pub(super) fn follows(&mut self, old: &Self) {
        let retries = old.turn.as_ref().map_or(0, |turn| turn.retries);
        if let Some(turn) = &mut self.turn {
            turn.retries = retries;
        }
        if retries > 0 {
            self.held.count_attempts(retries);
        }
        self.company = old.company;
    }
}

/// The message is about to be settled for good.
pub(crate) fn settling<D>(turn: Option<&mut Turn<D>>) {
    let Some(turn) = turn else { return };
    let Some(inbox) = turn.inbox.upgrade() else { return };
    if let Some(order) = &inbox.order {
        order.begins_settling();
        turn.settling = Some(inbox);
    }
}

/// The message is settled for good: the turn is the next one's.
pub(crate) fn settled<D: Held>(turn: Option<Box<Turn<D>>>) {
    let Some(mut turn) = turn else { return };
    turn.is_over = true;
    let settling = turn.settling.take();
    let was_settling = settling.is_some();
    let Some(inbox) = settling.or_else(|| turn.inbox.upgrade()) else { return };
    let Some(order) = &inbox.order else { return };
    let is_late = order.is_late(turn.came);
    let mut state = order.state.lock();
    if is_late {
        state.late.add(turn.sequence);
    }
    let may_begin = state.may_begin();
    let (again, next) = state.dispatch.settled(turn.key, turn.sequence, may_begin);
    let fewer_wait = again.is_some() || next.is_some();
    let begun = inbox.begin(next);
    order.tell(&state);
    let left = state.keep_spare(turn);
    drop(state);
    drop(left);
    inbox.wake(begun);
    if was_settling {
        // After it has ceased to count as held.
        order.ends_settling();
    }
    // Another delivery of it is settled with it.
    again.into_iter().for_each(|mut again| again.leaves());
    if fewer_wait {
        inbox.has_room(inbox.len());
    }
}

impl<D> Drop for Turn<D> {
    fn drop(&mut self) {
        if self.is_place {
            return self.inbox.upgrade().iter().for_each(|inbox| inbox.place_is_free(self.key));
        }
        let settling = self.settling.take();
        let was_settling = settling.is_some();
        let inbox = if self.is_over { settling } else { settling.or_else(|| self.inbox.upgrade()) };
        let Some(order) = inbox.as_ref().and_then(|inbox| inbox.order.as_ref()) else { return };
        if !self.is_over {
            order.gone(self.key, self.sequence);
        }
        // After it has ceased to count as held.
        if was_settling {
            order.ends_settling();
        }
    }
}
