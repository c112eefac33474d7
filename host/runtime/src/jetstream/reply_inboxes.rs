//! The inboxes of requests.
//!
//! A client subscribes once, to `<inbox>.*`, and a task hands each reply to its waiter. A subscription for each request
//! would cost two more protocol lines, and a fast reply could come before the subscription.

use std::collections::HashMap;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, oneshot};

/// The inbox that all clones of a client share, made with the first request.
#[derive(Debug, Clone, Default)]
pub(super) struct PendingRequests(Arc<OnceCell<ReplyInbox>>);

impl PendingRequests {
    pub(super) async fn inbox(&self, nats: &async_nats::Client) -> Result<&ReplyInbox, async_nats::SubscribeError> {
        self.0.get_or_try_init(|| ReplyInbox::open(nats)).await
    }
}

type PendingReplies = Arc<Mutex<HashMap<String, Vec<oneshot::Sender<async_nats::Message>>>>>;

/// A subscription to `<prefix>.*`, and the waiters for what comes there.
#[derive(Debug)]
pub(super) struct ReplyInbox {
    prefix: String,
    waiting: PendingReplies,
    task: tokio::task::AbortHandle,
}

impl ReplyInbox {
    async fn open(nats: &async_nats::Client) -> Result<Self, async_nats::SubscribeError> {
        let prefix = nats.new_inbox();
        let mut replies = nats.subscribe(format!("{prefix}.*")).await?;
        let waiting = PendingReplies::default();
        let task = tokio::spawn({
            let waiting = Arc::clone(&waiting);
            async move {
                while let Some(message) = replies.next().await {
                    let found = waiting.lock().remove(last_token(&message.subject));
                    for waiter in found.into_iter().flatten() {
                        // An error means that the waiter has just given up.
                        waiter.send(message.clone()).ok();
                    }
                }
            }
        });
        Ok(Self { prefix, waiting, task: task.abort_handle() })
    }

    /// The subject on which a reply reaches the waiter for `token`.
    pub(super) fn subject(&self, token: &str) -> String {
        format!("{}.{token}", self.prefix)
    }

    /// Starts to wait for the replies to `token`. Must be called before the request is sent.
    pub(super) fn wait(&self, token: String) -> Waiter {
        let (sender, reply) = oneshot::channel();
        self.waiting.lock().entry(token.clone()).or_default().push(sender);
        Waiter { token, reply, waiting: Arc::clone(&self.waiting) }
    }
}

impl Drop for ReplyInbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request's place in the inbox. It is given up when the waiter is dropped.
pub(super) struct Waiter {
    token: String,
    pub(super) reply: oneshot::Receiver<async_nats::Message>,
    waiting: PendingReplies,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.reply.close();
        let mut waiting = self.waiting.lock();
        if let Some(waiters) = waiting.get_mut(&self.token) {
            waiters.retain(|waiter| !waiter.is_closed());
            if waiters.is_empty() {
                waiting.remove(&self.token);
            }
        }
    }
}

/// Makes a token of a message id, which may hold any character and be of any length.
pub(super) fn token(id: &str) -> String {
    let mut token = HEXLOWER.encode(&Sha256::digest(id.as_bytes()));
    token.truncate(32);
    token
}

pub(super) fn last_token(subject: &str) -> &str {
    subject.rsplit('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_message_id_makes_a_literal_token(id in any::<String>()) {
            let token = token(&id);
            prop_assert!(token.chars().all(|c| c.is_ascii_hexdigit()));
            prop_assert_eq!(token.len(), 32);
        }
    }
}
