//! Why a workload cannot be set up, in words that say what to do.

use std::sync::Arc;

use crate::permissions::Verb;

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
        "workload {workload}: stream {stream} has no consumer {consumer}\n  Create it ({kind}), or set manage = \
         \"create\"."
    )]
    NoConsumer {
        /// The workload.
        workload: String,
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// What the consumer has to be.
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
    /// A key-value bucket is not there.
    #[error(
        "workload {workload}: there is no bucket {bucket}, which grants.kv names\n  \
         Create it (`nats kv add {bucket}`), or set manage = \"create\"."
    )]
    NoBucket {
        /// The workload.
        workload: String,
        /// The bucket.
        bucket: String,
    },
    /// JetStream is off.
    #[error(
        "workload {workload}: JetStream does not answer on {servers}: {reason}\n  Start the server with `-js`, or \
         enable JetStream for this account."
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
        "workload {workload}: the NATS server does not let this user {verb} to `{subject}`\n  Allow it to {verb} to \
         `{allow}`; `tidegate permissions` prints all that a host needs."
    )]
    Denied {
        /// The workload.
        workload: String,
        /// What the user wanted to do.
        verb: Verb,
        /// With which subject.
        subject: String,
        /// The subject to allow.
        allow: String,
    },
    /// The server stores what a grant lets a handler ask for as if nothing was asked.
    #[error(
        "workload {workload}: the NATS server is version {version}, and {grant} in grants.nats-headers needs {since} \
         or newer\n  Update it (https://nats.io/download), or take {grant} out of grants.nats-headers."
    )]
    TooOld {
        /// The workload.
        workload: String,
        /// The grant.
        grant: &'static str,
        /// The server's version.
        version: String,
        /// The oldest version that would do.
        since: String,
    },
    /// The server cannot pause a consumer.
    #[error(
        "workload {workload}: the NATS server is version {version}, and paused = true needs {since} or newer\n  Update \
         it (https://nats.io/download), or remove paused and run no host of the workload."
    )]
    CannotPause {
        /// The workload.
        workload: String,
        /// The server's version.
        version: String,
        /// The oldest version that would do.
        since: String,
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
