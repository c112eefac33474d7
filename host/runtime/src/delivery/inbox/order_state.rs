//! What is held of an order, and whether all of it is here.

use std::collections::HashSet;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use super::turn::Turn;
use super::{Arc, Held, Inbox, Instant, Mutex, Notify, Waiting};
use crate::delivery::consumer_settings::Effective;
use crate::delivery::order::seen::KeysSeen;
use crate::delivery::order::{Asked, Completeness, Dispatch, KeyHash, KeyHasher, Limits, SettledLate};

/// How many turns that are over are kept for other messages: to make each anew, and to free it on another thread, would
/// be a good part of what an order costs a message.
const SPARE: usize = 1_024;

/// What a workload that keeps an order has beside its queue.
#[derive(Debug)]
pub(crate) struct Ordered<D> {
    pub(super) hasher: KeyHasher,
    limits: Limits,
    pub(super) consumer: Arc<Effective>,
    pub(super) state: Mutex<OrderState<D>>,
    /// Messages that were begun to be settled for good, ever.
    pub(super) settled: AtomicU64,
    /// Those among them that still count as held.
    settling: AtomicU64,
    pub(super) changed: Notify,
    /// Whether all deliveries are here, as was told last.
    is_complete: AtomicBool,
    pub(super) seen: Arc<KeysSeen>,
    pub(super) inbox: Weak<Inbox<D>>,
}

#[derive(Debug)]
pub(super) struct OrderState<D> {
    pub(super) dispatch: Dispatch<Waiting<D>>,
    pub(super) here: Completeness,
    pub(super) late: SettledLate,
    /// Deliveries of messages that were settled late, to be given back.
    pub(super) again: Vec<Waiting<D>>,
    /// Messages that the server has delivered more than once. Some may not be held any more.
    redelivered: HashSet<(KeyHash, u64)>,
    /// The server is to be asked at once what is unsettled.
    pub(super) ask: bool,
    /// All that waits was given back, and nothing waits any more.
    pub(super) ended: bool,
    /// Turns that are over, for other messages. Each keeps its place: whoever waits for one has it boxed.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Turn<D>>>,
}

impl<D> OrderState<D> {
    pub(super) fn may_begin(&self) -> bool {
        self.here.is_complete() && !self.ended
    }

    /// A message came with this attempt, as the server counts them.
    pub(super) fn came(&mut self, key: KeyHash, sequence: u64, attempt: u32) {
        if attempt <= 1 {
            // Most often there are none, and this is asked with each message.
            if !self.redelivered.is_empty() {
                self.redelivered.remove(&(key, sequence));
            }
            return;
        }
        self.redelivered.insert((key, sequence));
        if self.redelivered.len() > 2 * self.dispatch.held() + SPARE {
            self.forget_redelivered();
        }
    }

    fn forget_redelivered(&mut self) {
        let Self { redelivered, dispatch, .. } = self;
        redelivered.retain(|(key, sequence)| dispatch.holds(*key, *sequence));
    }

    /// Keeps a turn that is over. It is returned if there are enough.
    pub(super) fn keep_spare(&mut self, turn: Box<Turn<D>>) -> Option<Box<Turn<D>>> {
        if self.spare.len() >= SPARE {
            return Some(turn);
        }
        self.spare.push(turn);
        None
    }
}

impl<D> Ordered<D> {
    pub(super) fn new(hasher: KeyHasher, limits: Limits, consumer: Arc<Effective>, inbox: Weak<Inbox<D>>) -> Self {
        let state = OrderState {
            dispatch: Dispatch::default(),
            here: Completeness::new(Instant::now()),
            late: SettledLate::default(),
            again: Vec::new(),
            redelivered: HashSet::new(),
            ask: true,
            ended: false,
            spare: Vec::new(),
        };
        Self {
            hasher,
            limits,
            consumer,
            state: Mutex::new(state),
            settled: AtomicU64::new(0),
            settling: AtomicU64::new(0),
            changed: Notify::new(),
            is_complete: AtomicBool::new(false),
            seen: Arc::default(),
            inbox,
        }
    }

    /// The turn of a message that came then.
    pub(super) fn turn(&self, state: &mut OrderState<D>, key: KeyHash, sequence: u64, came: Instant) -> Box<Turn<D>> {
        match state.spare.pop() {
            Some(mut turn) => {
                turn.becomes(key, sequence, came);
                turn
            }
            None => Box::new(Turn::new(self.inbox.clone(), key, sequence, came)),
        }
    }

    /// Notes what can be seen without the lock. It is called with each change of what is held and what is here.
    pub(super) fn tell(&self, state: &OrderState<D>) {
        self.seen.set(state.dispatch.keys(), state.dispatch.waiting());
        self.is_complete.store(state.here.is_complete(), Relaxed);
    }

