use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::create_errors::{Made, remedy};
use super::settings::{
    ConsumerState, Refusal, Reserved, StreamConfig, StreamState, Verdict, judge, judge_watch, reserved,
};
use super::state::{ApiError, STREAM_NOT_FOUND};
use super::{Client, dead_letters};
use crate::config::{DeadLetters, Manage, Queue, Retention, Workload};
use crate::permissions::{Denial, Verb};

/// JetStream's "JetStream not enabled", in the server and for the account.
const NOT_ENABLED: [u64; 2] = [10076, 10039];

/// How long to wait for the answers to a rehearsal. A denial comes sooner.
const REHEARSAL: Duration = Duration::from_secs(1);
/// How long the client library may take to pass on what the server denied. Later it shows at the first use.
const PASSED_ON: Duration = Duration::from_millis(50);

/// What the subject of an ack says of one delivery: here of none.
const NO_DELIVERY: &str = "1.0.0.0.0";

/// What a workload's consumers have to be.
const WORKS: &str = "a durable pull consumer with ack policy `explicit` that delivers payloads";
const WATCHES: &str = "a durable pull consumer with ack policy `all` that delivers headers only";

/// Why a workload's stream or consumer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The stream is not there.
    #[error("workload {workload}: there is no stream {stream}\n  {remedy}")]
    NoStream {
        /// The workload.
        workload: String,
        /// The stream.
        stream: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The consumer is not there.
    #[error(
        "workload {workload}: stream {stream} has no consumer {consumer}\n  Create it ({kind}), or set manage = \"create\"."
    )]
    NoConsumer {
        /// The workload.
        workload: String,
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// What it has to be.
        kind: &'static str,
    },
    /// The consumer's settings cannot work.
    #[error("workload {workload}: consumer {consumer} on stream {stream} cannot be used: {problem}\n  {remedy}")]
    Unsuitable {
        /// The workload.
        workload: String,
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The stream's settings cannot work.
    #[error("workload {workload}: stream {stream} cannot be used: {problem}\n  {remedy}")]
    UnsuitableStream {
        /// The workload.
        workload: String,
        /// The stream.
        stream: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// JetStream is off.
    #[error(
        "workload {workload}: JetStream does not answer on {servers}: {reason}\n  Start the server with `-js`, or enable JetStream \
         for this account."
    )]
    NoJetStream {
        /// The workload.
        workload: String,
        /// The URLs, without what is secret in them.
        servers: Arc<str>,
        /// What the server said.
        reason: String,
    },
    /// The server does not let this user do what a host has to do.
    #[error(
        "workload {workload}: the NATS server does not let this user {verb} to `{subject}`\n  Allow it to {verb} to `{allow}`; \
         `tidegate permissions` prints all that a host needs."
    )]
    Denied {
        /// The workload.
        workload: String,
        /// What it wanted to do.
        verb: Verb,
        /// With which subject.
        subject: String,
        /// The subject to allow.
        allow: String,
    },
    /// The server refused.
    #[error("workload {workload}: cannot set up {what}: {reason}")]
    Server {
        /// The workload.
        workload: String,
        /// The stream or consumer.
        what: String,
        /// What the server said.
        reason: String,
    },
}

/// Finds or makes what a workload needs, and checks what is there.
pub(super) struct Setup<'a> {
    pub(super) client: &'a Client,
    pub(super) workload: &'a Workload,
    pub(super) queue: &'a Queue,
}

impl Client {
    /// The stream of this name; `None` where there is none.
    pub(super) async fn find_stream(&self, name: &str) -> Result<Option<stream::Stream>, GetStreamError> {
        match self.context.get_stream(name).await {
            Ok(found) => Ok(Some(found)),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(code) if code.error_code().0 == STREAM_NOT_FOUND => Ok(None),
                _ => Err(error),
            },
        }
    }
}

