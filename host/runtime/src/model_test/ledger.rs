//! What happened in a trial, and which rules it broke.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use super::pace::Pace;
use super::step::{CallEnd, MAX_ATTEMPTS, ModelSetup, TIME_LIMIT, retry};
use crate::contract::{Cause, Death};
use crate::ports::PublicationIds;

/// A timer's step, and the ways of what is said.
const TOLERANCE: Duration = Duration::from_millis(5);

/// A delivery by host and message: a host does not get the next attempt of what it still holds.
type Id = (usize, u64, u32);

/// A delivery that a host has and has not settled.
struct UnsettledDelivery {
    /// When the server last heard of it, or sent it.
    told: Instant,
    /// What the handler's call came to, and the generation that was called.
    called: Option<(u64, Option<CallEnd>)>,
    /// Effects that were not confirmed.
    failed: bool,
    replied: bool,
    /// A worker has taken it.
    taken: bool,
    /// Which call it was in that ended with an answer to each, and was one of several.
    batch: Option<usize>,
    /// It was in a batch that failed.
    spoiled: bool,
    /// A dead letter was tried, and was stored.
    buried: Option<bool>,
    /// How often the host has tried it again by itself, and from when on it may now.
    retries: u32,
    not_before: Instant,
}

/// What a host has seen of a message.
#[derive(Clone, Copy, Default)]
struct SeenMessage {
    /// Attempts that ended through no fault of the handler.
    excused: u32,
    /// It is to be a dead letter, of this cause.
    dying: Option<Cause>,
    /// Its letter is kept.
    kept: bool,
}

/// A call with several deliveries that ended with an answer to each.
#[derive(Default)]
struct AnsweredBatch {
    /// Publications of each delivery, by its message.
    publications: Vec<(u64, usize)>,
    /// One of those that have any was not settled as well as it was answered.
    failed: bool,
}

pub(super) struct Ledger {
    setup: ModelSetup,
    begin: Instant,
    held: BTreeMap<Id, UnsettledDelivery>,
    /// When each publication, by message and index, was stored.
    publications: BTreeMap<(u64, usize), Vec<Instant>>,
    /// Messages that publications of others, which were stored, stand for.
    stood_for: BTreeSet<u64>,
    /// How often a dead letter of each message was stored.
    pub(super) dead_letters: BTreeMap<u64, usize>,
    /// Dead letters confirmed to a host.
    causes: BTreeMap<u64, Cause>,
    /// What each host knows of a message's earlier attempts.
    past: BTreeMap<(usize, u64), SeenMessage>,
    /// Calls with several deliveries that ended with an answer to each.
    batches: Vec<AnsweredBatch>,
    notes: Vec<(Duration, String)>,
    /// Messages that a host said are settled for good.
    pub(super) done: BTreeSet<u64>,
    /// The highest attempt of messages that a host has tried again by itself.
    pub(super) tries: BTreeMap<u64, u32>,
    /// When calls began.
    pub(super) pace: Pace,
    /// The key of each message, in the order of the stream.
    pub(super) keys: Vec<u8>,
    /// The first rule that was broken.
    pub(super) broken: Option<String>,
}

impl Ledger {
    pub(super) fn new(setup: ModelSetup) -> Self {
        Self {
            setup,
            begin: Instant::now(),
            held: BTreeMap::new(),
            publications: BTreeMap::new(),
            stood_for: BTreeSet::new(),
            dead_letters: BTreeMap::new(),
            causes: BTreeMap::new(),
            past: BTreeMap::new(),
            batches: Vec::new(),
            notes: Vec::new(),
            done: BTreeSet::new(),
            tries: BTreeMap::new(),
            pace: Pace::default(),
            keys: Vec::new(),
            broken: None,
        }
    }

    pub(super) fn note(&mut self, what: String) {
        self.notes.push((self.begin.elapsed(), what));
    }

