//! What a host has of the model: its pulls and deliveries as `ports` has them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::said::{ClientMessage, ServerMessage};
use super::server::ModelServer;
use crate::contract::Author;
use crate::contract::{Cause, Death, Delivery, Publication};
use crate::ports::{Confirmed, Kept};
use crate::ports::{EffectError, Held, PublicationIds, Pull, Pulled};

/// How long a client waits for a stream's word.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a pull waits, and how much longer the host does.
pub(super) const EXPIRES: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(1);

/// A delivery.
pub(super) struct HeldDelivery {
    server: ModelServer,
    host: usize,
    /// As the server delivered it.
    attempt: u32,
    number: u64,
    delivery: Delivery,
}

impl std::fmt::Debug for HeldDelivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.delivery.fmt(f)
    }
}

impl HeldDelivery {
    fn id(&self) -> (usize, u64, u32) {
        (self.host, self.delivery.stream_sequence, self.attempt)
    }
}

impl Drop for HeldDelivery {
    fn drop(&mut self) {
        self.server.with(|state| state.ledger.dropped(self.id()));
    }
}

/// The number in an author's generation.
pub(super) fn generation(author: &Author) -> u64 {
    author.generation.whole().parse().unwrap()
}

/// Waits for a store's word. One that is lost on its way, or never said, is waited for as any other.
async fn word(stored: oneshot::Receiver<bool>) -> Result<(), EffectError> {
    let said = async {
        match stored.await {
            Ok(stored) => stored,
            Err(_) => std::future::pending().await,
        }
    };
    match timeout(ANSWER, said).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(EffectError::Unavailable("the stream refuses".into())),
        Err(_) => Err(EffectError::Unavailable("the stream does not answer".into())),
    }
}

impl Held for HeldDelivery {
    fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn count_attempts(&mut self, more: u32) {
        self.delivery.attempt += more;
        self.server.of(self.host, |state| state.ledger.tried_here(self.id(), more));
    }

    async fn publish(
        &self,
        publications: Vec<Publication>,
        ids: PublicationIds,
    ) -> Result<impl Future<Output = Result<(), EffectError>> + Send + use<>, EffectError> {
        let (server, id) = (self.server.clone(), self.id());
        server.of(id.0, |state| state.ledger.publishes(id, ids));
        let words: Vec<_> = publications
            .into_iter()
            .enumerate()
            .map(|(index, publication)| {
                let ((answer, stored), place) = (oneshot::channel(), (id.1, index));
                let content = String::from_utf8(publication.payload).unwrap();
                let id_of = match ids {
                    PublicationIds::OfPlace => format!("{place:?}"),
                    PublicationIds::OfContent => format!("{place:?} {content}"),
                };
                let said = ClientMessage::Publication { place, id: id_of, content, answer };
                server.of(id.0, |state| state.say(id.0, said));
                word(stored)
            })
            .collect();
        Ok(async move {
            let stored = futures_util::future::try_join_all(words).await;
            if stored.is_err() {
                server.of(id.0, |state| state.ledger.effect_failed(id));
            }
            stored.map(|_| ())
        })
    }

    async fn reply(&self, _: Vec<u8>) -> Result<(), EffectError> {
        self.server.of(self.host, |state| state.ledger.replied(self.id()));
        Ok(())
    }

    async fn dead_letter(&self, death: &Death, author: &Author) -> Result<u64, EffectError> {
        let (answer, stored) = oneshot::channel();
        let cause: Cause = death.cause;
        self.server.of(self.host, |state| {
            state.ledger.bury(self.id(), death, generation(author));
            state.say(self.host, ClientMessage::DeadLetter(self.delivery.stream_sequence, answer));
        });
        let stored = word(stored).await;
        self.server.of(self.host, |state| state.ledger.buried(self.id(), stored.is_ok(), cause));
        stored.map(|()| self.delivery.stream_sequence)
    }

    /// Nobody deletes a letter here.
    async fn has_letter(&self, _: &Kept) -> Result<bool, EffectError> {
        Ok(true)
    }