impl Setup<'_> {
    /// Whether a denial keeps this workload from being set up. Others may work meanwhile on the same connection.
    pub(super) fn concerns(&self, denial: &Denial, dead_letters: &str) -> bool {
        let ours = [self.queue.stream.as_str(), dead_letters];
        let jetstream = ["$JS.API.", "$JS.ACK."].iter().any(|prefix| denial.subject.starts_with(prefix));
        denial.verb == Verb::Publish && jetstream && denial.subject.split('.').any(|token| ours.contains(&token))
    }

    /// Does what the work does, in ways that change nothing, so that a permission that is missing shows now and not when the
    /// first message has been handled and cannot be settled.
    pub(super) async fn rehearse(&self, consumer: &str) {
        let (stream, nats) = (&self.queue.stream, &self.client.nats);
        // Nobody answers a signal that a delivery is in progress.
        let signal = |subject: String| nats.publish(subject, "+WPI".into());
        let say = |subject: String, payload: &'static str| async move {
            // What is answered does not matter, nor that it is an error: who is denied gets no answer.
            let _ = timeout(REHEARSAL, nats.request(subject, payload.into())).await;
        };
        let _ = signal(format!("$JS.ACK.{stream}.{consumer}.{NO_DELIVERY}")).await;
        // Such a server may send subjects of either form, now or after its next start.
        if nats.is_server_compatible(2, 14, 0) {
            let _ = signal(format!("$JS.ACK._.rehearsal.{stream}.{consumer}.{NO_DELIVERY}")).await;
        }
        tokio::join!(
            say(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"), "{\"batch\":\"none\"}"),
            say(format!("$JS.API.STREAM.MSG.GET.{stream}"), "{\"seq\":0}"),
        );
        // A server says what it denies before it answers what was sent later; the client library passes it on by another task.
        sleep(PASSED_ON).await;
    }

    /// The workload's stream, which is made if it is not there and may be.
    pub(super) async fn stream(&self) -> Result<StreamState, SetupError> {
        let queue = self.queue;
        let what = || format!("stream {}", queue.stream);
        let found = self.client.stream_state(&queue.stream).await;
        let refused = |error| self.no_jetstream(&error).unwrap_or_else(|| self.server(what(), Made::Stream, &error));
        if let Some(found) = found.map_err(refused)? {
            self.fits(&found.config)?;
            return Ok(found);
        }
        if queue.manage == Manage::Bind || queue.subjects.is_empty() {
            let remedy = match queue.manage {
                Manage::Bind => "Create it, or set manage = \"create\" and subjects.",
                Manage::Create => "Create it, or say which subjects it is to have: subjects = [\"...\"].",
            };
            let (workload, stream) = (self.workload.name.clone(), queue.stream.clone());
            return Err(SetupError::NoStream { workload, stream, remedy });
        }
        // The server would take it, and then deliver what the host is sent to it again.
        let (name, subjects) = (queue.stream.clone(), queue.subjects.clone());
        self.fits(&StreamConfig { name, subjects, ..StreamConfig::default() })?;
        let made = match self.client.make_stream(&queue.stream, &wanted_stream(queue)).await {
            Ok(made) => made,
            // Another workload, or another host, may have made it meanwhile, with other subjects.
            Err(error) => match self.client.stream_state(&queue.stream).await {
                Ok(Some(found)) => return self.fits(&found.config).map(|()| found),
                _ => return Err(self.server(what(), Made::Stream, &error)),
            },
        };
        let (workload, stream, subjects) = (&self.workload.name, &queue.stream, &queue.subjects);
        tracing::info!(workload, stream, ?subjects, "stream created");
        Ok(made)
    }

    /// Whether a stream may be worked on whatever its consumer is.
    pub(super) fn fits(&self, config: &StreamConfig) -> Result<(), SetupError> {
        let Some(Refusal { problem, remedy }) = reserved(config, None, self.reserved()) else { return Ok(()) };
        let (workload, stream) = (self.workload.name.clone(), config.name.clone());
        Err(SetupError::UnsuitableStream { workload, stream, problem, remedy })
    }

    fn reserved(&self) -> Reserved<'_> {
        Reserved { inbox: self.client.inbox() }
    }

    /// The workload's consumer, which is made if it is not there and may be, and what is in effect for who pulls from it.
    pub(super) async fn consumer(&self, stream: &StreamState) -> Result<(ConsumerState, Verdict), SetupError> {
        let name = &self.queue.consumer;
        let known = self.client.floors.known(&self.queue.stream, name, stream);
        let wanted = wanted_consumer(self.queue, &stream.config, known);
        let (state, made) = self.found_or_made(name, &wanted, WORKS).await?;
        let verdict = judge(&state, &stream.config, self.workload, self.reserved());
        if let Some(Refusal { problem, remedy }) = &verdict.refusal {
            return Err(self.unsuitable(name, problem.clone(), remedy));
        }
        if made {
            self.tell_made(&state, known);
        }
        self.client.floors.saw(&self.queue.stream, name, &state, stream);
        let (workload, stream) = (&self.workload.name, &self.queue.stream);
        for warning in &verdict.warnings {
            tracing::warn!(workload, stream, consumer = name, "{warning}");
        }
        Ok((state, verdict))
    }

    /// Says where a consumer begins that was made now.
    fn tell_made(&self, state: &ConsumerState, known: Option<u64>) {
        let (workload, stream, consumer) = (&self.workload.name, &self.queue.stream, &self.queue.consumer);
        match (known, state.num_pending) {
            (Some(floor), pending) => tracing::warn!(
                workload,
                stream,
                consumer,
                floor,
                pending,
                "the consumer was gone and is made anew; it goes on where it was known to be settled, and what was handled \
                 after that is handled again"
            ),
            (None, 0) => tracing::info!(workload, stream, consumer, "consumer created"),
            (None, pending) => tracing::warn!(
                workload,
                stream,
                consumer,
                pending,
                "consumer created, at the beginning of its stream: {pending} messages are to be handled, and if hosts have \
                 handled them before, with a consumer that was deleted meanwhile, they are handled again; to begin elsewhere, \
                 make the consumer yourself before the host starts (`nats consumer add {stream} {consumer} --pull --deliver=...`)"
            ),
        }
    }

    pub(super) async fn watch_consumer(&self, stream: &StreamState) -> Result<Verdict, SetupError> {
        let queue = self.queue;
        if stream.config.is_workqueue() {
            let problem = "the stream has workqueue retention, so only one consumer sees a message".to_owned();
            return Err(self.unsuitable(&queue.watch_consumer, problem, "Set scale.source = \"info\"."));
        }
        let wanted = json!({
            "durable_name": queue.watch_consumer,
            "name": queue.watch_consumer,
            "ack_policy": "all",
            "headers_only": true,
            "max_deliver": -1,
            "filter_subjects": queue.filter,
            "max_ack_pending": -1,
            "replay_policy": "instant",
            // What is in the stream already is not an arrival. An interest stream keeps a message until this
            // consumer has acknowledged it, so it has to see all of them there.
            "deliver_policy": if stream.config.is_interest() { "all" } else { "new" },
        });
        let (state, made) = self.found_or_made(&queue.watch_consumer, &wanted, WATCHES).await?;
        let verdict = judge_watch(&state, WATCHES);
        if let Some(Refusal { problem, remedy }) = &verdict.refusal {
            return Err(self.unsuitable(&queue.watch_consumer, problem.clone(), remedy));
        }
        if made {
            let (workload, consumer) = (&self.workload.name, &queue.watch_consumer);
            tracing::info!(workload, stream = queue.stream, consumer, "consumer created");
        }
        Ok(verdict)
    }

    /// The consumer, and whether it was made now.
    async fn found_or_made(
        &self,
        name: &str,
        wanted: &Value,
        kind: &'static str,
    ) -> Result<(ConsumerState, bool), SetupError> {
        let stream = &self.queue.stream;
        let failed = |error: ApiError| self.server(format!("consumer {name}"), Made::Consumer, &error);
        if let Some(found) = self.client.consumer_state(stream, name).await.map_err(failed)? {
            return Ok((found, false));
        }
        let missing = || SetupError::NoConsumer {
            workload: self.workload.name.clone(),
            stream: stream.clone(),
            consumer: name.to_owned(),
            kind,
        };
        if self.queue.manage == Manage::Bind {
            return Err(missing());
        }
        match self.client.make_consumer(stream, name, wanted).await.map_err(failed)? {
            Some(made) => Ok((made, true)),
            // Another host was quicker.
            None => {
                let found = self.client.consumer_state(stream, name).await.map_err(failed)?;
                Ok((found.ok_or_else(missing)?, false))
            }
        }
    }

    pub(super) async fn dead_letters(&self, config: &DeadLetters) -> Result<(), SetupError> {
        let name = config.stream.as_str();
        if self.has_dead_letters(config).await? {
            return Ok(());
        }
        let wanted = serde_json::to_value(dead_letters::stream(config)).unwrap_or_default();
        let what = || format!("stream {name} for dead letters");
        let made = self.client.make_stream(name, &wanted).await;
        made.map_err(|error| self.server(what(), Made::DeadLetters, &error))?;
        tracing::info!(stream = name, "stream of dead letters created");
        Ok(())
    }

    /// Whether the stream of dead letters is there. One that can keep none is an error.
    pub(super) async fn has_dead_letters(&self, config: &DeadLetters) -> Result<bool, SetupError> {
        let name = config.stream.as_str();
        let what = || format!("stream {name} for dead letters");
        let failed = |error: ApiError| self.server(what(), Made::DeadLetters, &error);
        let said = |reason| Err(SetupError::Server { workload: self.workload.name.clone(), what: what(), reason });
        let Some(found) = self.client.stream_state(name).await.map_err(failed)? else { return Ok(false) };
        let config = found.config;
        if !config.subjects.iter().any(|subject| subject == dead_letters::SUBJECTS) {
            let subjects = dead_letters::SUBJECTS;
            return said(format!("it is there, and not bound to {subjects}; name another stream in [dead-letters]"));
        }
        if config.no_ack {
            return said(format!(
                "it acknowledges no publication (no_ack), so no dead letter could be known to be kept; `nats stream edit {name} --ack`"
            ));
        }
        match reserved(&config, Some(dead_letters::SUBJECTS), self.reserved()) {
            Some(Refusal { problem, remedy }) => said(format!("{problem}\n  {remedy}")),
            None => Ok(true),
        }
    }

    /// What is wrong if the first question to JetStream fails because it is off.
    fn no_jetstream(&self, error: &ApiError) -> Option<SetupError> {
        let reason = match error.code() {
            Some(code) if NOT_ENABLED.contains(&code) => error.to_string(),
            None if error.is_nobody() => "it is not enabled in the server".to_owned(),
            _ => return None,
        };
        let (workload, servers) = (self.workload.name.clone(), self.client.servers.clone());
        Some(SetupError::NoJetStream { workload, servers, reason })
    }

    fn server(&self, what: String, made: Made, error: &ApiError) -> SetupError {
        let remedy = error.code().and_then(|code| remedy(made, code));
        let reason = match remedy {
            Some(remedy) => format!("{error}\n  {remedy}"),
            None => error.to_string(),
        };
        SetupError::Server { workload: self.workload.name.clone(), what, reason }
    }

    fn unsuitable(&self, consumer: &str, problem: String, remedy: &str) -> SetupError {
        SetupError::Unsuitable {
            workload: self.workload.name.clone(),
            stream: self.queue.stream.clone(),
            consumer: consumer.to_owned(),
            problem,
            remedy: remedy.to_owned(),
        }
    }
}

