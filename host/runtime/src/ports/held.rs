//! A delivery that is held, and the proofs that its effects are confirmed. Only this file makes proofs, and ack and
//! term take one. A response becomes [`Published`], that becomes [`Confirmed`], and an ack takes it; a dead letter
//! becomes [`Kept`], and a term takes it.

use std::pin::pin;
use std::time::Duration;

use super::Excused;
use crate::contract::{Author, Death, Delivery, Publication, Response};

/// Why an effect is not confirmed. Only the first two are failures of the message or its handler.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EffectError {
    /// The effect is refused because of the message itself: it cannot be sent, or never be stored.
    #[error("{0}")]
    Refused(String),
    /// The target stream has another last message than the publication expects.
    #[error("{0}")]
    Conflict(String),
    /// The server does not let this host send the effect.
    #[error("{0}")]
    Denied(String),
    /// The server, the connection or the stream does not take the effect now.
    #[error("{0}")]
    Unavailable(String),
}

/// Whether an effect is confirmed.
pub(crate) type Effect = Result<(), EffectError>;

/// What the message ids of a response's publications are made of. A stream stores what has the same id once within its
/// duplicate window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublicationIds {
    /// The message, its consumer, and the place in the response: those of a handler of one message.
    #[default]
    OfPlace,
    /// The same and the content: those of a handler of batches. What it publishes may stand for several messages, and
    /// for others when the message comes again in another batch.
    OfContent,
}

/// A delivery that was fetched and is not settled yet.
///
/// `ack`, `nak` and `term` settle a delivery and consume it, so nothing is settled twice. A delivery that is dropped
/// without a settlement is delivered again after its ack wait.
pub trait Held: Send + Sync + 'static {
    /// The message.
    fn delivery(&self) -> &Delivery;

    /// The consumer's number of this delivery, from 1: the next delivery to any host has the next number. 0 where that
    /// is not known.
    fn number(&self) -> u64 {
        0
    }

    /// Asks which attempts at messages of the consumer do not count, as hosts that have stopped have written it there.
    /// `None` where that cannot be known.
    fn excused(&self) -> impl Future<Output = Option<Excused>> + Send {
        std::future::ready(None)
    }

    /// Adds attempts that this host has made by itself to the attempt of [`Held::delivery`].
    fn count_attempts(&mut self, more: u32);

    /// A call of the handler with this delivery begins.
    fn call_begins(&mut self) {}

    /// That call has ended, of the code of this author; what kind of failure it was, if it was one.
    fn call_ended(&self, failure: Option<&'static str>, author: &Author) {
        let _ = (failure, author);
    }

    /// Sends publications in order, with such message ids, and returns what waits until all are stored.
    ///
    /// # Errors
    /// If a publication cannot be sent, or an earlier one is known not to be stored. The publications before it were
    /// sent.
    fn publish(
        &self,
        publications: Vec<Publication>,
        ids: PublicationIds,
    ) -> impl Future<Output = Result<impl Future<Output = Effect> + Send + use<Self>, EffectError>> + Send;

    /// Sends the reply, if a requester waits.
    ///
    /// # Errors
    /// If it cannot be sent.
    fn reply(&self, payload: Vec<u8>) -> impl Future<Output = Result<(), EffectError>> + Send;

    /// Keeps the message as a dead letter and waits until it is stored. Then a requester that waits is told. Gives the
    /// letter's position in its stream.
    ///
    /// # Errors
    /// If the dead letter was not stored. Then the message must not be termed.
    fn dead_letter(&self, death: &Death, author: &Author) -> impl Future<Output = Result<u64, EffectError>> + Send;

    /// Whether the message's dead letter is still where it was stored: somebody may have deleted it since.
    ///
    /// # Errors
    /// If that cannot be known now. Then the message must not be termed.
    fn has_letter(&self, kept: &Kept) -> impl Future<Output = Result<bool, EffectError>> + Send;

    /// Tells the server that the delivery is in progress. The future does not borrow the delivery.
    fn in_progress(&self) -> impl Future<Output = ()> + Send + use<Self>;

    /// Settles the delivery: its message is done.
    fn ack(self, proof: Confirmed) -> impl Future<Output = ()> + Send;

    /// Settles the delivery: its message is delivered again after a delay.
    fn nak(self, delay: Duration) -> impl Future<Output = ()> + Send;

    /// Settles the delivery: its message is never delivered again.
    fn term(self, proof: Kept, reason: &str) -> impl Future<Output = ()> + Send;
}

/// All publications of a response are stored. Its reply is still to be sent.
#[derive(Debug)]
pub struct Published {
    reply: Option<Vec<u8>>,
}

/// All effects of a response are confirmed: its publications are stored, its reply is on its way on the same
/// connection.
#[derive(Debug)]
pub struct Confirmed(());

/// The message is kept as a dead letter, at this position of its stream.
#[derive(Debug, Clone)]
pub struct Kept(u64);

impl Published {
    /// The proof for a response without publications.
    ///
    /// # Errors
    /// The response, if it has publications.
    pub(crate) fn at_once(response: Response) -> Result<Self, Response> {
        if response.publications.is_empty() { Ok(Self { reply: response.reply }) } else { Err(response) }
    }

    /// Sends the publications of a response, with such message ids, and returns what waits until all are stored.
    ///
    /// # Errors
    /// If one cannot be sent, or one that was sent is known not to be stored.
    pub(crate) async fn send<D: Held>(
        held: &D,
        response: Response,
        ids: PublicationIds,
    ) -> Result<impl Future<Output = Result<Self, EffectError>> + Send + use<D>, EffectError> {
        let Response { reply, publications } = response;
        let stored = held.publish(publications, ids).await?;
        Ok(async move {
            stored.await?;
            Ok(Self { reply })
        })
    }

    /// Sends the reply, if there is one.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub(crate) async fn reply<D: Held>(self, held: &D) -> Result<Confirmed, EffectError> {
        if let Some(payload) = self.reply {
            pin!(held.reply(payload)).await?;
        }
        Ok(Confirmed(()))
    }
}

impl Kept {
    /// Keeps a message as a dead letter, and waits until it is stored.
    ///
    /// # Errors
    /// If it is not stored.
    pub(crate) async fn letter<D: Held>(held: &D, death: &Death, author: &Author) -> Result<Self, EffectError> {
        Ok(Self(held.dead_letter(death, author).await?))
    }

    /// The letter's position in its stream.
    pub(crate) fn letter_sequence(&self) -> u64 {
        self.0
    }
}
