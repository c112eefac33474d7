use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{StatusCode, Subscriber};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::binding::WorkloadBinding;
use super::connect::Link;
use super::fallback::{Came, Careful, Raw};
use super::loss_cause::{Doubt, LossCause};
use super::parked_pull::ParkedPull;
use super::pending_pulls::PendingPulls;
use super::pull_request::{PullToken, keep_pin, request};
use super::pull_status::{PullEnd, WRONG_PIN, judge, status, unanswered};
use super::redeliver::nudge;
use super::{PulledMessage, unreadable};
use crate::delivery::consumer_settings::{Ask, Effective, PullAs};
use crate::permissions::Denial;
use crate::ports::{Notice, Pull, Pulled};

/// How much longer than `expires` a pull may stay unanswered before it counts as lost.
const SLACK: Duration = Duration::from_secs(1);

/// So many pulls that nobody answers in a row are a problem, and not one that got lost.
const UNANSWERED: u32 = 2;

/// How many unreadable messages are dealt with at once.
const AT_ONCE: usize = 64;

/// What the messages of a consumer are for, which decides what becomes of one that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// They are handled, so an unreadable one becomes a dead letter.
    Handle,
    /// They are only counted, and so is an unreadable one.
    Count,
}

/// Pull requests on one consumer, all answered on one subscription that lives as long as the connection.
///
/// async-nats' own `batch` and `messages` subscribe for each batch or prefetch on their own, and what they have
/// buffered when they are dropped stays unsettled until the ack wait ends. Here a pull is just a request, and the
/// puller counts what is still to come. So a workload that stops can wait for it.
#[derive(Debug)]
pub(crate) struct Puller {
    binding: Arc<WorkloadBinding>,
    consumer: String,
    usage: Use,
    next: String,
    /// The inboxes that may still bring something. The last is the one to ask on.
    inboxes: Vec<PullInbox>,
    /// Messages that had come and were not read when the connection was lost.
    saved: VecDeque<async_nats::Message>,
    link: watch::Receiver<Link>,
    known: Link,
    expires: Duration,
    unanswered: u32,
    /// Whether the connection may have been lost over a message.
    doubt: Doubt,
    unreadable: JoinSet<()>,
    /// The stream sequence up to which unreadable messages were looked for.
    seen: Arc<AtomicU64>,
    /// What the consumer lets a pull ask for.
    effective: Arc<Effective>,
    /// When the server was last pulled from, by which this host stays the pinned one.
    pulled: Instant,
}

/// Where the answers to some pulls come: to those of one connection, and of a limited time.
#[derive(Debug)]
struct PullInbox {
    subject: String,
    answers: PullAnswers,
    asked: PendingPulls,
}

#[derive(Debug)]
enum PullAnswers {
    Library(Subscriber),
    Careful(Box<Careful>),
}

/// What comes on an inbox.
enum PullAnswer {
    Message(async_nats::Message),
    /// A delivery that the client library cannot read, and why.
    Unreadable(Raw, String),
    /// The server's error, in its words.
    Error(String),
    /// Nothing more comes.
    Lost,
}

impl PullInbox {
    async fn send(
        &mut self,
        nats: &async_nats::Client,
        next: String,
        token: PullToken,
        request: Vec<u8>,
    ) -> anyhow::Result<()> {
        let reply = format!("{}.{token}", self.subject);
        match &mut self.answers {
            PullAnswers::Library(_) => nats.publish_with_reply(next, reply, request.into()).await?,
            PullAnswers::Careful(connection) => connection.publish(&next, &reply, &request),
        }
        Ok(())
    }
}

impl Puller {
    pub(super) fn new(
        binding: Arc<WorkloadBinding>,
        consumer: &str,
        expires: Duration,
        effective: Arc<Effective>,
        usage: Use,
    ) -> Self {
        let mut link = binding.client.link();
        let known = *link.borrow_and_update();
        Self {
            next: binding.client.api_subject(&format!("CONSUMER.MSG.NEXT.{}.{consumer}", binding.stream)),
            inboxes: Vec::new(),
            saved: VecDeque::new(),
            known,
            link,
            expires,
            unanswered: 0,
            doubt: Doubt::new(binding.clone(), consumer.to_owned()),
            unreadable: JoinSet::new(),
            seen: Arc::default(),
            consumer: consumer.to_owned(),
            usage,
            effective,
            pulled: Instant::now(),
            binding,
        }
    }

