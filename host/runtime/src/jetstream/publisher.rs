//! Publications to streams, and the acks that say that they are stored.
//!
//! The client library has one window of acks for all that a connection publishes. Here each workload has a window of
//! its own, and its dead letters another, so that a target stream that stalls holds up no other workload. A task takes
//! in the acks and makes room, whether anybody awaits them or not. So the sender of a list longer than the window waits
//! for the server only. An ack that never comes gives its room back when its waiter is dropped.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Message, StatusCode, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::connect::Client;
use super::permission_denials::PermissionDenials;
use super::publish_errors::remedy;
use super::reply_inboxes::last_token;
use crate::ports::EffectError;
use crate::subject::{check_subject, shown};

/// Publications of a workload that may wait for their acks.
const PUBLICATIONS: usize = 5_000;
/// Dead letters of a workload that may wait for their acks.
const LETTERS: usize = 256;
/// How long an ack is waited for. A window that gets no room back for twice as long counts as an outage.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// Publishes for one workload, on an inbox of its own that is made with the first publication.
#[derive(Debug)]
pub(super) struct Publisher {
    client: Client,
    inbox: OnceCell<AckInbox>,
    publications: Arc<Semaphore>,
    letters: Arc<Semaphore>,
}

/// The window in which a publication takes a place.
#[derive(Debug, Clone, Copy)]
pub(super) enum PublishWindow {
    Publications,
    Letters,
}

impl Publisher {
    pub(super) fn new(client: Client) -> Self {
        let windows = [PUBLICATIONS, LETTERS].map(|size| Arc::new(Semaphore::new(size)));
        let [publications, letters] = windows;
        Self { client, inbox: OnceCell::new(), publications, letters }
    }

    /// Publishes, and waits until the stream `into` has stored it. Gives the stream's answer: it may have had one with
    /// the same message id, whether that is there still or not.
    pub(super) async fn store(
        &self,
        window: PublishWindow,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        into: &str,
    ) -> Result<PublishAck, EffectError> {
        let mut sent = VecDeque::new();
        self.send(window, &mut sent, subject.clone(), headers, payload).await?;
        let Some(sent) = sent.pop_front() else {
            return Err(EffectError::Unavailable("the publication was not sent".to_owned()));
        };
        // `Nats-Expected-Stream` would refuse the message before it is stored elsewhere. But what the stream
        // republishes has that header too, and would be refused because of it.
        match sent.stored().await? {
            ack if ack.stream == into => Ok(ack),
            PublishAck { stream, .. } => Err(EffectError::Unavailable(format!(
                "stream {stream} has stored what was published on `{}`, and it belongs into {into}: bind that one to \
                 it",
                shown(&subject)
            ))),
        }
    }

    /// Publishes once there is room in the window, and appends the publication to `sent`. While it waits for room,
    /// publications that were sent before are removed from `sent` as their acks come.
    pub(super) async fn send(
        &self,
        window: PublishWindow,
        sent: &mut VecDeque<Sent>,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), EffectError> {
        check_subject(&subject).map_err(EffectError::Refused)?;
        let room = self.room(window, sent).await?;
        let inbox = self.inbox.get_or_try_init(|| AckInbox::open(&self.client)).await?;
        let subject = Subject::from(subject);
        let (token, answer) = inbox.waiting.add(room);
        // From here on the place in the window is given back, whatever happens.
        let (waiting, denied) = (inbox.waiting.clone(), self.client.denied.clone());
        let one = Sent { subject: subject.clone(), token, answer, is_answered: false, waiting, denied };
        let reply = format!("{}.{token}", inbox.prefix);
        let published = self.client.nats.publish_with_reply_and_headers(subject, reply, headers, payload).await;
        published.map_err(|error| one.not_sent(&error))?;
        sent.push_back(one);
        Ok(())
    }

