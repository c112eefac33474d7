//! What this host knows of a message's earlier attempts and the server does not.
//!
//! The server counts deliveries, whatever became of them. Attempts that ended through no fault of the handler are
//! remembered here and subtracted. Also remembered is that a message has to become a dead letter, and that its dead
//! letter is stored already. The memory is bounded: for a message that is forgotten the server's count is used.
//!
//! A message has a new life where its consumer was reset or made anew: the server counts from 1 again, and what was
//! decided in an earlier life does not hold. A host is given the deliveries of a life in their order, so what it
//! remembers when the first of them comes is of an earlier life, and is forgotten. That is done when the delivery comes
//! and not when it is handled, for a first delivery may be handled beside a second one of its life.
//!
//! What ended so at a host that has stopped is known by what that one has written at the consumer ([`Excused`]), as far
//! as it was read: when the workload begins, and before a message becomes a dead letter because of its attempts.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::Retry;
use crate::contract::Author;
use crate::contract::{Death, Delivery};
use crate::delivery::triage;
use crate::ports::{Excused, Kept};

/// How many messages are remembered at most.
const MOST: usize = 8_192;

/// What is to be done about a delivery instead of calling its handler.
#[derive(Debug)]
pub(crate) enum Untried {
    /// Store the message as a dead letter. The author is the handler of its last attempt, if this host made that
    /// attempt.
    DeadLetter(Death, Option<Author>),
    /// Term the message: its dead letter is stored already, and an earlier term was lost.
    Term(Kept),
}

#[derive(Debug, Default, Clone)]
struct MessagePast {
    /// Attempts that ended through no fault of the handler.
    excused: u32,
    /// Attempts that this host made by itself before it gave the message back, which the server does not count.
    uncounted: u32,
    /// Of the excused ones, those of which the next hosts are being told.
    telling: u32,
    /// Its last call failed, and it was the only delivery of that.
    suspect: bool,
    fate: Fate,
}

#[derive(Debug, Default, Clone)]
enum Fate {
    #[default]
    Open,
    Dying(Box<(Death, Author)>),
    Kept(Kept),
}

/// Names a message by its position in the stream and the time when it was stored. The time tells apart messages of a
/// stream that was made anew.
pub(super) type MessageKey = (u64, u64);

pub(super) fn key(delivery: &Delivery) -> MessageKey {
    (delivery.stream_sequence, delivery.published_at_ms)
}

/// What one workload remembers of its messages.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    memory: Mutex<RecentMessages>,
    /// Whether any message is remembered: where none is, a first delivery locks nothing.
    remembers: AtomicBool,
    /// Held by who asks what stands at the consumer, so that others wait for the same answer.
    asking: tokio::sync::Mutex<()>,
}

/// Messages in two halves: when the newer half is full, the older half is forgotten.
#[derive(Debug, Default)]
struct RecentMessages {
    new: HashMap<MessageKey, MessagePast>,
    old: HashMap<MessageKey, MessagePast>,
    /// What stands at the consumer, and when it was last asked for that.
    told: Excused,
    asked: Option<Instant>,
}

impl RecentMessages {
    fn get(&self, key: MessageKey) -> Option<&MessagePast> {
        self.new.get(&key).or_else(|| self.old.get(&key))
    }

    fn change(&mut self, key: MessageKey, change: impl FnOnce(&mut MessagePast)) {
        let mut past = self.new.remove(&key).or_else(|| self.old.remove(&key)).unwrap_or_default();
        change(&mut past);
        if self.new.len() >= MOST / 2 {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(key, past);
    }

    fn excused(&self, key: MessageKey) -> u32 {
        self.get(key).map_or(0, |past| past.excused).saturating_add(self.told.of(key.0))
    }

    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.old.is_empty()
    }

    fn forget(&mut self, key: MessageKey) {
        if self.new.remove(&key).is_none() {
            self.old.remove(&key);
        }
    }
}

impl Attempts {
    /// Changes what is remembered of a message.
    fn change(&self, key: MessageKey, change: impl FnOnce(&mut MessagePast)) {
        let mut memory = self.memory.lock();
        memory.change(key, change);
        self.remembers.store(true, Relaxed);
    }

    /// Forgets what is remembered of a message.
    fn forget(&self, key: MessageKey) {
        if !self.remembers.load(Relaxed) {
            return;
        }
        let mut memory = self.memory.lock();
        memory.forget(key);
        self.remembers.store(!memory.is_empty(), Relaxed);
    }