    /// The inbox to ask on; `None` while it is not known which.
    async fn inbox(&mut self) -> anyhow::Result<Option<&mut PullInbox>> {
        let now = Instant::now();
        let careful = self.doubt.is_careful(now);
        let due = match self.inboxes.last() {
            None => true,
            Some(PullInbox { answers: PullAnswers::Careful(_), .. }) => !careful,
            Some(inbox) => careful || inbox.asked.is_old(now),
        };
        if due && careful {
            self.doubt.connect();
        }
        if self.doubt.is_open() {
            return Ok(None);
        }
        if due {
            let subject = self.binding.client.nats.new_inbox();
            let answers = PullAnswers::Library(self.binding.client.nats.subscribe(format!("{subject}.*")).await?);
            self.inboxes.push(PullInbox { subject, answers, asked: PendingPulls::new(self.expires + SLACK) });
        }
        Ok(self.inboxes.last_mut())
    }

    /// Goes on as was decided after the connection was lost.
    fn decided(&mut self, outcome: LossCause) -> Pulled<PulledMessage> {
        if let LossCause::Careful { connection, subject } = outcome {
            let asked = PendingPulls::new(self.expires + SLACK);
            self.inboxes.push(PullInbox { subject, answers: PullAnswers::Careful(connection), asked });
            if self.usage == Use::Handle {
                self.unreadable.spawn(nudge(self.binding.clone(), self.consumer.clone(), self.seen.clone()));
            }
        }
        Pulled::Connected
    }

    fn read(&mut self, index: usize, answer: PullAnswer) -> Option<Pulled<PulledMessage>> {
        match answer {
            PullAnswer::Message(message) => self.read_message(index, message),
            PullAnswer::Unreadable(raw, why) => {
                self.came(index);
                self.doubt.confirm(Instant::now());
                match self.usage {
                    Use::Handle => self.unreadable.spawn(unreadable::keep_dead_letter(self.binding.clone(), raw, why)),
                    Use::Count => self.unreadable.spawn(unreadable::pass(self.binding.clone(), raw)),
                };
                None
            }
            PullAnswer::Error(words) => {
                match Denial::parse(&words) {
                    Some(denial) => self.binding.client.denied.note(&denial),
                    None => tracing::warn!(workload = %self.binding.workload, problem = words, "the second connection"),
                }
                None
            }
            PullAnswer::Lost => {
                self.disturbed();
                if index < self.inboxes.len() {
                    self.inboxes.remove(index);
                }
                Some(Pulled::Lost)
            }
        }
    }

    /// The place to note whether a pull is parked. Only pulls for deliveries are noted: what other pulls bring is
    /// counted anyway.
    fn parked(&self) -> Option<&ParkedPull> {
        (self.usage == Use::Handle).then_some(&self.binding.parked)
    }

    fn disturbed(&self) {
        self.parked().into_iter().for_each(ParkedPull::disturbed);
    }

    fn came(&mut self, index: usize) {
        self.disturbed();
        if let Some(inbox) = self.inboxes.get_mut(index) {
            inbox.asked.came();
        }
        self.unanswered = 0;
    }

    fn read_message(&mut self, index: usize, answer: async_nats::Message) -> Option<Pulled<PulledMessage>> {
        let Some(status) = status(&answer) else {
            self.came(index);
            return PulledMessage::new(answer, self.binding.clone(), &self.effective).map(Pulled::Delivery);
        };
        if status == StatusCode::IDLE_HEARTBEAT {
            return None;
        }
        self.unanswered = 0;
        let inbox = self.inboxes.get_mut(index)?;
        let token =
            answer.subject.strip_prefix(&*inbox.subject).and_then(|rest| PullToken::parse(rest.strip_prefix('.')?));
        let number = token.and_then(|token| token.number);
        let ended = number.and_then(|number| inbox.asked.end(number, unanswered(&answer), Instant::now()));
        if status == WRONG_PIN && self.effective.has_pin_group() {
            self.disturbed();
            token.into_iter().for_each(|token| _ = self.effective.pin_refused(token.epoch));
            return Some(Pulled::Ended);
        }
        if token.is_some_and(|token| token.number.is_none()) {
            // That one asked for nothing. What is wrong is told of others too.
            return None;
        }
        let words = answer.description.unwrap_or_default();
        Some(match judge(status, &words, ended) {
            PullEnd::Ordinary => {
                self.parked().into_iter().for_each(ParkedPull::ended);
                Pulled::Ended
            }
            PullEnd::Failed(notice) => {
                self.disturbed();
                Pulled::Failed(notice)
            }
        })
    }