    async fn room(
        &self,
        window: PublishWindow,
        sent: &mut VecDeque<Sent>,
    ) -> Result<OwnedSemaphorePermit, EffectError> {
        let window = match window {
            PublishWindow::Publications => &self.publications,
            PublishWindow::Letters => &self.letters,
        };
        if let Ok(room) = window.clone().try_acquire_owned() {
            return Ok(room);
        }
        let room = window.clone().acquire_owned();
        tokio::pin!(room);
        loop {
            let stored = async {
                match sent.front_mut() {
                    Some(first) => first.answered().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                room = &mut room => {
                    return room.map_err(|_| EffectError::Unavailable("the host stops publishing".to_owned()));
                }
                stored = stored => {
                    stored?;
                    sent.pop_front();
                }
                // The whole window is taken by publications of other messages, which give up after the same time.
                () = sleep(ANSWER * 2) => {
                    return Err(EffectError::Unavailable(format!(
                        "no stream has acknowledged any of the workload's publications for {ANSWER:?}"
                    )));
                }
            }
        }
    }
}

/// A publication that was sent and is not known to be stored.
#[derive(Debug)]
pub(super) struct Sent {
    subject: Subject,
    token: u64,
    answer: oneshot::Receiver<Message>,
    is_answered: bool,
    waiting: Arc<PendingAcks>,
    denied: Arc<PermissionDenials>,
}

impl Sent {
    /// Waits until a stream has stored the publication. Gives the stream's name and the position there.
    pub(super) async fn stored(mut self) -> Result<PublishAck, EffectError> {
        self.answered().await
    }

    /// As [`Sent::stored`], and cancel-safe.
    async fn answered(&mut self) -> Result<PublishAck, EffectError> {
        match timeout(ANSWER, &mut self.answer).await {
            Ok(Ok(answer)) => {
                self.is_answered = true;
                read(&answer, &self.subject)
            }
            // The server does not answer what it denies.
            _ if self.denied.publication(&self.subject) => Err(EffectError::Denied(format!(
                "the NATS server does not let this host publish on `{}`; `tidegate permissions` prints what it needs",
                shown(&self.subject)
            ))),
            Ok(Err(_)) => Err(self.unavailable("is not confirmed: the host stops publishing")),
            Err(_) => Err(self.unavailable(&format!(
                "was not acknowledged within {ANSWER:?}: its stream, or the server, does not answer; a stream with \
                 no_ack never does, until it is told to (`nats stream edit NAME --ack`), and where somebody listens to \
                 `>` the server does not say that no stream takes it"
            ))),
        }
    }

    fn not_sent(&self, error: &async_nats::PublishError) -> EffectError {
        use async_nats::client::PublishErrorKind::{InvalidSubject, MaxPayloadExceeded, Send};
        match error.kind() {
            MaxPayloadExceeded => EffectError::Refused(format!(
                "the publication on `{}` is larger than the server takes: {error}",
                shown(&self.subject)
            )),
            InvalidSubject => EffectError::Refused(format!("`{}` is not a subject", shown(&self.subject))),
            Send => self.unavailable("was not sent: the connection is closed"),
        }
    }

    fn unavailable(&self, what: &str) -> EffectError {
        EffectError::Unavailable(format!("the publication on `{}` {what}", shown(&self.subject)))
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if !self.is_answered {
            self.waiting.forget(self.token);
        }
    }
}

/// Reads a stream's answer to a publication.
pub(super) fn read(answer: &Message, subject: &str) -> Result<PublishAck, EffectError> {
    let (remedy, subject) = (|code| remedy(subject, code), shown(subject));
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(EffectError::Unavailable(format!(
            "no stream is bound to `{subject}`, so the publication was not stored: create one that is"
        )));
    }
    match serde_json::from_slice::<Response<PublishAck>>(&answer.payload) {
        Ok(Response::Ok(ack)) => Ok(ack),
        Ok(Response::Err { error }) => {
            let problem = format!("the publication on `{subject}` was not stored: {error}");
            let problem = match remedy(error.error_code().0) {
                Some(remedy) => format!("{problem}; {remedy}"),
                None => problem,
            };
            Err(match error.error_code() {
                ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
                | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM
                | ErrorCode::MESSAGE_TTL_INVALID
                | ErrorCode::MESSAGE_SCHEDULES_PATTERN_INVALID
                | ErrorCode::MESSAGE_SCHEDULES_TARGET_INVALID
                | ErrorCode::MESSAGE_SCHEDULES_TTL_INVALID
                | ErrorCode::MESSAGE_SCHEDULES_ROLLUP_INVALID
                | ErrorCode::STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_INVALID => EffectError::Refused(problem),
                ErrorCode::STREAM_WRONG_LAST_SEQUENCE
                | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT
                | ErrorCode::STREAM_WRONG_LAST_MESSAGE_ID => EffectError::Conflict(problem),
                _ => EffectError::Unavailable(problem),
            })
        }
        Err(error) => {
            let problem = format!("what answered the publication on `{subject}` is no stream: {error}");
            Err(EffectError::Unavailable(problem))
        }
    }
}

