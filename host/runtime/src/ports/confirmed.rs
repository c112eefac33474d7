//! Proofs that the effects of a delivery are confirmed. Nothing but this file makes one, and without one nothing acks or
//! terms: a response becomes [`Stored`], that becomes [`Confirmed`], and an ack takes it.

use crate::contract::Author;
use crate::contract::{Death, Response};
use crate::ports::{EffectError, Held};

/// All publications of a response are stored. Its reply is still to be sent.
#[derive(Debug)]
pub struct Stored {
    reply: Option<Vec<u8>>,
}

/// All effects of a response are confirmed: its publications are stored, its reply is on its way on the same connection.
#[derive(Debug)]
pub struct Confirmed(());

/// The message is kept as a dead letter.
#[derive(Debug, Clone)]
pub struct Kept(());

impl Stored {
    /// Of a response without publications; any other is given back.
    ///
    /// # Errors
    /// The response, if it has publications.
    pub fn at_once(response: Response) -> Result<Self, Response> {
        if response.publications.is_empty() { Ok(Self { reply: response.reply }) } else { Err(response) }
    }

    /// Sends the publications of a response, and returns what waits until all are stored.
    ///
    /// # Errors
    /// If one cannot be sent, or one that was sent is known not to be stored.
    pub async fn send<D: Held>(
        held: &D,
        response: Response,
    ) -> Result<impl Future<Output = Result<Self, EffectError>> + Send + use<D>, EffectError> {
        let Response { reply, publications } = response;
        let stored = held.publish(publications).await?;
        Ok(async move {
            stored.await?;
            Ok(Self { reply })
        })
    }

    /// Sends the reply, if there is one.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub async fn reply<D: Held>(self, held: &D) -> Result<Confirmed, EffectError> {
        if let Some(payload) = self.reply {
            held.reply(payload).await?;
        }
        Ok(Confirmed(()))
    }
}

impl Kept {
    /// Keeps a message as a dead letter, and waits until it is stored.
    ///
    /// # Errors
    /// If it is not stored.
    pub async fn letter<D: Held>(held: &D, death: &Death, author: &Author) -> Result<Self, EffectError> {
        held.dead_letter(death, author).await?;
        Ok(Self(()))
    }
}