    /// When the pulls of one of the inboxes count as lost.
    fn deadline(&self) -> Option<Instant> {
        self.inboxes.iter().filter_map(|inbox| inbox.asked.ends()).min()
    }

    /// Gives up the pulls that were not answered in time.
    fn expire(&mut self) -> Pulled<PulledMessage> {
        self.disturbed();
        let now = Instant::now();
        self.inboxes.retain_mut(|inbox| {
            let expired = inbox.asked.ends().is_some_and(|ends| ends <= now);
            if expired {
                inbox.asked.forget();
            }
            // A half open second connection brings nothing either; another subscription may.
            !(expired && matches!(inbox.answers, PullAnswers::Careful(_)))
        });
        self.tidy();
        self.unanswered += 1;
        match self.binding.client.denied.silences(&self.next) {
            Some((verb, allow)) => Pulled::Failed(Notice::Denied(verb, allow)),
            None if self.unanswered >= UNANSWERED => Pulled::Failed(Notice::Unanswered),
            None => Pulled::Lost,
        }
    }

    /// When the server has to be pulled from so that this host stays the pinned one, if it is.
    fn keep_pin_at(&self) -> Option<Instant> {
        Some(self.pulled + self.effective.keep_pin_every().filter(|_| self.usage == Use::Handle)?)
    }

    /// Pulls for nothing, so that this host stays the pinned one though it wants no messages now.
    async fn keep_pin(&mut self) {
        self.pulled = Instant::now();
        let (nats, next) = (self.binding.client.nats.clone(), self.next.clone());
        let Some(PullAs { group, id: Some(id), epoch }) = self.effective.pull_as() else { return };
        let Some(inbox) = self.inboxes.last_mut().filter(|_| self.binding.client.is_connected()) else { return };
        let sent = inbox.send(&nats, next, PullToken { number: None, epoch }, keep_pin(&group, &id)).await;
        sent.unwrap_or_else(|error| tracing::debug!(%error, "a pull that keeps the pin is not sent"));
    }

    /// Drops the inboxes on which nothing comes any more, but for the one to ask on.
    fn tidy(&mut self) {
        let last = self.inboxes.len().saturating_sub(1);
        let mut index = 0;
        self.inboxes.retain(|inbox| {
            index += 1;
            index > last || inbox.asked.left() > 0
        });
    }

    /// Acts upon a connection that was lost, or is there again.
    fn changed(&mut self) -> Pulled<PulledMessage> {
        self.disturbed();
        let link = *self.link.borrow_and_update();
        let (lost, made) = (link.losses != self.known.losses, link.connects != self.known.connects);
        self.known = link;
        if self.usage == Use::Handle {
            self.effective.linked(made || !lost);
        }
        if made {
            self.doubt.reconnected(Instant::now());
        }
        if lost && !made {
            // The client library has not subscribed anew yet, and does not subscribe to what is dropped now. So no pull
            // that the server remembers can bring deliveries that nobody counts.
            self.save();
            return Pulled::Lost;
        }
        if lost {
            // Too late for that: the pulls on this inbox may still be answered, and are waited for.
            for inbox in &mut self.inboxes {
                inbox.asked.wear();
            }
        }
        Pulled::Connected
    }

    /// Saves the messages that have come by the client library, and drops the subscriptions.
    fn save(&mut self) {
        let saved = &mut self.saved;
        self.inboxes.retain_mut(|inbox| {
            let PullAnswers::Library(answers) = &mut inbox.answers else { return true };
            while let Some(Some(answer)) = answers.next().now_or_never() {
                saved.push_back(answer);
            }
            false
        });
    }
}

/// The next answer, and the inbox that it came on.
fn poll_answer(inboxes: &mut [PullInbox], busy: bool, cx: &mut Context<'_>) -> Poll<(usize, PullAnswer)> {
    for (index, inbox) in inboxes.iter_mut().enumerate() {
        let answer = match &mut inbox.answers {
            PullAnswers::Library(answers) => {
                Pin::new(answers).poll_next(cx).map(|answer| answer.map_or(PullAnswer::Lost, PullAnswer::Message))
            }
            // The next message may be one more that cannot be read, and enough of those are being dealt with.
            PullAnswers::Careful(_) if busy => Poll::Pending,
            PullAnswers::Careful(connection) => connection.poll(cx).map(|came| match came {
                Came::Message(raw) => match raw.read() {
                    Ok(message) => PullAnswer::Message(message),
                    Err(why) => PullAnswer::Unreadable(raw, why),
                },
                Came::Error(words) => PullAnswer::Error(words),
                Came::Lost => PullAnswer::Lost,
            }),
        };
        if let Poll::Ready(answer) = answer {
            return Poll::Ready((index, answer));
        }
    }
    Poll::Pending
}

