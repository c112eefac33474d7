//! A model of JetStream: a stream, a pull consumer with ack wait, the streams of publications and dead letters.
//!
//! What the two sides say takes a millisecond to the other, and is lost if the connection is cut meanwhile. As in the
//! server: an ack settles whichever delivery of its message; a nak with a delay, and what waits for its redelivery,
//! count as pending; redeliveries go first and `max_ack_pending` does not hold them up; a lost connection loses its
//! pulls.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::ledger::Ledger;
use super::said::{ClientMessage, ServerMessage};
use super::step::{ModelSetup, Script, Store};
use crate::delivery::order::Unsettled;

pub(super) const LATENCY: Duration = Duration::from_millis(1);
/// For how long a message id counts.
const DUPLICATES: Duration = Duration::from_secs(120);

enum WireMessage {
    Up(usize, ClientMessage),
    Down(usize, ServerMessage),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageState {
    /// Never delivered.
    New,
    /// The server waits for a settlement, or for the delay of a nak to end.
    Out {
        until: Instant,
        delayed: bool,
    },
    /// To be delivered again.
    Again,
    Acked,
    Termed,
}

pub(super) struct ModelMessage {
    pub(super) script: Script,
    pub(super) attempts: u32,
    pub(super) place: MessageState,
}

struct Request {
    host: usize,
    left: usize,
    until: Instant,
}

/// A host's end of the connection.
#[derive(Default)]
pub(super) struct HostConnection {
    pub(super) incoming: VecDeque<ServerMessage>,
    /// Said while there was no connection: the client library keeps it.
    unsent: Vec<ClientMessage>,
    pub(super) arrived: Arc<Notify>,
    pub(super) gone: bool,
}

pub(super) struct ServerState {
    pub(super) setup: ModelSetup,
    pub(super) messages: Vec<ModelMessage>,
    again: VecDeque<u64>,
    pulls: VecDeque<Request>,
    wire: BTreeMap<(Instant, u64), WireMessage>,
    said: u64,
    /// Deliveries, of whichever message.
    delivered: u64,
    pub(super) lines: Vec<HostConnection>,
    pub(super) is_up: bool,
    /// How often the connection came up.
    pub(super) connects: u64,
    pub(super) up_since: Instant,
    pub(super) publications: Store,
    pub(super) dead_letters: Store,
    ids: BTreeMap<String, Instant>,
    pub(super) ledger: Ledger,
    /// What shall happen as the next delivery comes to a host.
    pub(super) at_next: Option<Box<dyn FnOnce() + Send>>,
}

/// The server. Clones are the same.
#[derive(Clone)]
pub(super) struct ModelServer {
    state: Arc<Mutex<ServerState>>,
    changed: Arc<Notify>,
}

impl ModelServer {
    pub(super) fn new(setup: ModelSetup) -> Self {
        let state = ServerState {
            setup,
            messages: Vec::new(),
            again: VecDeque::new(),
            pulls: VecDeque::new(),
            wire: BTreeMap::new(),
            said: 0,
            delivered: 0,
            lines: Vec::new(),
            is_up: true,
            connects: 1,
            up_since: Instant::now(),
            publications: Store::Works,
            dead_letters: Store::Works,
            ids: BTreeMap::new(),
            ledger: Ledger::new(setup),
            at_next: None,
        };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::new(Notify::new()) }
    }

    /// Looks at the state, or changes it; the server then does what follows of that.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut ServerState) -> T) -> T {
        let done = f(&mut self.state.lock());
        self.changed.notify_one();
        done
    }

    /// The same for a host, unless it is lost: of that, what runs on for a moment counts no more.
    pub(super) fn of(&self, host: usize, f: impl FnOnce(&mut ServerState)) {
        self.with(|state| {
            if !state.lines[host].gone {
                f(state);
            }
        });
    }

    /// Does what is due, for ever.
    pub(super) async fn run(self) {
        loop {
            let next = {
                let mut state = self.state.lock();
                state.work();
                state.next_due()
            };
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }
}

impl ServerState {
    /// Adds a host and returns its number.
    pub(super) fn join(&mut self) -> usize {
        self.lines.push(HostConnection::default());
        self.lines.len() - 1
    }