    /// A delivery comes, or is to be tried again by this host. The first of a message begins a new life of it. Returns
    /// whether the message was to blame for a call that failed: then it must not be in a batch with others.
    pub(super) fn comes(&self, delivery: &Delivery) -> bool {
        if delivery.attempt <= 1 {
            self.forget(key(delivery));
            return false;
        }
        self.memory.lock().get(key(delivery)).is_some_and(|past| past.suspect)
    }

    /// The attempts that the message has had, including this one: the server's count without those that ended through
    /// no fault of the handler.
    pub(crate) fn used(&self, delivery: &Delivery) -> u32 {
        // A first delivery has no earlier attempts.
        if delivery.attempt <= 1 {
            return delivery.attempt;
        }
        let excused = self.memory.lock().excused(key(delivery));
        delivery.attempt.saturating_sub(excused).max(1)
    }

    /// What to do instead of calling the handler; `None` if the handler has to be called.
    pub(crate) fn untried(&self, delivery: &Delivery, retry: &Retry) -> Option<Untried> {
        if delivery.attempt <= 1 {
            return None;
        }
        let fate = self.memory.lock().get(key(delivery)).map(|past| past.fate.clone()).unwrap_or_default();
        match fate {
            Fate::Kept(kept) => Some(Untried::Term(kept)),
            Fate::Dying(dying) => Some(Untried::DeadLetter(dying.0, Some(dying.1))),
            Fate::Open => triage(self.used(delivery), retry).map(|death| Untried::DeadLetter(death, None)),
        }
    }

    /// Remembers that this attempt ended through no fault of the handler.
    pub(crate) fn excuse(&self, delivery: &Delivery) {
        self.change(key(delivery), |past| past.excused = past.excused.saturating_add(1));
    }

    /// The same of a delivery that is given back, which the server has delivered so often: less than its attempts where
    /// this host has tried it again by itself.
    pub(crate) fn give_back(&self, delivery: &Delivery, server_attempt: u32) {
        self.excuse(delivery);
        let uncounted = delivery.attempt.saturating_sub(server_attempt);
        self.change(key(delivery), |past| past.uncounted = uncounted);
    }

    /// Takes what stands at the consumer.
    pub(crate) fn learn(&self, told: Excused) {
        let mut memory = self.memory.lock();
        memory.told = told;
        memory.asked = Some(Instant::now());
    }

    /// Learns what stands at the consumer, before a message of which a delivery came at `since` becomes a dead letter
    /// because of its attempts. What was asked for since then is new enough, so that many such messages cost few
    /// requests.
    pub(crate) async fn refresh(&self, since: Instant, ask: impl Future<Output = Option<Excused>>) {
        let _asking = self.asking.lock().await;
        if self.memory.lock().asked.is_some_and(|asked| asked >= since) {
            return;
        }
        let began = Instant::now();
        let told = ask.await;
        let mut memory = self.memory.lock();
        memory.asked = Some(began);
        if let Some(told) = told {
            memory.told = told;
        }
    }