    pub(super) fn rule(&mut self, holds: bool, broken: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            let what = broken();
            self.note(format!("BROKEN: {what}"));
            self.broken = Some(what);
        }
    }

    /// One line for each thing that happened, with the time since the start.
    pub(super) fn trace(&self) -> String {
        self.notes.iter().fold(String::new(), |mut text, (at, what)| {
            let _ = writeln!(text, "{:>9.3}  {what}", at.as_secs_f64());
            text
        })
    }

    pub(super) fn fetched(&mut self, host: usize, sequence: u64, attempt: u32) {
        let told = Instant::now();
        let held = UnsettledDelivery {
            told,
            called: None,
            failed: false,
            replied: false,
            taken: false,
            batch: None,
            spoiled: false,
            buried: None,
            retries: 0,
            not_before: told,
        };
        self.held.insert((host, sequence, attempt), held);
    }

    /// Deliveries that a host has and that no worker has taken.
    pub(super) fn waiting(&self, host: usize) -> usize {
        self.held.iter().filter(|(id, held)| id.0 == host && !held.taken).count()
    }

    /// The ack wait of a delivery ended. `heard` is whether the server could hear all the time.
    pub(super) fn expired(&mut self, sequence: u64, heard: bool) {
        self.note(format!("#{sequence} is not settled within its ack wait"));
        let holder = self.held.keys().find(|id| id.1 == sequence).copied();
        if let Some((host, ..)) = holder {
            self.rule(!heard, || format!("host {host} holds #{sequence} and let its ack wait end"));
        }
    }

    fn get(&mut self, id: Id) -> &mut UnsettledDelivery {
        self.held.get_mut(&id).expect("a delivery that is held")
    }

    fn announced(&mut self, id: Id) {
        let (half, silence) = (self.setup.ack_wait / 2 + TOLERANCE, self.get(id).told.elapsed());
        self.rule(silence <= half, || format!("#{} was not announced for {silence:?}", id.1));
    }

    pub(super) fn in_progress(&mut self, id: Id) {
        if self.held.contains_key(&id) {
            self.announced(id);
            self.get(id).told = Instant::now();
        }
    }

    /// A handler is called with these.
    pub(super) fn call(&mut self, ids: &[Id], worker: u64, generation: u64) {
        let batch = (ids.len() > 1).then_some(self.batches.len());
        if batch.is_some() {
            self.note(format!("worker {worker} calls generation {generation} with {} deliveries:", ids.len()));
            self.batches.push(AnsweredBatch::default());
        }
        for &id in ids {
            self.note(format!("#{} attempt {}: worker {worker} calls generation {generation}", id.1, id.2));
            let (past, used) = (self.past(id), self.used(id));
            let early = self.held.get(&id).is_some_and(|held| Instant::now() < held.not_before);
            self.rule(!early, || format!("#{} is tried again before its delay is over", id.1));
            self.rule(used <= retry().max_deliveries(), || format!("#{} is tried though it never finished", id.1));
            let open = past.dying.is_none() && !past.kept;
            self.rule(open, || format!("#{} is tried though its death is decided", id.1));
            self.rule(self.get_called(id).is_none(), || format!("#{} is handled twice as one delivery", id.1));
            let held = self.get(id);
            (held.called, held.taken, held.batch) = (Some((generation, None)), true, batch);
            let again = held.spoiled && batch.is_some();
            self.rule(!again, || format!("#{} is in a batch again after one that failed", id.1));
            self.few_of_its_key(id);
        }
    }

    /// No more calls of a key run in a host than may.
    fn few_of_its_key(&mut self, id: Id) {
        let Some((each, _)) = self.setup.per_key else { return };
        let key = |sequence: u64| self.keys.get(usize::try_from(sequence).unwrap() - 1);
        let runs = |held: &UnsettledDelivery| matches!(held.called, Some((_, None)));
        let same = self.held.iter().filter(|(other, held)| other.0 == id.0 && key(other.1) == key(id.1) && runs(held));
        let count = same.count();
        self.rule(count <= each, || format!("#{} is one of {count} of its key in handlers", id.1));
    }

    /// Whether it was in a call or an instance with others that failed, and has to be alone.
    pub(super) fn is_spoiled(&self, id: Id) -> bool {
        self.held.get(&id).is_some_and(|held| held.spoiled)
    }

    /// A call with several deliveries failed, or an instance with several calls: none of them has an end.
    pub(super) fn spoiled(&mut self, ids: &[Id]) {
        for &id in ids {
            self.note(format!("#{} attempt {}: in a batch that failed", id.1, id.2));
            let held = self.get(id);
            (held.called, held.batch, held.spoiled) = (None, None, true);
        }
    }

    fn past(&self, id: Id) -> SeenMessage {
        self.past.get(&(id.0, id.1)).copied().unwrap_or_default()
    }

    fn past_mut(&mut self, id: Id) -> &mut SeenMessage {
        self.past.entry((id.0, id.1)).or_default()
    }

    /// Attempts that count, this one among them.
    fn used(&self, id: Id) -> u32 {
        self.attempt(id).saturating_sub(self.past(id).excused).max(1)
    }

    /// The attempt as a handler sees it.
    fn attempt(&self, id: Id) -> u32 {
        id.2 + self.held.get(&id).map_or(0, |held| held.retries)
    }

    /// The delivery that a handler sees with this attempt. Where two look the same, it is the earlier one: the later
    /// one waits until that one has ended.
    pub(super) fn id(&self, host: usize, sequence: u64, attempt: u32) -> Id {
        let found = self.held.keys().find(|id| (id.0, id.1) == (host, sequence) && self.attempt(**id) == attempt);
        found.copied().unwrap_or((host, sequence, attempt))
    }

    /// The host tries it again by itself, or it takes the place of an earlier delivery of its message that the host
    /// has tried again so often.
    pub(super) fn tried_here(&mut self, id: Id, more: u32) {
        let old = self.held.iter().find(|(other, _)| (other.0, other.1) == (id.0, id.1) && other.2 < id.2);
        let old = old.map(|(_, old)| old.not_before);
        let delay = if old.is_none() { self.delay(id) } else { Some(Duration::ZERO) };
        self.note(format!("#{} attempt {}: to be tried again here, {delay:?}", id.1, id.2));
        self.rule(delay.is_some(), || format!("#{} is tried again after it has ended", id.1));
        let held = self.get(id);
        held.retries += more;
        match old {
            Some(not_before) => held.not_before = not_before,
            None => {
                held.not_before = Instant::now() + delay.unwrap_or_default();
                (held.called, held.batch, held.buried) = (None, None, None);
                (held.failed, held.replied, held.taken, held.spoiled) = (false, false, false, false);
            }
        }
        let attempt = self.attempt(id);
        let tries = self.tries.entry(id.1).or_default();
        *tries = attempt.max(*tries);
    }

    fn get_called(&self, id: Id) -> Option<(u64, Option<CallEnd>)> {
        self.held.get(&id).and_then(|held| held.called)
    }

    pub(super) fn called(&mut self, id: Id, end: CallEnd) {
        self.note(format!("#{} attempt {}: {end:?}", id.1, id.2));
        let held = self.get(id);
        if let Some((_, ended)) = &mut held.called {
            *ended = Some(end);
        }
        let publications = match end {
            CallEnd::Ok(publications) => publications,
            CallEnd::Nonsense => 1,
            _ => 0,
        };
        if let Some(batch) = held.batch {
            self.batches[batch].publications.push((id.1, publications));
        }
    }

    /// One that an answer of its batch may have been for: whether publications of that are not stored.
    fn batch_failed(&self, id: Id) -> bool {
        let batch = self.held.get(&id).and_then(|held| held.batch);
        batch.is_some_and(|batch| self.batches[batch].failed) && self.end(id) == Some(CallEnd::Ok(0))
    }

    /// It is settled otherwise than by an ack.
    fn not_acked(&mut self, id: Id) {
        let Some(batch) = self.held.get(&id).and_then(|held| held.batch) else { return };
        let batch = &mut self.batches[batch];
        batch.failed |= batch.publications.iter().any(|(sequence, count)| *sequence == id.1 && *count > 0);
    }

    fn end(&self, id: Id) -> Option<CallEnd> {
        self.get_called(id).and_then(|(_, end)| end)
    }

    /// Publications of its response are about to be sent, with such message ids.
    pub(super) fn publishes(&mut self, id: Id, ids: PublicationIds) {
        let Some((generation, _)) = self.get_called(id) else { return };
        let batches = self.setup.handles_batches(generation);
        let wanted = if batches { PublicationIds::OfContent } else { PublicationIds::OfPlace };
        self.rule(ids == wanted, || format!("publications of #{} have ids {ids:?} and not {wanted:?}", id.1));
    }

    /// A publication is stored that was not before, and stands for the messages in its content.
    pub(super) fn stored(&mut self, place: (u64, usize), content: &str) {
        self.publications.entry(place).or_default().push(Instant::now());
        self.stood_for.extend(content.split_whitespace().map(|sequence| sequence.parse::<u64>().unwrap()));
    }

    pub(super) fn effect_failed(&mut self, id: Id) {
        self.note(format!("#{} attempt {}: an effect is not confirmed", id.1, id.2));
        self.get(id).failed = true;
    }

    fn effects(&mut self, id: Id, before: &str) {
        let end = self.end(id);
        let CallEnd::Ok(publications) = end.unwrap_or(CallEnd::Reject) else {
            self.rule(false, || format!("{before} of #{}, and its handler ended with {end:?}", id.1));
            return;
        };
        let stored = (0..publications).all(|index| self.publications.contains_key(&(id.1, index)));
        self.rule(stored, || format!("{before} of #{} before its publications were stored", id.1));
        let (Some(batch), 0) = (self.get(id).batch, publications) else { return };
        let of_batch = self.batches[batch].publications.iter();
        let told = of_batch.clone().all(|(_, count)| *count == 0) || self.stood_for.contains(&id.1);
        let missing = of_batch
            .flat_map(|(sequence, count)| (0..*count).map(|index| (*sequence, index)))
            .find(|publication| !self.publications.contains_key(publication));
        self.rule(missing.is_none(), || format!("{before} of #{} before {missing:?} of its batch was stored", id.1));
        self.rule(told, || format!("{before} of #{}, and nothing that is stored stands for it", id.1));
    }

    pub(super) fn replied(&mut self, id: Id) {
        self.effects(id, "the reply");
        self.get(id).replied = true;
    }

    pub(super) fn ack(&mut self, id: Id) {
        self.note(format!("#{} attempt {}: ack", id.1, id.2));
        self.effects(id, "the ack");
        let replied = self.get(id).replied;
        self.rule(replied, || format!("the ack of #{} before its reply", id.1));
        self.done.insert(id.1);
        // The host forgets what it knew of the message. An earlier attempt that ends later changes nothing any more.
        if self.attempt(id) > 1 {
            self.past.remove(&(id.0, id.1));
        }
        self.settled(id);
    }

    pub(super) fn nak(&mut self, id: Id, delay: Duration) {
        self.note(format!("#{} attempt {}: nak, {delay:?}", id.1, id.2));
        let wanted = self.delay(id);
        // A host that keeps an order tries again by itself, unless it stops: then the next host must not have to wait.
        let passed_on = self.setup.order.is_some() && wanted.is_some() && delay.is_zero();
        self.rule(wanted == Some(delay) || passed_on, || {
            format!("#{} is given a delay of {delay:?} and not {wanted:?}", id.1)
        });
        self.settled(id);
    }

    /// After what delay a delivery that ended so is tried again; `None` if it must not be.
    fn delay(&mut self, id: Id) -> Option<Duration> {
        let used = self.used(id);
        // An outage is asked less and less, by the server's count; a failure counts what the handler had.
        let (outage, failure, last) = (retry().delay(self.attempt(id)), retry().delay(used), used >= MAX_ATTEMPTS);
        let unburied = self.get(id).buried == Some(false);
        let failed = self.get(id).failed || self.batch_failed(id);
        self.not_acked(id);
        let wanted = match self.end(id) {
            _ if unburied => Some(outage),
            None => Some(Duration::ZERO),
            Some(CallEnd::Ok(_)) => failed.then_some(outage),
            Some(CallEnd::Reject) => None,
            Some(_) if last => None,
            Some(CallEnd::Retry(Some(ms))) => Some(Duration::from_millis(ms)),
            Some(_) => Some(failure),
        };
        // What was never called, or did not end, is no failure of the handler.
        if unburied || failed || self.end(id).is_none() {
            self.past_mut(id).excused += 1;
        }
        wanted
    }

    /// A dead letter is about to be stored.
    pub(super) fn bury(&mut self, id: Id, death: &Death, generation: u64) {
        self.note(format!("#{} attempt {}: dead letter, {}: {}", id.1, id.2, death.cause.as_str(), death.reason));
        self.get(id).taken = true;
        self.not_acked(id);
        let (used, past) = (self.used(id), self.past(id));
        self.rule(!past.kept, || format!("a second letter of #{} by the host that kept the first", id.1));
        let wanted = match self.end(id) {
            None if past.dying.is_some() => past.dying,
            None => (used > retry().max_deliveries()).then_some(Cause::Exhausted),
            Some(CallEnd::Reject) => Some(Cause::Rejected),
            Some(CallEnd::Ok(_)) => None,
            Some(_) if used < MAX_ATTEMPTS => None,
            Some(CallEnd::Nonsense | CallEnd::Short) => Some(Cause::Effects),
            Some(CallEnd::Retry(_)) => Some(Cause::Retries),
            Some(CallEnd::Trap) => Some(Cause::Trapped),
            Some(CallEnd::Hang) => Some(Cause::Time),
        };
        self.past_mut(id).dying = Some(death.cause);
        self.rule(wanted == Some(death.cause), || format!("#{} died of {:?} and not of {wanted:?}", id.1, death.cause));
        // A death that was decided before names the generation of then.
        let author = self.get_called(id).map_or(generation, |(generation, _)| generation);
        self.rule(author == generation, || format!("the dead letter of #{} names the wrong generation", id.1));
    }

    pub(super) fn buried(&mut self, id: Id, stored: bool, cause: Cause) {
        if !stored {
            self.note(format!("#{} attempt {}: the dead letter is not confirmed", id.1, id.2));
        }
        self.get(id).buried = Some(stored);
        if stored {
            self.causes.insert(id.1, cause);
            *self.past_mut(id) = SeenMessage { kept: true, ..self.past(id) };
        }
    }

    pub(super) fn term(&mut self, id: Id) {
        self.note(format!("#{} attempt {}: term", id.1, id.2));
        let stored = self.dead_letters.contains_key(&id.1) && (self.get(id).buried == Some(true) || self.past(id).kept);
        self.rule(stored, || format!("the term of #{} before its dead letter was stored", id.1));
        self.done.insert(id.1);
        self.settled(id);
    }

    fn settled(&mut self, id: Id) {
        self.announced(id);
        self.held.remove(&id);
    }

    /// A delivery was let go without a word: only one that nobody has touched, and that the host has again.
    pub(super) fn dropped(&mut self, id: Id) {
        if let Some(held) = self.held.remove(&id) {
            if self.setup.order.is_some() && self.done.contains(&id.1) && !held.taken {
                self.note(format!("#{} attempt {}: settled with an earlier delivery", id.1, id.2));
                return;
            }
            let again = self.held.keys().any(|other| (other.0, other.1) == (id.0, id.1) && other.2 > id.2);
            if again && (!held.taken || held.spoiled && held.called.is_none()) {
                self.note(format!("#{} attempt {}: superseded", id.1, id.2));
                self.past_mut(id).excused += 1;
                return;
            }
            self.rule(false, || format!("#{} is dropped and not settled", id.1));
        }
    }

    /// A host ended by itself: it holds nothing any more.
    pub(super) fn ended(&mut self, host: usize) {
        let left = self.held.keys().find(|id| id.0 == host).copied();
        self.rule(left.is_none(), || format!("host {host} stopped and left #{}", left.unwrap_or_default().1));
        self.lost(host);
    }

    /// A host is gone with all that it held.
    pub(super) fn lost(&mut self, host: usize) {
        self.held.retain(|id, _| id.0 != host);
    }

    /// At the end of all: an acked message has its effects, a termed one its dead letter.
    pub(super) fn acked_at_last(&mut self, sequence: u64, publications: usize) {
        let stored = (0..publications).all(|index| self.publications.contains_key(&(sequence, index)));
        self.rule(stored, || format!("#{sequence} is acked and its publications are not stored"));
        let twice = (0..publications).find(|index| {
            let all = self.publications.get(&(sequence, *index)).map_or(&[][..], Vec::as_slice);
            // In another batch it is another publication.
            self.setup.batches.is_none() && all.windows(2).any(|pair| pair[1] - pair[0] < TIME_LIMIT)
        });
        self.rule(twice.is_none(), || format!("publication {twice:?} of #{sequence} is stored twice"));
    }

    pub(super) fn termed_at_last(&mut self, sequence: u64) {
        let letters = self.dead_letters.get(&sequence).copied().unwrap_or_default();
        self.rule(letters > 0 && self.causes.contains_key(&sequence), || {
            format!("#{sequence} is termed and has {letters} dead letters")
        });
    }
}