    pub(super) fn publish(&mut self, script: Script) {
        self.ledger.keys.push(script.key);
        self.messages.push(ModelMessage { script, attempts: 0, place: MessageState::New });
    }

    pub(super) fn message(&mut self, sequence: u64) -> &mut ModelMessage {
        &mut self.messages[usize::try_from(sequence).unwrap() - 1]
    }

    /// What the consumer says of deliveries that are not settled.
    pub(super) fn unsettled(&self) -> Unsettled {
        let pending = |message: &&ModelMessage| matches!(message.place, MessageState::Out { .. } | MessageState::Again);
        let pending: Vec<_> = self.messages.iter().filter(pending).collect();
        let redelivered = pending.iter().filter(|message| message.attempts > 1).count() as u64;
        Unsettled { count: pending.len() as u64, redelivered, last: self.delivered }
    }

    /// An earlier message of the same key that no host has settled for good, if the order is kept.
    pub(super) fn before(&self, sequence: u64) -> Option<u64> {
        self.setup.order?;
        let key = |sequence: u64| self.messages[usize::try_from(sequence).unwrap() - 1].script.key;
        (1..sequence).find(|earlier| key(*earlier) == key(sequence) && !self.ledger.done.contains(earlier))
    }

    /// Sends what a host says, or has its client keep it.
    pub(super) fn say(&mut self, host: usize, say: ClientMessage) {
        if self.is_up { self.send(WireMessage::Up(host, say)) } else { self.lines[host].unsent.push(say) }
    }

    fn send(&mut self, wire: WireMessage) {
        self.said += 1;
        self.wire.insert((Instant::now() + LATENCY, self.said), wire);
    }

    pub(super) fn cut(&mut self) {
        self.is_up = false;
        self.wire.clear();
        self.pulls.clear();
    }

    pub(super) fn mend(&mut self) {
        self.is_up = true;
        self.connects += 1;
        self.up_since = Instant::now();
        for host in 0..self.lines.len() {
            for say in std::mem::take(&mut self.lines[host].unsent) {
                self.send(WireMessage::Up(host, say));
            }
            self.lines[host].arrived.notify_one();
        }
    }

    /// A host that is gone leaves its connection, and with it its pulls. What it said last still comes.
    pub(super) fn leave(&mut self, host: usize) {
        self.lines[host].gone = true;
        self.lines[host].unsent.clear();
        self.pulls.retain(|pull| pull.host != host);
    }

    fn work(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.wire.first_entry().filter(|first| first.key().0 <= now) {
            match first.remove() {
                WireMessage::Up(host, say) => self.hear(host, say),
                WireMessage::Down(host, answer) => self.arrive(host, answer),
            }
        }
        self.expire(now);
        self.deliver();
    }

    fn next_due(&self) -> Option<Instant> {
        let wire = self.wire.keys().next().map(|(at, _)| *at);
        let waits = self.messages.iter().filter_map(|message| match message.place {
            MessageState::Out { until, .. } => Some(until),
            _ => None,
        });
        wire.into_iter().chain(waits).chain(self.pulls.iter().map(|pull| pull.until)).min()
    }

    fn hear(&mut self, host: usize, say: ClientMessage) {
        let (now, ack_wait) = (Instant::now(), self.setup.ack_wait);
        let settle = |state: &mut Self, sequence: u64, place: MessageState| {
            if matches!(state.message(sequence).place, MessageState::Out { .. } | MessageState::Again) {
                state.again.retain(|waiting| *waiting != sequence);
                state.message(sequence).place = place;
                if place == MessageState::Again {
                    state.again.push_back(sequence);
                }
            }
        };
        match say {
            ClientMessage::Pull { count, expires } if !self.lines[host].gone => {
                self.pulls.push_back(Request { host, left: count, until: now + expires });
            }
            ClientMessage::Pull { .. } => {}
            ClientMessage::Ack(sequence) => settle(self, sequence, MessageState::Acked),
            ClientMessage::Term(sequence) => settle(self, sequence, MessageState::Termed),
            ClientMessage::Nak(sequence, Duration::ZERO) => settle(self, sequence, MessageState::Again),
            ClientMessage::Nak(sequence, delay) => {
                settle(self, sequence, MessageState::Out { until: now + delay, delayed: true })
            }
            ClientMessage::InProgress(sequence) => {
                if let MessageState::Out { until, delayed: false } = &mut self.message(sequence).place {
                    *until = now + ack_wait;
                }
            }
            ClientMessage::Publication { place, id, content, answer } => {
                if self.keep(host, self.publications, id, answer) {
                    self.ledger.stored(place, &content);
                }
            }
            ClientMessage::DeadLetter(sequence, answer) => {
                if self.keep(host, self.dead_letters, format!("dead:{sequence}"), answer) {
                    *self.ledger.dead_letters.entry(sequence).or_default() += 1;
                }
            }
        }
    }

