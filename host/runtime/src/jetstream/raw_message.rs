//! Single messages of a stream as the server has them, whatever their headers are.
//!
//! In the answer to `STREAM.MSG.GET` the header block is base64 text. So a malformed block does not break the
//! connection, and the order of the headers is kept.

use std::time::SystemTime;

use async_nats::jetstream::Error;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::DeleteStatus;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::connect::Client;
use crate::dead_letter::{StoredMessage, block};

/// JetStream's "no message found", and what it says of one that is deleted already.
const NO_MESSAGE: u64 = 10037;
const NOT_FOUND: u64 = 10043;
/// JetStream's "cannot be deleted", whose words say whether there is nothing to delete.
const NOT_DELETED: u64 = 10057;
const NOTHING_THERE: [&str; 2] = ["no message found", "stream store EOF"];

/// A message of a stream, as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawMessage {
    /// Its position in the stream.
    pub(super) sequence: u64,
    pub(super) subject: String,
    /// Its header block; empty if it has none.
    pub(super) block: Vec<u8>,
    pub(super) payload: Bytes,
    pub(super) time: SystemTime,
}

#[derive(Deserialize)]
struct GetResponse {
    message: MessageJson,
}

#[derive(Deserialize)]
struct MessageJson {
    seq: u64,
    subject: String,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

impl RawMessage {
    /// Whether the client library gives up its connection when this message is delivered. In JSON the server writes
    /// U+FFFD in place of bytes that are not UTF-8.
    pub(super) fn is_unreadable(&self) -> bool {
        self.subject.contains('\u{fffd}')
            || (!self.block.is_empty() && self.subject.contains(char::is_whitespace))
            || block::read(&self.block).is_err()
    }
}

impl From<RawMessage> for StoredMessage {
    fn from(raw: RawMessage) -> Self {
        let RawMessage { sequence, subject, block, payload, time } = raw;
        let headers = block::read(&block);
        let is_readable = headers.is_ok();
        Self {
            sequence,
            subject,
            headers: headers.unwrap_or_default(),
            is_readable,
            size: payload.len(),
            payload,
            time,
        }
    }
}

/// Reads a message. `None` if it is not there.
pub(super) async fn get(client: &Client, stream: &str, sequence: u64) -> anyhow::Result<Option<RawMessage>> {
    request(client, stream, &json!({ "seq": sequence })).await
}

/// Reads the last message on a subject. `None` if there is none.
pub(super) async fn last(client: &Client, stream: &str, subject: &str) -> anyhow::Result<Option<RawMessage>> {
    request(client, stream, &json!({ "last_by_subj": subject })).await
}

/// Reads the first message from a position on, on one of these subjects, or on any if there are none. `None` if there
/// is no such message.
pub(super) async fn next(
    client: &Client,
    stream: &str,
    from: u64,
    subjects: &[String],
) -> anyhow::Result<Option<RawMessage>> {
    let all = [">".to_owned()];
    let mut first: Option<RawMessage> = None;
    for subject in if subjects.is_empty() { &all } else { subjects } {
        let found = request(client, stream, &json!({ "seq": from, "next_by_subj": subject })).await?;
        first = first.into_iter().chain(found).min_by_key(|message| message.sequence);
    }
    Ok(first)
}

async fn request(client: &Client, stream: &str, body: &Value) -> anyhow::Result<Option<RawMessage>> {
    answered(client.context.request(format!("STREAM.MSG.GET.{stream}"), body).await?)
}

/// Reads the answer to `STREAM.MSG.GET`. `None` if there is no such message.
pub(super) fn parse(answer: &[u8]) -> anyhow::Result<Option<RawMessage>> {
    answered(serde_json::from_slice(answer)?)
}

fn answered(answer: Response<GetResponse>) -> anyhow::Result<Option<RawMessage>> {
    match answer {
        Response::Ok(GetResponse { message }) => Ok(Some(RawMessage {
            sequence: message.seq,
            block: BASE64_STANDARD.decode(&message.hdrs)?,
            payload: BASE64_STANDARD.decode(&message.data)?.into(),
            time: OffsetDateTime::parse(&message.time, &Rfc3339)?.into(),
            subject: message.subject,
        })),
        Response::Err { error } if error.error_code().0 == NO_MESSAGE => Ok(None),
        Response::Err { error } => Err(error.into()),
    }
}

/// Deletes a message. `false` if it is not there.
pub(super) async fn delete(client: &Client, stream: &str, sequence: u64) -> anyhow::Result<bool> {
    // Overwriting the message on the disk too would take the server some 10 ms.
    let body = json!({ "seq": sequence, "no_erase": true });
    match client.context.request(format!("STREAM.MSG.DELETE.{stream}"), &body).await? {
        Response::Ok(DeleteStatus { success }) => Ok(success),
        Response::Err { error } if is_nothing(&error) => Ok(false),
        Response::Err { error } => Err(error.into()),
    }
}

fn is_nothing(error: &Error) -> bool {
    match error.error_code().0 {
        NO_MESSAGE | NOT_FOUND => true,
        NOT_DELETED => NOTHING_THERE.iter().any(|words| error.to_string().starts_with(words)),
        _ => false,
    }
}