    /// The attempts that do not count and do not stand at the consumer, by the message's position in the stream.
    pub(crate) fn untold(&self) -> BTreeMap<u64, u32> {
        let mut memory = self.memory.lock();
        let RecentMessages { new, old, .. } = &mut *memory;
        let open = old.iter_mut().chain(new).filter(|(_, past)| !matches!(past.fate, Fate::Kept(_)));
        let counts = open.map(|(key, past)| {
            past.telling = past.excused;
            (key.0, past.excused.saturating_sub(past.uncounted))
        });
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// These stand at the consumer from now on: what [`Attempts::untold`] gave is told. More may have come meanwhile.
    pub(crate) fn told(&self, told: Excused) {
        let mut memory = self.memory.lock();
        let RecentMessages { new, old, .. } = &mut *memory;
        for (_, past) in old.iter_mut().chain(new).filter(|(key, _)| told.of(key.0) > 0) {
            past.excused = past.excused.saturating_sub(std::mem::take(&mut past.telling));
            if past.excused == 0 {
                past.uncounted = 0;
            }
        }
        memory.told = told;
    }

    /// Remembers that the message is to blame for a call that failed: it must not be in a batch with others again.
    pub(super) fn suspect(&self, key: MessageKey) {
        self.change(key, |past| past.suspect = true);
    }

    /// Remembers that the message has to become a dead letter. Returns what is kept if one is stored already, for
    /// another delivery of the message that was handled at the same time: then there is no second one.
    pub(crate) fn dying(&self, delivery: &Delivery, death: &Death, author: &Author) -> Option<Kept> {
        let mut stored = None;
        self.change(key(delivery), |past| match &past.fate {
            Fate::Kept(kept) => stored = Some(kept.clone()),
            _ => past.fate = Fate::Dying(Box::new((death.clone(), author.clone()))),
        });
        stored
    }

    /// Forgets that the message's dead letter was stored, for it is not there any more.
    pub(crate) fn letter_is_gone(&self, delivery: &Delivery) {
        self.forget(key(delivery));
    }

    /// Remembers that the message's dead letter is stored.
    pub(crate) fn kept(&self, delivery: &Delivery, kept: Kept) {
        self.change(key(delivery), |past| past.fate = Fate::Kept(kept));
    }

    /// Forgets a message that is settled for good.
    pub(crate) fn done(&self, delivery: &Delivery) {
        if delivery.attempt > 1 {
            self.forget(key(delivery));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use std::time::Duration;

    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::contract::Cause;
    use crate::delivery::test_delivery::TestDelivery;

    fn delivery(stream_sequence: u64, attempt: u32) -> Delivery {
        Delivery { stream_sequence, attempt, ..Delivery::default() }
    }

    fn retry() -> Retry {
        Retry { max_attempts: 3, backoff: vec![Duration::ZERO] }
    }

    #[test]
    fn only_what_was_no_fault_of_the_handler_is_subtracted() {
        let attempts = Attempts::default();
        attempts.excuse(&delivery(7, 1));
        attempts.excuse(&delivery(7, 3));
        assert_eq!([1, 2, 3, 4, 9].map(|attempt| attempts.used(&delivery(7, attempt))), [1, 1, 1, 2, 7]);
        assert_eq!(attempts.used(&delivery(8, 4)), 4);
        let anew = Delivery { published_at_ms: 1, ..delivery(7, 4) };
        assert_eq!(attempts.used(&anew), 4);
        attempts.done(&delivery(7, 4));
        assert_eq!(attempts.used(&delivery(7, 4)), 4);
    }

    #[test]
    fn a_delivery_that_never_finished_is_not_tried_and_one_that_an_outage_ended_is() {
        let attempts = Attempts::default();
        assert!(attempts.untried(&delivery(7, 9), &retry()).is_none());
        let Some(Untried::DeadLetter(death, None)) = attempts.untried(&delivery(7, 10), &retry()) else {
            panic!("it is tried")
        };
        assert_eq!(death.cause, Cause::Exhausted);
        for attempt in 1..100 {
            attempts.excuse(&delivery(7, attempt));
        }
        assert!(attempts.untried(&delivery(7, 100), &retry()).is_none());
        assert_eq!(attempts.used(&delivery(7, 100)), 1);
    }

    fn stands(text: &str) -> Excused {
        Excused::read(text, "made", 0)
    }

    #[tokio::test]
    async fn what_was_given_back_is_told_once_and_does_not_count_at_the_next_host() {
        let (first, next) = (Attempts::default(), Attempts::default());
        first.learn(stands("made 7:2"));
        first.give_back(&delivery(7, 3), 3);
        first.give_back(&delivery(8, 1), 1);
        first.kept(&delivery(9, 1), kept().await);
        first.excuse(&delivery(9, 1));
        let untold = first.untold();
        assert_eq!(untold, BTreeMap::from([(7, 1), (8, 1)]));
        let told = stands("made 7:2").and(&untold);
        next.learn(told.clone());
        first.told(told);
        for attempts in [&first, &next] {
            assert!(attempts.untold().is_empty());
            let used = [(7, 4), (7, 5), (8, 2), (8, 3)].map(|(of, attempt)| attempts.used(&delivery(of, attempt)));
            assert_eq!(used, [1, 2, 1, 2]);
        }
        assert!(next.untried(&delivery(7, 12), &retry()).is_none());
        assert!(next.untried(&delivery(7, 13), &retry()).is_some());
    }

    #[test]
    fn what_is_given_back_while_the_next_hosts_are_told_is_told_after_that() {
        let attempts = Attempts::default();
        attempts.give_back(&delivery(7, 1), 1);
        let untold = attempts.untold();
        attempts.give_back(&delivery(7, 2), 2);
        attempts.told(stands("made").and(&untold));
        assert_eq!(attempts.untold(), BTreeMap::from([(7, 1)]));
        assert_eq!(attempts.used(&delivery(7, 3)), 1);
    }

    #[test]
    fn what_a_host_has_tried_again_by_itself_takes_nothing_off_the_servers_count() {
        let attempts = Attempts::default();
        // Two failures, an outage, and then it is given back: the server has delivered it once.
        attempts.excuse(&delivery(7, 3));
        attempts.give_back(&delivery(7, 4), 1);
        assert!(attempts.untold().is_empty());
        // An outage alone.
        attempts.excuse(&delivery(8, 1));
        attempts.give_back(&delivery(8, 2), 1);
        assert_eq!(attempts.untold(), BTreeMap::from([(8, 1)]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_stands_at_the_consumer_is_asked_once_for_all_deliveries_that_came_before() {
        let (attempts, asked, first) = (Attempts::default(), AtomicUsize::new(0), Instant::now());
        let ask = async |since: Instant, text: &str| {
            let asking = async {
                tokio::time::sleep(Duration::from_millis(3)).await;
                asked.fetch_add(1, Relaxed);
                Some(stands(text))
            };
            attempts.refresh(since, asking).await;
            attempts.used(&delivery(7, 5))
        };
        // Who comes while somebody asks decides by that answer too, and not by what was known before.
        let both = tokio::join!(ask(first, "made 7:1"), ask(first, "made 7:3"));
        assert_eq!((both, asked.load(Relaxed)), ((4, 4), 1));
        let second = Instant::now();
        assert_eq!((ask(first, "made 7:2").await, asked.load(Relaxed)), (4, 1));
        assert_eq!((ask(second, "made 7:2").await, asked.load(Relaxed)), (3, 2));
        // Where there is no answer, what is known counts.
        tokio::time::advance(Duration::from_millis(1)).await;
        attempts.refresh(Instant::now(), std::future::ready(None)).await;
        assert_eq!(attempts.used(&delivery(7, 5)), 3);
    }

    #[test]
    fn a_death_that_was_decided_is_not_decided_again_and_a_letter_is_kept_once() {
        let attempts = Attempts::default();
        let death = Death::new(Cause::Rejected, "no good".into());
        let author = Author { plugin: "receipts".into(), generation: "2ea2".into() };
        assert!(attempts.dying(&delivery(7, 1), &death, &author).is_none());
        let Some(Untried::DeadLetter(again, by)) = attempts.untried(&delivery(7, 2), &retry()) else {
            panic!("it is tried")
        };
        assert_eq!((again, by), (death, Some(author)));
    }

    async fn kept() -> Kept {
        let (death, author) = (
            Death::new(Cause::Rejected, "no good".into()),
            Author { plugin: "receipts".into(), generation: "2ea2".into() },
        );
        let Ok(kept) = Kept::letter(&TestDelivery::default(), &death, &author).await else { panic!("it is kept") };
        kept
    }

    #[tokio::test]
    async fn a_message_that_is_delivered_anew_from_the_first_attempt_has_no_past() {
        let attempts = Attempts::default();
        attempts.kept(&delivery(7, 2), kept().await);
        attempts.kept(&delivery(8, 1), kept().await);
        attempts.suspect(key(&delivery(7, 2)));
        attempts.excuse(&delivery(7, 2));
        assert!(attempts.comes(&delivery(7, 3)));
        // The consumer was reset, or made anew.
        assert!(!attempts.comes(&delivery(7, 1)));
        assert!(attempts.untried(&delivery(7, 2), &retry()).is_none());
        assert_eq!((attempts.used(&delivery(7, 2)), attempts.comes(&delivery(7, 2))), (2, false));
        assert!(matches!(attempts.untried(&delivery(8, 2), &retry()), Some(Untried::Term(_))));
    }

    #[tokio::test]
    async fn a_first_delivery_that_is_handled_beside_a_second_one_makes_no_second_letter() {
        let (attempts, death) = (Attempts::default(), Death::new(Cause::Rejected, "no good".into()));
        let author = Author { plugin: "receipts".into(), generation: "2ea2".into() };
        // Its ack wait ended while it was handled.
        attempts.comes(&delivery(7, 1));
        attempts.comes(&delivery(7, 2));
        attempts.kept(&delivery(7, 2), kept().await);
        assert!(attempts.dying(&delivery(7, 1), &death, &author).is_some());
    }

    #[tokio::test]
    async fn a_first_delivery_locks_nothing_where_nothing_is_remembered() {
        let attempts = Attempts::default();
        let memory = attempts.memory.lock();
        attempts.comes(&delivery(7, 1));
        drop(memory);
        attempts.excuse(&delivery(7, 2));
        assert!(attempts.remembers.load(Relaxed));
        attempts.done(&delivery(7, 3));
        let memory = attempts.memory.lock();
        attempts.comes(&delivery(7, 1));
        drop(memory);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_newest_is() {
        let attempts = Attempts::default();
        for sequence in 0..20 * MOST as u64 {
            attempts.excuse(&delivery(sequence, 1));
        }
        let newest = 20 * MOST as u64 - 1;
        assert_eq!((attempts.used(&delivery(newest, 2)), attempts.used(&delivery(0, 2))), (1, 2));
        let memory = attempts.memory.lock();
        assert!(memory.new.len() + memory.old.len() <= MOST);
    }
}
