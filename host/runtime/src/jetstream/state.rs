//! Asks the server for streams and consumers, and makes them.

use std::collections::BTreeMap;

use async_nats::jetstream;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind, RequestError, RequestErrorKind};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::Client;
use super::bucket::BucketState;
use super::denied::unless_denied;
use super::settings::{ConsumerState, StreamState};

/// JetStream's "stream not found", "consumer not found" and "consumer already exists".
const STREAM_NOT_FOUND: u64 = 10059;
const CONSUMER_NOT_FOUND: u64 = 10014;
const CONSUMER_EXISTS: u64 = 10148;

/// Why the server did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// There was no answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The server refused.
    #[error(transparent)]
    Refused(#[from] jetstream::Error),
}

impl ApiError {
    /// JetStream's number of the error.
    pub(super) fn code(&self) -> Option<u64> {
        match self {
            Self::Request(_) => None,
            Self::Refused(error) => Some(error.error_code().0),
        }
    }

    /// Whether there is no JetStream to answer.
    pub(super) fn is_nobody(&self) -> bool {
        matches!(self, Self::Request(error) if error.kind() == RequestErrorKind::NoResponders)
    }
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

    pub(super) async fn api<T: DeserializeOwned>(&self, subject: String, body: &Value) -> Result<T, ApiError> {
        match self.context.request(subject, body).await? {
            Response::Ok(answer) => Ok(answer),
            Response::Err { error } => Err(error.into()),
        }
    }

    /// The state of a stream; `None` where there is none.
    pub(super) async fn stream_state(&self, stream: &str) -> Result<Option<StreamState>, ApiError> {
        unless(STREAM_NOT_FOUND, self.api(format!("STREAM.INFO.{stream}"), &json!({})).await)
    }

    /// Whether a stream holds messages that one of the filters matches. If the server does not tell, it may.
    pub(super) async fn holds(&self, stream: &str, filters: &[String]) -> bool {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Held {
            state: Subjects,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Subjects {
            subjects: Option<BTreeMap<String, u64>>,
        }
        for filter in filters {
            let body = json!({ "subjects_filter": filter });
            let held = self.api::<Held>(format!("STREAM.INFO.{stream}"), &body).await;
            if held.map_or(true, |held| held.state.subjects.is_some_and(|all| !all.is_empty())) {
                return true;
            }
        }
        false
    }

    /// The state of the stream of this name, where there is one and the server tells it.
    pub(super) async fn stream_seen(&self, stream: &str) -> Option<StreamState> {
        let asked = self.api_subject(&format!("STREAM.INFO.{stream}"));
        unless_denied(self, &asked, self.stream_state(stream)).await.ok()?.ok()?
    }

    /// The state of the stream that is a bucket; `None` where there is none.
    pub(super) async fn bucket_state(&self, stream: &str) -> Result<Option<BucketState>, ApiError> {
        unless(STREAM_NOT_FOUND, self.api(format!("STREAM.INFO.{stream}"), &json!({})).await)
    }

    /// How many messages are lost with a consumer that is gone, as far as is known.
    pub(crate) fn lost_with(&self, stream: &str, consumer: &str) -> u64 {
        self.floors.lost_with(stream, consumer)
    }

    /// Whether the server says that there is no such consumer, or no such stream.
    pub(crate) async fn lacks_consumer(&self, stream: &str, consumer: &str) -> bool {
        match self.consumer_state(stream, consumer).await {
            Ok(found) => found.is_none(),
            Err(error) => error.code() == Some(STREAM_NOT_FOUND),
        }
    }

    /// The state of a consumer; `None` where there is none.
    pub(super) async fn consumer_state(&self, stream: &str, consumer: &str) -> Result<Option<ConsumerState>, ApiError> {
        unless(CONSUMER_NOT_FOUND, self.api(format!("CONSUMER.INFO.{stream}.{consumer}"), &json!({})).await)
    }

    /// Makes a stream.
    pub(super) async fn make_stream(&self, stream: &str, config: &Value) -> Result<StreamState, ApiError> {
        self.api(format!("STREAM.CREATE.{stream}"), config).await
    }

    /// Makes a consumer; `None` if another host has just made it.
    pub(super) async fn make_consumer(
        &self,
        stream: &str,
        consumer: &str,
        config: &Value,
    ) -> Result<Option<ConsumerState>, ApiError> {
        let body = json!({ "stream_name": stream, "config": config, "action": "create" });
        unless(CONSUMER_EXISTS, self.api(format!("CONSUMER.CREATE.{stream}.{consumer}"), &body).await)
    }

    /// Gives a consumer that is there these settings.
    pub(super) async fn update_consumer(
        &self,
        stream: &str,
        consumer: &str,
        config: &Map<String, Value>,
    ) -> Result<ConsumerState, ApiError> {
        let body = json!({ "stream_name": stream, "config": config, "action": "update" });
        self.api(format!("CONSUMER.CREATE.{stream}.{consumer}"), &body).await
    }
}

fn unless<T>(code: u64, answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Err(error) if error.code() == Some(code) => Ok(None),
        answer => answer.map(Some),
    }
}
