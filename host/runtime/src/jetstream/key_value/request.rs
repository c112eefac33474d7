//! Requests of one workload's capability, with a window of their own: its buckets take nothing from its publications,
//! nor from other workloads.

use std::sync::Arc;

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::jetstream::connect::Client;
use crate::jetstream::publisher::{ANSWER, AckInbox, PendingAcks};
use crate::permissions::{Denial, Verb};
use crate::ports::KvError;
use crate::subject::shown;

/// Operations of a workload that may wait for their answers.
const AT_ONCE: usize = 64;

pub(super) struct Requests {
    client: Client,
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

impl Requests {
    pub(super) fn new(client: Client) -> Self {
        Self { client, inbox: OnceCell::new(), window: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// A place in the window, once there is one. In turn.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.window.clone().acquire_owned().await.ok()
    }

    /// Sends a request and awaits the one answer.
    pub(super) async fn ask(&self, subject: String, headers: HeaderMap, payload: Bytes) -> Result<Message, KvError> {
        let asked = shown(&subject);
        let failed = |why: String| KvError::Unavailable(format!("`{asked}` {why}"));
        if payload.len() > self.client.max_payload() {
            let most = self.client.max_payload();
            return Err(KvError::Refused(format!("the server takes no more than {most} bytes at once")));
        }
        let Some(room) = self.room().await else { return Err(failed("was not sent: the host stops".to_owned())) };
        let inbox = self.inbox.get_or_try_init(|| AckInbox::open(&self.client)).await;
        let inbox = inbox.map_err(|error| KvError::Unavailable(error.to_string()))?;
        let (token, answer) = inbox.waiting.add(room);
        let _waiting = Waiting { pending: &inbox.waiting, token };
        let (reply, to) = (format!("{}.{token}", inbox.prefix), Subject::from(subject.as_str()));
        let concerns = |denial: &Denial| denial.verb == Verb::Publish && denial.subject == subject;
        let answer = async {
            let sent = self.client.nats.publish_with_reply_and_headers(to, reply, headers, payload).await;
            sent.map_err(|error| failed(format!("was not sent: {error}")))?;
            match timeout(ANSWER, answer).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => Err(failed("is not answered: the host stops".to_owned())),
                Err(_) => Err(failed(format!("was not answered within {ANSWER:?}: the server or the bucket is away"))),
            }
        };
        self.client.denied.unless(concerns, answer).await.unwrap_or_else(|denial| {
            let allow = self.client.denied.grant(&denial);
            Err(failed(format!(
                "is denied by the NATS server; allow this user to {} to `{allow}` (`tidegate permissions` prints all)",
                denial.verb
            )))
        })
    }
}
