//! Requests of one workload's capability, with a window of their own: they take nothing from its publications, nor from
//! other workloads.

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::connect::Client;
use super::publisher::{AckInbox, PendingAcks};
use crate::permissions::{Denial, Verb};
use crate::ports::EffectError;
use crate::subject::shown;

/// Sends requests, and waits for the one answer of each.
pub(super) struct RequestWindow {
    client: Client,
    /// Who is away if there is no answer.
    away: &'static str,
    inbox: OnceCell<AckInbox>,
    window: Arc<Semaphore>,
}

/// Forgets a request that nobody waits for any more, so that its place in the window is free again.
struct Waiting<'a> {
    pending: &'a PendingAcks,
    token: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pending.forget(self.token);
    }
}

impl RequestWindow {
    /// A window for so many requests at once. `away` says who is away if one is not answered.
    pub(super) fn new(client: Client, at_once: usize, away: &'static str) -> Self {
        Self { client, away, inbox: OnceCell::new(), window: Arc::new(Semaphore::new(at_once)) }
    }

    /// A place in the window, once there is one. In turn.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.window.clone().acquire_owned().await.ok()
    }

    /// Sends a request and awaits the one answer, which has to come within this time once there is room to ask.
    ///
    /// # Errors
    /// [`EffectError::Refused`] if it is too large for the server, [`EffectError::Denied`] if the server does
    /// not let this host ask, and else [`EffectError::Unavailable`].
    pub(super) async fn ask(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        within: Duration,
    ) -> Result<Message, EffectError> {
        let asked = shown(&subject);
        let failed = |why: String| EffectError::Unavailable(format!("`{asked}` {why}"));
        let Some(room) = self.room().await else { return Err(failed("was not sent: the host stops".to_owned())) };
        let inbox = self.inbox.get_or_try_init(|| AckInbox::open(&self.client)).await?;
        let (token, answer) = inbox.waiting.add(room);
        let _waiting = Waiting { pending: &inbox.waiting, token };
        let (reply, to) = (format!("{}.{token}", inbox.prefix), Subject::from(subject.as_str()));
        let concerns = |denial: &Denial| denial.verb == Verb::Publish && denial.subject == subject;
        let answer = async {
            let sent = self.client.nats.publish_with_reply_and_headers(to, reply, headers, payload).await;
            sent.map_err(|error| match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => EffectError::Refused(format!(
                    "the server takes no more than {} bytes at once, headers included",
                    self.client.max_payload()
                )),
                _ => failed(format!("was not sent: {error}")),
            })?;
            match timeout(within, answer).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => Err(failed("is not answered: the host stops".to_owned())),
                Err(_) => Err(failed(format!("was not answered within {within:?}: {} is away", self.away))),
            }
        };
        self.client.denied.unless(concerns, answer).await.unwrap_or_else(|denial| {
            let allow = self.client.denied.grant(&denial);
            Err(EffectError::Denied(format!(
                "`{asked}` is denied by the NATS server; allow this user to {} to `{allow}` (`tidegate permissions` \
                 prints all)",
                denial.verb
            )))
        })
    }
}