    fn in_progress(&self) -> impl Future<Output = ()> + Send + use<> {
        let (server, id) = (self.server.clone(), self.id());
        async move {
            server.of(id.0, |state| {
                state.ledger.in_progress(id);
                state.say(id.0, ClientMessage::InProgress(id.1));
            });
        }
    }

    async fn ack(self, _: Confirmed) {
        self.server.of(self.host, |state| {
            state.ledger.ack(self.id());
            state.say(self.host, ClientMessage::Ack(self.delivery.stream_sequence));
        });
    }

    async fn nak(self, delay: Duration) {
        self.server.of(self.host, |state| {
            state.ledger.nak(self.id(), delay);
            state.say(self.host, ClientMessage::Nak(self.delivery.stream_sequence, delay));
        });
    }

    async fn term(self, _: Kept, _: &str) {
        self.server.of(self.host, |state| {
            state.ledger.term(self.id());
            state.say(self.host, ClientMessage::Term(self.delivery.stream_sequence));
        });
    }
}

/// A host's pulls, which count as those of `jetstream` do.
pub(super) struct ModelPuller {
    server: ModelServer,
    host: usize,
    arrived: Arc<Notify>,
    asked: usize,
    connects: u64,
    last_ends: Instant,
    /// The most that may be asked for and wait, now.
    most: Arc<dyn Fn() -> usize + Send + Sync>,
}

impl ModelPuller {
    pub(super) fn new(server: ModelServer, host: usize, most: Arc<dyn Fn() -> usize + Send + Sync>) -> Self {
        let (arrived, connects) = server.with(|state| (state.lines[host].arrived.clone(), state.connects));
        Self { server, host, arrived, asked: 0, connects, last_ends: Instant::now(), most }
    }

    fn come(&mut self) -> Option<Pulled<HeldDelivery>> {
        match self.server.with(|state| state.lines[self.host].incoming.pop_front())? {
            ServerMessage::Delivery { sequence, attempt, number } => {
                self.asked = self.asked.saturating_sub(1);
                let delivery = Delivery {
                    subject: format!("orders.{}", self.server.with(|state| state.message(sequence).script.key)),
                    stream_sequence: sequence,
                    attempt,
                    reply_to: Some("_INBOX.requester".into()),
                    ..Delivery::default()
                };
                let (server, host) = (self.server.clone(), self.host);
                Some(Pulled::Delivery(HeldDelivery { server, host, attempt, number, delivery }))
            }
            ServerMessage::Ended(left) => {
                self.asked = self.asked.saturating_sub(left);
                Some(Pulled::Ended)
            }
            ServerMessage::Stored(..) => None,
        }
    }
}

impl Pull for ModelPuller {
    type Held = HeldDelivery;

    fn asked(&self) -> usize {
        self.asked
    }

    async fn ask(&mut self, count: usize, _bytes: usize) -> anyhow::Result<()> {
        self.server.with(|state| {
            anyhow::ensure!(state.is_up, "the server is away");
            state.say(self.host, ClientMessage::Pull { count, expires: EXPIRES });
            let (all, most) = (state.ledger.waiting(self.host) + self.asked + count, (self.most)());
            state.ledger.rule(all <= most, || format!("{all} deliveries are asked for or wait, and {most} may"));
            Ok(())
        })?;
        self.asked += count;
        self.last_ends = Instant::now() + EXPIRES + SLACK;
        Ok(())
    }

    async fn next(&mut self) -> Pulled<HeldDelivery> {
        loop {
            if let Some(pulled) = self.come() {
                return pulled;
            }
            let connects = self.server.with(|state| state.connects);
            if connects != self.connects {
                (self.connects, self.asked) = (connects, 0);
                return Pulled::Connected;
            }
            let far = Instant::now() + Duration::from_secs(3600);
            let deadline = if self.asked > 0 { self.last_ends } else { far };
            if timeout_at(deadline, self.arrived.notified()).await.is_err() {
                self.asked = 0;
                return Pulled::Lost;
            }
        }
    }

    fn ready(&mut self) -> Option<Pulled<HeldDelivery>> {
        self.come()
    }
}