    /// Whether a store keeps this now, and not already.
    fn keep(&mut self, host: usize, store: Store, id: String, answer: oneshot::Sender<bool>) -> bool {
        let now = Instant::now();
        let stores = matches!(store, Store::Works | Store::Mute);
        let is_new = self.ids.get(&id).is_none_or(|stored| *stored + DUPLICATES <= now);
        if stores && is_new {
            self.ids.insert(id, now);
        }
        match store {
            Store::Works | Store::Refuses => self.send(WireMessage::Down(host, ServerMessage::Stored(answer, stores))),
            // It is never heard of again; the client waits no longer than it does for any answer.
            Store::Silent | Store::Mute => {}
        }
        stores && is_new
    }

    fn arrive(&mut self, host: usize, answer: ServerMessage) {
        if self.lines[host].gone {
            return;
        }
        match answer {
            ServerMessage::Stored(waits, stored) => {
                // Who waited may have given up.
                let _ = waits.send(stored);
            }
            other => {
                self.lines[host].arrived.notify_one();
                if let ServerMessage::Delivery { sequence, attempt, .. } = other {
                    self.ledger.fetched(host, sequence, attempt);
                    if let Some(at_next) = self.at_next.take() {
                        at_next();
                    }
                }
                self.lines[host].incoming.push_back(other);
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        for index in 0..self.messages.len() {
            let (message, sequence) = (&mut self.messages[index], index as u64 + 1);
            let MessageState::Out { until, delayed } = message.place else { continue };
            if until > now {
                continue;
            }
            message.place = MessageState::Again;
            self.again.push_back(sequence);
            if !delayed {
                self.ledger.expired(sequence, self.is_up && self.up_since + self.setup.ack_wait <= now);
            }
        }
        let (ended, open) = self.pulls.drain(..).partition(|pull| pull.until <= now || pull.left == 0);
        self.pulls = open;
        let ended: VecDeque<Request> = ended;
        for pull in ended.iter().filter(|pull| pull.left > 0) {
            self.send(WireMessage::Down(pull.host, ServerMessage::Ended(pull.left)));
        }
    }

    fn deliver(&mut self) {
        while let Some(mut pull) = self.pulls.pop_front() {
            let Some(sequence) = self.next_message() else {
                self.pulls.push_front(pull);
                return;
            };
            let until = Instant::now() + self.setup.ack_wait;
            let message = self.message(sequence);
            message.attempts += 1;
            message.place = MessageState::Out { until, delayed: false };
            let attempt = message.attempts;
            self.delivered += 1;
            let number = self.delivered;
            self.ledger.note(format!("#{sequence} is delivered, attempt {attempt}"));
            self.send(WireMessage::Down(pull.host, ServerMessage::Delivery { sequence, attempt, number }));
            pull.left -= 1;
            if pull.left > 0 {
                self.pulls.push_back(pull);
            }
        }
    }

    fn next_message(&mut self) -> Option<u64> {
        if let Some(sequence) = self.again.pop_front() {
            return Some(sequence);
        }
        let pending = self
            .messages
            .iter()
            .filter(|message| matches!(message.place, MessageState::Out { .. } | MessageState::Again));
        if pending.count() >= self.setup.max_ack_pending {
            return None;
        }
        let new = self.messages.iter().position(|message| message.place == MessageState::New)?;
        Some(new as u64 + 1)
    }
}
