use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{StatusCode, Subscriber};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::answer::{End, judge, status, unanswered};
use super::asked::Asked;
use super::connect::Link;
use super::unreadable::Search;
use super::{Lane, Message};
use crate::ports::{Notice, Pull, Pulled};

/// How much longer than `expires` a pull may stay unanswered before it counts as lost.
const SLACK: Duration = Duration::from_secs(1);

/// So many pulls that nobody answers in a row are a problem, and not one that got lost.
const UNANSWERED: u32 = 2;

/// Pull requests on one consumer, all answered on one subscription that lives as long as the connection.
///
/// async-nats' own `batch` and `messages` subscribe for each batch or prefetch on their own, and what they have
/// buffered when they are dropped stays unsettled until the ack wait ends. Here a pull is just a request: the
/// puller counts what is still to come, so that whoever stops can wait for it.
#[derive(Debug)]
pub struct Puller {
    lane: Arc<Lane>,
    consumer: String,
    next: String,
    /// Those that may still bring something; the last is the one to ask on.
    inboxes: Vec<Inbox>,
    /// What had come when the connection was lost.
    saved: VecDeque<async_nats::Message>,
    link: watch::Receiver<Link>,
    known: Link,
    expires: Duration,
    unanswered: u32,
    search: Option<Search>,
}

/// Where the answers to some pulls come: those of one connection, and of not too long a time.
#[derive(Debug)]
struct Inbox {
    subject: String,
    answers: Subscriber,
    asked: Asked,
}

impl Puller {
    pub(super) fn new(lane: Arc<Lane>, consumer: &str, expires: Duration) -> Self {
        let mut link = lane.client.link();
        let known = *link.borrow_and_update();
        Self {
            next: format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", lane.stream),
            inboxes: Vec::new(),
            saved: VecDeque::new(),
            known,
            link,
            lane,
            expires,
            unanswered: 0,
            search: None,
            consumer: consumer.to_owned(),
        }
    }

    /// Besides, looks for what no pull can bring, and keeps it as dead letters.
    pub(super) fn that_searches(mut self) -> Self {
        self.search = Some(Search::start(self.lane.clone(), self.consumer.clone(), self.lane.client.link()));
        self
    }

    /// The inbox to ask on.
    async fn inbox(&mut self) -> anyhow::Result<Option<&mut Inbox>> {
        if self.inboxes.last().is_none_or(|inbox| inbox.asked.is_old(Instant::now())) {
            let subject = self.lane.client.nats.new_inbox();
            let answers = self.lane.client.nats.subscribe(format!("{subject}.*")).await?;
            self.inboxes.push(Inbox { subject, answers, asked: Asked::new(self.expires + SLACK) });
        }
        Ok(self.inboxes.last_mut())
    }

    fn read(&mut self, index: usize, answer: async_nats::Message) -> Option<Pulled<Message>> {
        let Some(status) = status(&answer) else {
            if let Some(inbox) = self.inboxes.get_mut(index) {
                inbox.asked.came();
            }
            self.unanswered = 0;
            return Message::new(answer, self.lane.clone()).map(Pulled::Delivery);
        };
        if status == StatusCode::IDLE_HEARTBEAT {
            return None;
        }
        self.unanswered = 0;
        let inbox = self.inboxes.get_mut(index)?;
        let number = answer.subject.strip_prefix(&*inbox.subject).and_then(|rest| rest.strip_prefix('.')?.parse().ok());
        let ended = number.and_then(|number| inbox.asked.end(number, unanswered(&answer), Instant::now()));
        let words = answer.description.unwrap_or_default();
        Some(match judge(status, &words, ended, self.expires) {
            End::Ordinary => Pulled::Ended,
            End::Failed(notice) => Pulled::Failed(notice),
        })
    }

    /// When what was asked for on one of the inboxes counts as lost.
    fn deadline(&self) -> Option<Instant> {
        self.inboxes.iter().filter_map(|inbox| inbox.asked.ends()).min()
    }