/// The stream of a workload, where the host makes it.
fn wanted_stream(queue: &Queue) -> Value {
    json!({
        "name": queue.stream,
        "subjects": queue.subjects,
        "retention": match queue.retention {
            Retention::Limits => "limits",
            Retention::Interest => "interest",
            Retention::Workqueue => "workqueue",
        },
        "storage": "file",
        "num_replicas": 1,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": queue.max_bytes.unwrap_or(-1),
        "max_msg_size": -1,
        "discard": "old",
    })
}

/// The consumer of a workload, where the host makes it. `known` is the message up to which one of the same name was settled.
fn wanted_consumer(queue: &Queue, stream: &StreamConfig, known: Option<u64>) -> Value {
    let limit = stream.consumer_limits.max_ack_pending;
    let max_ack_pending = if limit > 0 { queue.max_ack_pending.min(limit) } else { queue.max_ack_pending };
    let mut wanted = json!({
        "durable_name": queue.consumer,
        "name": queue.consumer,
        "ack_policy": "explicit",
        "ack_wait": u64::try_from(queue.ack_wait.as_nanos()).unwrap_or(u64::MAX),
        "max_deliver": -1,
        "filter_subjects": queue.filter,
        "max_waiting": queue.max_waiting,
        "max_ack_pending": max_ack_pending,
        "replay_policy": "instant",
        "deliver_policy": "all",
    });
    // A stream with workqueue retention has nothing that is settled, and takes no other start.
    if let (Some(known), Some(wanted), false) = (known, wanted.as_object_mut(), stream.is_workqueue()) {
        wanted.insert("deliver_policy".to_owned(), json!("by_start_sequence"));
        wanted.insert("opt_start_seq".to_owned(), json!(known + 1));
    }
    wanted
}