/// Those that wait for acks, by the last token of the subject that the ack comes on.
#[derive(Debug, Default)]
pub(super) struct PendingAcks(Mutex<Waiters>);

#[derive(Debug, Default)]
struct Waiters {
    next: u64,
    by_token: HashMap<u64, (oneshot::Sender<Message>, OwnedSemaphorePermit)>,
}

impl PendingAcks {
    pub(super) fn add(&self, room: OwnedSemaphorePermit) -> (u64, oneshot::Receiver<Message>) {
        let (sender, answer) = oneshot::channel();
        let mut waiters = self.0.lock();
        let token = waiters.next;
        waiters.next = token.wrapping_add(1);
        waiters.by_token.insert(token, (sender, room));
        (token, answer)
    }

    /// Makes room in the window, and hands the answer to its waiter, if there still is one.
    fn answer(&self, message: Message) {
        let token = last_token(&message.subject).parse().ok();
        let waiter = token.and_then(|token| self.0.lock().by_token.remove(&token));
        if let Some((sender, _room)) = waiter {
            sender.send(message).ok();
        }
    }

    pub(super) fn forget(&self, token: u64) {
        self.0.lock().by_token.remove(&token);
    }
}

/// A subscription to `<prefix>.*`, and the task that reads it.
#[derive(Debug)]
pub(super) struct AckInbox {
    pub(super) prefix: String,
    pub(super) waiting: Arc<PendingAcks>,
    task: tokio::task::AbortHandle,
}

impl AckInbox {
    pub(super) async fn open(client: &Client) -> Result<Self, EffectError> {
        let prefix = client.nats.new_inbox();
        let subscribed = client.nats.subscribe(format!("{prefix}.*")).await;
        let mut answers = subscribed.map_err(|error| {
            EffectError::Unavailable(format!("cannot listen for the acks of publications: {error}"))
        })?;
        let waiting = Arc::<PendingAcks>::default();
        let hears = waiting.clone();
        let task = tokio::spawn(async move {
            while let Some(answer) = answers.next().await {
                hears.answer(answer);
            }
        });
        Ok(Self { prefix, waiting, task: task.abort_handle() })
    }
}

impl Drop for AckInbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn message(subject: &str, payload: &str) -> Message {
        Message {
            subject: subject.into(),
            reply: None,
            payload: payload.to_owned().into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        }
    }

    #[tokio::test]
    async fn an_ack_makes_room_though_nobody_awaits_it() {
        let (waiting, window) = (PendingAcks::default(), Arc::new(Semaphore::new(2)));
        let tokens = [(); 2].map(|()| {
            let room = window.clone().try_acquire_owned().unwrap();
            waiting.add(room)
        });
        assert_eq!(window.available_permits(), 0);
        waiting.answer(message("_INBOX.a.nobody", ""));
        waiting.answer(message("_INBOX.a.7", ""));
        assert_eq!(window.available_permits(), 0);
        waiting.answer(message("_INBOX.a.1", "stored"));
        assert_eq!(window.available_permits(), 1);
        waiting.forget(0);
        assert_eq!(window.available_permits(), 2);
        let [_, (_, answer)] = tokens;
        assert_eq!(answer.await.unwrap().payload, "stored");
    }

    #[test]
    fn only_what_no_stream_will_ever_store_is_the_messages_own_failure() {
        let said = |payload: &str| read(&message("_INBOX.a.1", payload), "out.a");
        let error = |code: u64| {
            let error = format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"no"}},"stream":"OUT"}}"#);
            said(&error)
        };
        let stored = said(r#"{"stream":"OUT","seq":7}"#).map(|ack| (ack.stream, ack.sequence));
        assert_eq!(stored, Ok(("OUT".to_owned(), 7)));
        for code in [10070, 10071, 10164] {
            assert!(matches!(error(code), Err(EffectError::Conflict(_))), "{code}");
        }
        for code in [10054, 10097, 10165, 10189, 10190, 10191, 10192, 10193] {
            assert!(matches!(error(code), Err(EffectError::Refused(_))), "{code}");
        }
        for code in [10047, 10077, 10074, 10023, 10111, 10166, 10188] {
            assert!(matches!(error(code), Err(EffectError::Unavailable(_))), "{code}");
        }
        let Err(EffectError::Unavailable(sealed)) = error(10109) else { panic!("it is another error") };
        assert!(sealed.contains("was not stored: ") && sealed.contains("let another stream take"), "{sealed}");
        assert!(matches!(said("what?"), Err(EffectError::Unavailable(_))));
    }
}
