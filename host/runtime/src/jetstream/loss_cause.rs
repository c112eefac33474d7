//! Finds out whether a connection may have been lost over a message that the client library cannot read. The library
//! does not say why it gave a connection up, so two questions decide. Is the server the same as before? It is not after
//! a crash or a change of server. Does the consumer wait for settlements? It does for a message that did not arrive.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::binding::WorkloadBinding;
use super::careful_inbox;
use super::denied::unless_denied;
use super::fallback::Careful;

/// How long it may take to find out.
const WITHIN: Duration = Duration::from_secs(5);

/// How much longer than two ack waits a puller stays on the careful connection after the last message that could not be
/// read.
const LONGER: Duration = Duration::from_secs(10);

/// Whether a puller has to be careful, and since when.
#[derive(Debug)]
pub(super) struct Doubt {
    binding: Arc<WorkloadBinding>,
    consumer: String,
    /// The server's id before the connection was lost.
    server: String,
    question: JoinSet<ServerAnswer>,
    /// Until when to be careful, and for how long after each message that cannot be read.
    careful: Option<(Instant, Duration)>,
}

/// The connection on which a puller goes on.
pub(super) enum LossCause {
    /// On the client library's connection.
    Library,
    /// On the careful connection, with an inbox there.
    Careful { connection: Box<Careful>, subject: String },
}

struct ServerAnswer {
    server: String,
    outcome: Option<(Careful, String, Duration)>,
}

impl Doubt {
    pub(super) fn new(binding: Arc<WorkloadBinding>, consumer: String) -> Self {
        let server = binding.client.nats.server_info().server_id;
        let mut doubt = Self { binding, consumer, server, question: JoinSet::new(), careful: None };
        if doubt.binding.client.follows_a_failure() {
            doubt.ask();
        }
        doubt
    }

    /// Whether it is not decided yet. Until then the puller must not ask for anything.
    pub(super) fn is_open(&self) -> bool {
        !self.question.is_empty()
    }

    pub(super) fn is_careful(&self, now: Instant) -> bool {
        self.careful.is_some_and(|(until, _)| now < until)
    }

    /// Notes that the connection is there again.
    pub(super) fn reconnected(&mut self, now: Instant) {
        if !self.is_careful(now) {
            self.ask();
        }
    }

    /// Notes that a message came which the client library could not have read.
    pub(super) fn confirm(&mut self, now: Instant) {
        if let Some((until, span)) = &mut self.careful {
            *until = (*until).max(now + *span);
        }
    }

    fn ask(&mut self) {
        self.question.abort_all();
        self.question = JoinSet::new();
        self.question.spawn(find_out(self.binding.clone(), self.consumer.clone(), Some(self.server.clone())));
    }

    /// Begins to make another subscription on the careful connection.
    pub(super) fn connect(&mut self) {
        if self.question.is_empty() {
            self.question.spawn(find_out(self.binding.clone(), self.consumer.clone(), None));
        }
    }

    /// Waits until it is decided. Cancel-safe.
    pub(super) async fn decided(&mut self) -> LossCause {
        let Some(found) = self.question.join_next().await else { return std::future::pending().await };
        self.careful = self.careful.filter(|(until, _)| Instant::now() < *until);
        let Ok(ServerAnswer { server, outcome }) = found else { return LossCause::Library };
        self.server = server;
        let Some((connection, subject, span)) = outcome else {
            self.careful = None;
            return LossCause::Library;
        };
        if self.careful.is_none() {
            tracing::info!(workload = %self.binding.workload, consumer = self.consumer, "the connection may have been \
                lost over a message that the client library cannot read; for a while deliveries come on a second one");
            self.careful = Some((Instant::now() + span, span));
        }
        LossCause::Careful { connection: Box::new(connection), subject }
    }
}

/// Finds out whether to be careful, if there was a server `before`, and subscribes on the careful connection if so.
async fn find_out(binding: Arc<WorkloadBinding>, consumer: String, before: Option<String>) -> ServerAnswer {
    let found = timeout(WITHIN, connect(&binding, &consumer, before.as_deref())).await;
    let outcome = match found {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => {
            tracing::warn!(workload = %binding.workload, consumer, error = format!("{error:#}"),
                "no second connection: a message that the client library cannot read would break the first again");
            None
        }
        Err(_) => None,
    };
    ServerAnswer { server: binding.client.nats.server_info().server_id, outcome }
}

async fn connect(
    binding: &WorkloadBinding,
    consumer: &str,
    before: Option<&str>,
) -> anyhow::Result<Option<(Careful, String, Duration)>> {
    let client = &binding.client;
    let asked = client.api_subject(&format!("CONSUMER.INFO.{}.{consumer}", binding.stream));
    let stream = client.context.get_stream_no_info(&binding.stream).await?;
    let info = unless_denied(client, &asked, stream.consumer_info(consumer)).await.map_err(anyhow::Error::msg)?;
    // A consumer that is gone has no messages on their way. The next pull reports that it is gone.
    let Ok(info) = info else { return Ok(None) };
    let same = before.is_none_or(|before| client.nats.server_info().server_id == before);
    if before.is_some() && !(same && info.num_ack_pending > 0) {
        return Ok(None);
    }
    let subject = client.nats.new_inbox();
    let connection = careful_inbox::subscribe(client, format!("{subject}.*")).await?;
    let ack_wait = info.config.backoff.iter().copied().max().unwrap_or(info.config.ack_wait);
    Ok(Some((connection, subject, ack_wait * 2 + LONGER)))
}