    /// Whether all deliveries are here. When they are not any more, somebody may see it a moment later; how many are
    /// missing is known even later, and then the fetching task is woken.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete.load(Relaxed)
    }

    /// What may wait: the consumer may let fewer be unsettled than the configuration says.
    pub(super) fn limits(&self) -> Limits {
        let most = self.consumer.max_ack_pending().unwrap_or(usize::MAX);
        Limits { messages: self.limits.messages.min(most), ..self.limits }
    }

    /// A delivery is elsewhere.
    fn lost(&self, state: &mut OrderState<D>) {
        if state.here.is_complete() && !state.ended {
            self.seen.missed();
            state.ask = true;
            state.here.lost(Instant::now());
            self.changed.notify_one();
        }
    }

    /// Another host is given the messages from now on. What it does with them is not known here.
    pub(super) fn unpinned(&self) {
        let mut state = self.state.lock();
        state.here.unknown(Instant::now());
        state.ask = true;
        self.tell(&state);
        drop(state);
        self.changed.notify_one();
    }

    /// A delivery of which the server has not heard for so long that another host may have it is given back.
    pub(super) fn lapsed(&self, mut waiting: Waiting<D>)
    where
        D: Held,
    {
        // It is elsewhere from now on.
        drop(waiting.turn.take());
        self.state.lock().again.push(waiting);
        self.changed.notify_one();
    }

    /// Whether what is to be tried again may wait here, and not with the next host.
    pub(super) fn is_here(&self, state: &OrderState<D>) -> bool {
        !state.ended && !self.consumer.is_standby()
    }

    /// Whether a message that came then is settled so late that the server may have delivered it again meanwhile.
    pub(super) fn is_late(&self, came: Instant) -> bool {
        came.elapsed() * 2 > self.consumer.ack_wait()
    }

    /// A message is about to be settled for good.
    pub(super) fn begins_settling(&self) {
        // In this order, so that one that is not in the second is in the first for whoever reads the second first.
        self.settling.fetch_add(1, SeqCst);
        self.settled.fetch_add(1, SeqCst);
    }

    /// It is settled, and does not count as held any more.
    pub(super) fn ends_settling(&self) {
        self.settling.fetch_sub(1, SeqCst);
    }

    /// What is held for sure: the server may have heard already of what is being settled.
    pub(super) fn asked(&self, state: &mut OrderState<D>) -> Asked {
        let settled = self.settled.load(SeqCst);
        let held = (state.dispatch.held() as u64).saturating_sub(self.settling.load(SeqCst));
        state.forget_redelivered();
        Asked { held, redelivered: state.redelivered.len() as u64, settled }
    }

    /// How many messages in handlers may be settled by another host, for this one stood still: none of them may stand
    /// for one that is elsewhere.
    pub(super) fn in_doubt(&self, state: &OrderState<D>) -> u64 {
        self.consumer.lapsed(|sequence| state.dispatch.has_begun(sequence))
    }

    pub(super) fn gone(&self, key: KeyHash, sequence: u64) {
        let mut state = self.state.lock();
        state.dispatch.gone(key, sequence);
        self.lost(&mut state);
        self.tell(&state);
    }

    /// How many more to ask for while deliveries are elsewhere, and of how many bytes together; `None` if none are.
    pub(super) fn missing(&self, asked: usize) -> Option<Option<(usize, usize)>> {
        let state = self.state.lock();
        let since = state.here.missing_for(Instant::now()).filter(|_| !self.consumer.is_standby())?;
        let missing = state.here.missing(state.dispatch.held() as u64).unwrap_or(0);
        let missing = usize::try_from(missing).unwrap_or(usize::MAX).saturating_sub(asked);
        let room = state.dispatch.room(self.limits());
        // New ones come as well, as long as what is missing is not due. When it is, it comes before all new ones.
        let may = room.messages > asked && room.bytes > 0 || since > self.consumer.ack_wait();
        Some((missing > 0 && may).then_some((missing, self.limits.bytes)))
    }

    /// What of this may be asked for, so that all of it may wait.
    pub(super) fn fits(&self, wanted: (usize, usize), asked: usize) -> Option<(usize, usize)> {
        let limits = self.limits();
        let room = self.state.lock().dispatch.room(limits);
        limits.fit(room, wanted, asked)
    }

    /// All that waits must be given back, and nothing waits from now on.
    pub(super) fn end(&self) -> Vec<Waiting<D>> {
        let mut state = self.state.lock();
        state.ended = true;
        self.take_waiting(&mut state)
    }

    fn take_waiting(&self, state: &mut OrderState<D>) -> Vec<Waiting<D>> {
        let mut taken = std::mem::take(&mut state.again);
        taken.extend(state.dispatch.take_waiting());
        taken.iter_mut().for_each(Waiting::leaves);
        self.tell(state);
        taken
    }

    /// Whether deliveries wait.
    pub(super) fn waits(&self) -> bool {
        let state = self.state.lock();
        state.dispatch.waiting() > 0 || !state.again.is_empty()
    }
}

impl<D: Held> Ordered<D> {
    /// Takes what matches of what waits, to be given back. It is elsewhere from then on.
    pub(super) fn take_those(&self, these: impl Fn(&D) -> bool) -> Vec<Waiting<D>> {
        let mut state = self.state.lock();
        let (taken, left): (Vec<_>, _) =
            state.dispatch.take_waiting().into_iter().partition(|waiting| these(&waiting.held));
        for waiting in left {
            let Some(turn) = &waiting.turn else { continue };
            let (key, sequence, bytes) = (turn.key, turn.sequence, waiting.held.delivery().size());
            // Nothing begins, so it waits again.
            drop(state.dispatch.arrive(key, sequence, bytes, waiting, false));
        }
        if !taken.is_empty() {
            self.lost(&mut state);
        }
        self.tell(&state);
        drop(state);
        let mut taken = taken;
        taken.iter_mut().for_each(Waiting::leaves);
        taken
    }

    /// The announcements that are due of what waits.
    pub(super) fn announcements(&self, quarter: Duration) -> Vec<impl Future<Output = ()> + Send + use<D>> {
        let mut state = self.state.lock();
        let stale = state.dispatch.iter_mut().filter(|waiting| waiting.since.elapsed() >= quarter);
        let stale = stale.filter(|waiting| self.consumer.may_announce(waiting.since));
        stale
            .map(|waiting| {
                waiting.since = Instant::now();
                waiting.held.in_progress()
            })
            .collect()
    }
}
