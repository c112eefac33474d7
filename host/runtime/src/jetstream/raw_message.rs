//! Single messages of a stream as the server has them, whatever their headers are.
//!
//! In the answer to `STREAM.MSG.GET` the header block is base64 text, so one that is no good does not break the connection,
//! and the order of the headers is kept.

use std::time::SystemTime;

use async_nats::jetstream::Error;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::DeleteStatus;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Client;

/// JetStream's "no message found", and what it says of one that is deleted already.
const NO_MESSAGE: u64 = 10037;
const NOT_FOUND: u64 = 10043;
/// Its "cannot be deleted", which says in words that there is nothing to delete.
const NOT_DELETED: u64 = 10057;
const NOTHING_THERE: [&str; 2] = ["no message found", "stream store EOF"];

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) subject: String,
    /// Its header block; empty if it has none.
    pub(super) block: Vec<u8>,
    pub(super) payload: Bytes,
    pub(super) time: SystemTime,
}

#[derive(Deserialize)]
struct Answer {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    subject: String,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

/// Reads a message. `None` if it is not there.
pub(super) async fn get(client: &Client, stream: &str, sequence: u64) -> anyhow::Result<Option<Raw>> {
    let body = serde_json::json!({ "seq": sequence });
    match client.context.request(format!("STREAM.MSG.GET.{stream}"), &body).await? {
        Response::Ok(Answer { message }) => Ok(Some(Raw {
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
    // To overwrite it on the disk too takes the server some 10 ms a message.
    let body = serde_json::json!({ "seq": sequence, "no_erase": true });
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
