//! Pauses a consumer at the server and lets it go on: it delivers nothing meanwhile, to no host.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::context::RequestErrorKind;
use serde::Deserialize;
use serde_json::json;

use super::Client;
use super::paused::Paused;
use super::settings::FOR_EVER;
use super::state::ApiError;
use crate::permissions::{Denial, Verb};

/// The first version of the server that can.
pub(super) const SINCE: (i64, i64) = (2, 11);
/// The same as [`FOR_EVER`], since the Unix epoch.
const FOR_EVER_SECONDS: Duration = Duration::from_secs(7_258_118_400);
/// JetStream's "stream not found" and "consumer not found".
const NOT_FOUND: [u64; 2] = [10059, 10014];

/// Why a consumer is not paused, or goes on being.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// The server cannot.
    #[error(
        "the NATS server is version {version}, and pausing a consumer needs {}.{} or newer\n  Update it \
         (https://nats.io/download).", SINCE.0, SINCE.1
    )]
    TooOld {
        /// The server's version.
        version: String,
    },
    /// There is no such consumer.
    #[error("stream {stream} has no consumer {consumer}: a host that may make it does when it starts")]
    NoConsumer {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
    },
    /// The server does not let this user ask.
    #[error("the NATS server does not let this user publish to `{subject}`\n  Allow it.")]
    Denied {
        /// What to allow.
        subject: String,
    },
    /// The server did not do it.
    #[error("the NATS server did not do it: {0}")]
    Server(String),
}

/// The answer to `CONSUMER.PAUSE`.
#[derive(Debug, Deserialize)]
struct Answer {
    paused: bool,
    #[serde(default)]
    pause_until: String,
}

impl Client {
    /// Whether the server can pause consumers.
    pub(super) fn can_pause(&self) -> bool {
        self.nats.is_server_compatible(SINCE.0, SINCE.1, 0)
    }

    /// Pauses a consumer until then, or until somebody ends the pause.
    ///
    /// # Errors
    /// [`PauseError`]: it goes on.
    pub async fn pause(&self, stream: &str, consumer: &str, until: Option<SystemTime>) -> Result<Paused, PauseError> {
        // What ends later is for ever, and could not be written.
        let known = until.filter(|until| *until < SystemTime::UNIX_EPOCH + FOR_EVER_SECONDS);
        let until = known.map(|until| humantime::format_rfc3339_millis(until).to_string());
        self.set_pause(stream, consumer, until.as_deref().unwrap_or(FOR_EVER)).await
    }

    /// Ends the pause of a consumer, if there is one.
    ///
    /// # Errors
    /// [`PauseError`]: it stays as it is.
    pub async fn resume(&self, stream: &str, consumer: &str) -> Result<Paused, PauseError> {
        self.set_pause(stream, consumer, "0001-01-01T00:00:00Z").await
    }

    async fn set_pause(&self, stream: &str, consumer: &str, until: &str) -> Result<Paused, PauseError> {
        if !self.can_pause() {
            return Err(PauseError::TooOld { version: self.server_version() });
        }
        let subject = self.api_subject(&format!("CONSUMER.PAUSE.{stream}.{consumer}"));
        let concerns = |denial: &Denial| denial.verb == Verb::Publish && denial.subject == subject;
        let body = json!({ "pause_until": until });
        let asking = self.api(format!("CONSUMER.PAUSE.{stream}.{consumer}"), &body);
        let answer: Answer = match self.denied.unless(concerns, asking).await {
            Ok(answer) => answer.map_err(|error| refused(&error, stream, consumer))?,
            Err(denial) => return Err(PauseError::Denied { subject: denial.subject }),
        };
        Ok(Paused::told(answer.paused, &answer.pause_until))
    }
}

fn refused(error: &ApiError, stream: &str, consumer: &str) -> PauseError {
    let nobody = matches!(error, ApiError::Request(error) if error.kind() == RequestErrorKind::NoResponders);
    match error.code() {
        Some(code) if NOT_FOUND.contains(&code) => {
            PauseError::NoConsumer { stream: stream.to_owned(), consumer: consumer.to_owned() }
        }
        None if nobody => PauseError::Server("JetStream does not answer".to_owned()),
        _ => PauseError::Server(error.to_string()),
    }
}
