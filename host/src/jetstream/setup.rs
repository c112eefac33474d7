use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{
    ConsumerInfoErrorKind, GetStreamError, GetStreamErrorKind, RequestError, RequestErrorKind,
};
use async_nats::jetstream::stream::{self, RetentionPolicy, StorageType};

use super::consumer::filters;
use super::{Client, dead};
use crate::config::{DeadLetters, Manage, Queue, Retention, Workload};
use crate::permissions::{Denial, Verb};

/// JetStream's "stream not found" and "consumer not found".
const STREAM_NOT_FOUND: u64 = 10059;
const CONSUMER_NOT_FOUND: u64 = 10014;
/// Its "JetStream not enabled", in the server and for the account.
const NOT_ENABLED: [u64; 2] = [10076, 10039];

/// How long to wait for the answers to a rehearsal. A denial comes sooner.
const REHEARSAL: Duration = Duration::from_secs(1);

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
        let stream = &self.queue.stream;
        let say = |subject: String, payload: &'static str| async move {
            let answer = self.client.nats.request(subject, payload.into());
            // What is answered does not matter, nor that it is an error: who is denied gets no answer.
            let _ = tokio::time::timeout(REHEARSAL, answer).await;
        };
        tokio::join!(
            say(format!("$JS.ACK.{stream}.{consumer}.{NO_DELIVERY}"), "+WPI"),
            async {
                // Such a server may send subjects of either form, now or after its next start.
                if self.client.nats.is_server_compatible(2, 14, 0) {
                    say(format!("$JS.ACK._.rehearsal.{stream}.{consumer}.{NO_DELIVERY}"), "+WPI").await;
                }
            },
            say(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"), "{\"batch\":\"none\"}"),
            say(format!("$JS.API.STREAM.MSG.GET.{stream}"), "{\"seq\":0}"),
        );
    }

    /// The stream's retention, which is the configuration's only where the host made the stream.
    pub(super) async fn stream(&self) -> Result<RetentionPolicy, SetupError> {
        let queue = self.queue;
        let what = || format!("stream {}", queue.stream);
        let found = self.client.find_stream(&queue.stream).await;
        let refused = |error| self.no_jetstream(&error).unwrap_or_else(|| self.server(what(), error));
        if let Some(found) = found.map_err(refused)? {
            return Ok(found.cached_info().config.retention);
        }
        if queue.manage == Manage::Bind || queue.subjects.is_empty() {
            let remedy = match queue.manage {
                Manage::Bind => "Create it, or set manage = \"create\" and subjects.",
                Manage::Create => "Create it, or say which subjects it is to have: subjects = [\"...\"].",
            };
            let (workload, stream) = (self.workload.name.clone(), queue.stream.clone());
            return Err(SetupError::NoStream { workload, stream, remedy });
        }
        let retention = match queue.retention {
            Retention::Limits => RetentionPolicy::Limits,
            Retention::Interest => RetentionPolicy::Interest,
            Retention::Workqueue => RetentionPolicy::WorkQueue,
        };
        let config = stream::Config {
            name: queue.stream.clone(),
            subjects: queue.subjects.clone(),
            retention,
            storage: StorageType::File,
            num_replicas: 1,
            ..stream::Config::default()
        };
        if let Err(error) = self.client.context.create_stream(config).await {
            // Another workload, or another host, may have made it meanwhile, with other subjects.
            return match self.client.find_stream(&queue.stream).await {
                Ok(Some(found)) => Ok(found.cached_info().config.retention),
                _ => Err(self.server(what(), error)),
            };
        }
        tracing::info!(workload = self.workload.name, stream = queue.stream, subjects = ?queue.subjects, "stream created");
        Ok(retention)
    }

    pub(super) async fn consumer(&self) -> Result<consumer::Config, SetupError> {
        let queue = self.queue;
        let wanted = pull::Config {
            durable_name: Some(queue.consumer.clone()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: queue.ack_wait,
            max_deliver: -1,
            filter_subjects: queue.filter.clone(),
            max_waiting: queue.max_waiting,
            max_ack_pending: queue.max_ack_pending,
            ..pull::Config::default()
        };
        let config = self.found_or_made(&queue.consumer, wanted, WORKS).await?;
        self.check(&config)?;
        Ok(config)
    }

    pub(super) async fn watch_consumer(&self, retention: RetentionPolicy) -> Result<String, SetupError> {
        let queue = self.queue;
        if retention == RetentionPolicy::WorkQueue {
            let problem = "the stream has workqueue retention, so only one consumer sees a message".to_owned();
            return Err(self.unsuitable(&queue.watch_consumer, problem, "Set scale.source = \"info\"."));
        }
        let wanted = pull::Config {
            durable_name: Some(queue.watch_consumer.clone()),
            ack_policy: AckPolicy::All,
            headers_only: true,
            max_deliver: -1,
            filter_subjects: queue.filter.clone(),
            max_ack_pending: -1,
            // What is in the stream already is not an arrival. An interest stream keeps a message until this
            // consumer has acknowledged it, so it has to see all of them there.
            deliver_policy: match retention {
                RetentionPolicy::Interest => DeliverPolicy::All,
                _ => DeliverPolicy::New,
            },
            ..pull::Config::default()
        };
        let config = self.found_or_made(&queue.watch_consumer, wanted, WATCHES).await?;
        if config.ack_policy != AckPolicy::All || !config.headers_only || config.deliver_subject.is_some() {
            let problem = format!("the headers source needs {WATCHES}");
            let remedy = "Delete it, or name another with scale.watch-consumer.";
            return Err(self.unsuitable(&queue.watch_consumer, problem, remedy));
        }
        Ok(queue.watch_consumer.clone())
    }

    async fn found_or_made(
        &self,
        name: &str,
        wanted: pull::Config,
        kind: &'static str,
    ) -> Result<consumer::Config, SetupError> {
        let what = || format!("consumer {name}");
        let stream = self.client.context.get_stream_no_info(&self.queue.stream).await;
        let stream = stream.map_err(|error| self.server(what(), error))?;
        match stream.consumer_info(name).await {
            Ok(info) => return Ok(info.config),
            Err(error) => match error.kind() {
                ConsumerInfoErrorKind::NotFound => {}
                ConsumerInfoErrorKind::JetStream(code) if code.error_code().0 == CONSUMER_NOT_FOUND => {}
                _ => return Err(self.server(what(), error)),
            },
        }
        if self.queue.manage == Manage::Bind {
            let (workload, stream) = (self.workload.name.clone(), self.queue.stream.clone());
            return Err(SetupError::NoConsumer { workload, stream, consumer: name.to_owned(), kind });
        }
        let made = stream.create_consumer(wanted).await.map_err(|error| self.server(what(), error))?;
        tracing::info!(workload = self.workload.name, stream = self.queue.stream, consumer = name, "consumer created");
        Ok(made.cached_info().config.clone())
    }

    fn check(&self, config: &consumer::Config) -> Result<(), SetupError> {
        let unsuitable = |problem: String, remedy: &str| Err(self.unsuitable(&self.queue.consumer, problem, remedy));
        let attempts = i64::from(self.workload.retry.max_attempts);
        if config.deliver_subject.is_some() {
            return unsuitable("it is a push consumer".into(), "Use a pull consumer.");
        }
        if config.durable_name.is_none() {
            return unsuitable(
                "it is not durable, so the server deletes it when nobody pulls".into(),
                "Use a durable consumer.",
            );
        }
        if config.ack_policy != AckPolicy::Explicit {
            let problem = match config.ack_policy {
                AckPolicy::None => "it has ack policy `none`: what a worker fails at would be lost",
                _ => "its ack policy is not `explicit`: the ack of one message would settle those before it",
            };
            return unsuitable(problem.into(), "Use a consumer with ack policy `explicit`.");
        }
        if config.headers_only {
            return unsuitable("it delivers headers only".into(), "Use a consumer that delivers payloads.");
        }
        if (1..=attempts).contains(&config.max_deliver) {
            let problem = format!(
                "its max_deliver is {}, and retry.max-attempts is {attempts}: the server would drop a message without a dead letter",
                config.max_deliver
            );
            return unsuitable(problem, "Set its max_deliver to -1; tidegate counts the attempts.");
        }
        let (mut actual, mut wanted) = (filters(config), self.queue.filter.clone());
        actual.sort();
        wanted.sort();
        if !wanted.is_empty() && actual != wanted {
            let has = if actual.is_empty() {
                "it has no filter".to_owned()
            } else {
                format!("its filter is {}", actual.join(", "))
            };
            let problem = format!("{has}, and the configuration's is {}", wanted.join(", "));
            return unsuitable(problem, "Make them the same, leave out filter, or name another consumer.");
        }
        self.warn(config);
        Ok(())
    }

    fn warn(&self, config: &consumer::Config) {
        let workload = &self.workload.name;
        let workers = i64::from(self.workload.scale.max);
        let batch = i64::try_from(self.workload.pull.batch).unwrap_or(i64::MAX);
        if config.max_ack_pending > 0 && config.max_ack_pending < workers.saturating_mul(batch) {
            tracing::warn!(
                workload,
                max_ack_pending = config.max_ack_pending,
                workers,
                batch,
                "the consumer's max_ack_pending is less than scale.max x pull.batch: workers may wait though messages are pending; \
                 raise it, or lower scale.max or pull.batch"
            );
        }
        if config.max_ack_pending > 0 && config.max_ack_pending < workers {
            tracing::warn!(
                workload,
                max_ack_pending = config.max_ack_pending,
                "the consumer's max_ack_pending is less than scale.max: no more workers than that will run"
            );
        }
        if config.max_waiting > 0 && config.max_waiting < 4 {
            tracing::warn!(
                workload,
                max_waiting = config.max_waiting,
                "the consumer's max_waiting is less than 4: pulls of several hosts will be refused; make the consumer anew with a larger one"
            );
        }
        if !config.backoff.is_empty() {
            tracing::warn!(workload, backoff = ?config.backoff, "the consumer has a backoff, which replaces its ack wait; tidegate delays retries by itself");
        }
    }

    pub(super) async fn dead_letters(&self, config: &DeadLetters) -> Result<(), SetupError> {
        let name = config.stream.as_str();
        let what = || format!("stream {name} for dead letters");
        if let Some(found) = self.client.find_stream(name).await.map_err(|error| self.server(what(), error))? {
            if found.cached_info().config.subjects.iter().any(|subject| subject == dead::SUBJECTS) {
                return Ok(());
            }
            let problem =
                format!("it is there, and not bound to {}; name another stream in [dead-letters]", dead::SUBJECTS);
            return Err(self.server(what(), problem));
        }
        self.client.context.create_stream(dead::stream(config)).await.map_err(|error| self.server(what(), error))?;
        tracing::info!(stream = name, "stream of dead letters created");
        Ok(())
    }

    /// What is wrong if the first question to JetStream fails because it is off.
    fn no_jetstream(&self, error: &GetStreamError) -> Option<SetupError> {
        let reason = match error.kind() {
            GetStreamErrorKind::JetStream(error) if NOT_ENABLED.contains(&error.error_code().0) => error.to_string(),
            GetStreamErrorKind::Request => {
                let request = error.source()?.downcast_ref::<RequestError>()?;
                if request.kind() != RequestErrorKind::NoResponders {
                    return None;
                }
                "it is not enabled in the server".to_owned()
            }
            _ => return None,
        };
        let (workload, servers) = (self.workload.name.clone(), self.client.servers.clone());
        Some(SetupError::NoJetStream { workload, servers, reason })
    }

    fn server(&self, what: String, error: impl std::fmt::Display) -> SetupError {
        SetupError::Server { workload: self.workload.name.clone(), what, reason: error.to_string() }
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