    /// Nobody has answered in time.
    fn expire(&mut self) -> Pulled<Message> {
        let now = Instant::now();
        for inbox in &mut self.inboxes {
            if inbox.asked.ends().is_some_and(|ends| ends <= now) {
                inbox.asked.forget();
            }
        }
        self.tidy();
        self.unanswered += 1;
        if self.unanswered >= UNANSWERED { Pulled::Failed(Notice::Unanswered) } else { Pulled::Lost }
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

    /// The connection was lost, or is there again.
    fn changed(&mut self) -> Pulled<Message> {
        let link = *self.link.borrow_and_update();
        let (lost, made) = (link.losses != self.known.losses, link.connects != self.known.connects);
        self.known = link;
        if lost && !made {
            // The client library has not subscribed anew yet, and will not what is dropped now. So no pull that the server may
            // remember can bring what nobody counts.
            for mut inbox in self.inboxes.drain(..) {
                while let Some(Some(answer)) = inbox.answers.next().now_or_never() {
                    self.saved.push_back(answer);
                }
            }
            return Pulled::Lost;
        }
        if lost {
            // It is too late for that: what was asked for may come or not, and is waited for.
            if let Some(last) = self.inboxes.last_mut() {
                last.asked.wear();
            }
        }
        Pulled::Connected
    }
}

/// What the next answer is, and on which inbox.
fn poll_answer(inboxes: &mut [Inbox], cx: &mut Context<'_>) -> Poll<(usize, Option<async_nats::Message>)> {
    for (index, inbox) in inboxes.iter_mut().enumerate() {
        if let Poll::Ready(answer) = Pin::new(&mut inbox.answers).poll_next(cx) {
            return Poll::Ready((index, answer));
        }
    }
    Poll::Pending
}

impl Pull for Puller {
    type Held = Message;

    fn asked(&self) -> usize {
        self.inboxes.iter().map(|inbox| inbox.asked.left()).sum()
    }

    async fn ask(&mut self, count: usize, bytes: usize) -> anyhow::Result<()> {
        // It would be kept and sent with all the others when the server is back, and each of them be answered.
        anyhow::ensure!(self.lane.client.is_connected(), "the server is away");
        // What is larger than all that a pull may bring would never be delivered; subject and headers count too.
        let max_bytes = bytes.max(2 * self.lane.client.max_payload());
        let request = BatchConfig { batch: count, expires: Some(self.expires), max_bytes, ..BatchConfig::default() };
        let request = serde_json::to_vec(&request)?;
        let (nats, next) = (self.lane.client.nats.clone(), self.next.clone());
        if let Some(inbox) = self.inbox().await? {
            let number = inbox.asked.ask(count, Instant::now());
            let reply = format!("{}.{number}", inbox.subject);
            nats.publish_with_reply(next, reply, request.into()).await?;
        }
        self.lane.traffic.pulled();
        self.tidy();
        Ok(())
    }

    async fn next(&mut self) -> Pulled<Message> {
        loop {
            if let Some(pulled) = self.ready() {
                return pulled;
            }
            let deadline = self.deadline();
            let inboxes = &mut self.inboxes;
            tokio::select! {
                biased;
                (index, answer) = poll_fn(|cx| poll_answer(inboxes, cx)) => match answer {
                    Some(answer) => if let Some(pulled) = self.read(index, answer) { return pulled },
                    // The client has ended.
                    None => self.inboxes.clear(),
                },
                Ok(()) = self.link.changed() => return self.changed(),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return self.expire(),
            }
        }
    }

    fn ready(&mut self) -> Option<Pulled<Message>> {
        while let Some(saved) = self.saved.pop_front() {
            if let Some(pulled) = self.read(usize::MAX, saved) {
                return Some(pulled);
            }
        }
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready((index, Some(answer))) = poll_answer(&mut self.inboxes, &mut cx) {
            if let Some(pulled) = self.read(index, answer) {
                return Some(pulled);
            }
        }
        None
    }
}