impl Pull for Puller {
    type Held = PulledMessage;

    fn asked(&self) -> usize {
        self.inboxes.iter().map(|inbox| inbox.asked.left()).sum::<usize>() + self.unreadable.len()
    }

    async fn ask(&mut self, count: usize, bytes: usize) -> anyhow::Result<()> {
        // The client library would keep the request and send it when the server is back, with all the others, and each
        // would be answered.
        anyhow::ensure!(self.binding.client.is_connected(), "the server is away");
        anyhow::ensure!(!self.effective.is_refused(), "the consumer may not be pulled from");
        let limits = self.effective.pulls();
        let pulls_as = self.effective.pull_as().filter(|_| self.usage == Use::Handle);
        let standby = pulls_as.as_ref().is_some_and(|pulls_as| pulls_as.id.is_none());
        // Who is not known to be the pinned one is given nothing by a second pull: one that waits is enough.
        if self.asked().div_ceil(limits.batch) >= limits.waiting || standby && self.asked() > 0 {
            return Ok(());
        }
        let count = if standby { 1 } else { count };
        let Ask { batch, bytes, expires } = limits.ask(count, bytes, self.expires, self.binding.client.max_payload());
        let config = BatchConfig { batch, expires: Some(expires), max_bytes: bytes, ..BatchConfig::default() };
        let request = request(config, pulls_as.as_ref())?;
        let (nats, next) = (self.binding.client.nats.clone(), self.next.clone());
        let Some(inbox) = self.inbox().await? else { return Ok(()) };
        let number = Some(inbox.asked.ask(batch, expires, Instant::now()));
        let token = PullToken { number, epoch: pulls_as.map_or(0, |pulls_as| pulls_as.epoch) };
        inbox.send(&nats, next, token, request).await?;
        self.pulled = Instant::now();
        self.binding.traffic.pulled();
        self.parked().into_iter().for_each(|parked| parked.waits(Instant::now() + expires));
        self.tidy();
        Ok(())
    }

    async fn next(&mut self) -> Pulled<PulledMessage> {
        loop {
            if let Some(pulled) = self.ready() {
                return pulled;
            }
            let deadline = self.deadline();
            let busy = self.unreadable.len() >= AT_ONCE;
            let keep_at = self.keep_pin_at();
            let inboxes = &mut self.inboxes;
            tokio::select! {
                biased;
                (index, answer) = poll_fn(|cx| poll_answer(inboxes, busy, cx)) => {
                    if let Some(pulled) = self.read(index, answer) {
                        return pulled;
                    }
                }
                Ok(()) = self.link.changed() => return self.changed(),
                outcome = self.doubt.decided() => return self.decided(outcome),
                Some(_) = self.unreadable.join_next() => return Pulled::Lost,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return self.expire(),
                () = sleep_until(keep_at.unwrap_or_else(Instant::now)), if keep_at.is_some() => self.keep_pin().await,
            }
        }
    }

    fn ready(&mut self) -> Option<Pulled<PulledMessage>> {
        while let Some(saved) = self.saved.pop_front() {
            if let Some(pulled) = self.read(usize::MAX, PullAnswer::Message(saved)) {
                return Some(pulled);
            }
        }
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready((index, answer)) =
            poll_answer(&mut self.inboxes, self.unreadable.len() >= AT_ONCE, &mut cx)
        {
            if let Some(pulled) = self.read(index, answer) {
                return Some(pulled);
            }
        }
        None
    }

    async fn leave(self) {
        if let Some(PullAs { group, id: Some(id), .. }) = self.effective.pull_as() {
            let WorkloadBinding { client, stream, workload, .. } = &*self.binding;
            if let Err(error) = client.unpin(stream, &self.consumer, &group, &id).await {
                tracing::debug!(%workload, %error, "not unpinned: another host takes over when the pin has timed out");
            }
        }
    }
}
