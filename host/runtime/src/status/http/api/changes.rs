//! Redriving and deleting dead letters: for who has the token, one letter after the other.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::answer::{Body, answer, refuse};
use super::letters::{opened, unread};
use super::state::PageState;
use crate::dead_letter::Letter;
use crate::jetstream::{Letters, Redriven, SendError};

/// The most letters of one request.
const MOST: usize = 100;
/// How long they may take: the answer must come before its connection ends.
const WITHIN: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sequences: Vec<u64>,
    /// The workload in whose account they are, where that is one of its own.
    #[serde(default)]
    workload: Option<String>,
}

/// What became of the letters, by their positions.
#[derive(Serialize, Default)]
struct Done {
    /// Stored again, or deleted.
    done: Vec<u64>,
    /// Those that were gone when their turn came.
    gone: Vec<u64>,
    /// Those that stay, each with the reason.
    failed: Vec<(u64, String)>,
    /// Those whose turn did not come.
    left: Vec<u64>,
}

/// What became of one letter.
enum Became {
    Done,
    Gone,
    Failed(String),
    /// As others would.
    Ended(String),
}

/// Whether a token is the right one.
pub(super) async fn check(State(state): State<Arc<PageState>>, headers: HeaderMap) -> Response {
    match state.admin.may_change(&headers).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refused) => refused,
    }
}

pub(super) async fn redrive(State(state): State<Arc<PageState>>, headers: HeaderMap, Body(body): Body) -> Response {
    each(&state, &headers, &body, "redriven", async |letters, sequence| {
        match letters.redrive(sequence, None, false).await {
            Ok(Redriven::Stored { .. }) => Became::Done,
            Ok(Redriven::Gone) => Became::Gone,
            Err(SendError::Letter(why)) => Became::Failed(why),
            Err(SendError::Server(why)) => Became::Ended(why),
        }
    })
    .await
    .unwrap_or_else(|refused| refused)
}

pub(super) async fn purge(State(state): State<Arc<PageState>>, headers: HeaderMap, Body(body): Body) -> Response {
    each(&state, &headers, &body, "deleted", async |letters, sequence| {
        let deleted = async {
            // What is no letter is somebody else's.
            let stored = letters.get(sequence).await?;
            let Some(letter) = stored.as_ref().and_then(Letter::read) else { return Ok(false) };
            letters.delete(&letter).await
        };
        match deleted.await {
            Ok(true) => Became::Done,
            Ok(false) => Became::Gone,
            Err::<_, crate::jetstream::LettersError>(error) => Became::Ended(error.to_string()),
        }
    })
    .await
    .unwrap_or_else(|refused| refused)
}

/// Does something with each letter that is asked for, as far as the time goes. `Err` is the answer if it must not be.
async fn each(
    state: &PageState,
    headers: &HeaderMap,
    body: &[u8],
    verb: &str,
    one: impl AsyncFn(&Letters, u64) -> Became,
) -> Result<Response, Response> {
    state.admin.may_change(headers).await?;
    let wrong = |problem: &str| refuse(StatusCode::BAD_REQUEST, problem);
    let asked: Asked = serde_json::from_slice(body).map_err(|error| wrong(&error.to_string()))?;
    if asked.sequences.is_empty() || asked.sequences.len() > MOST {
        return Err(wrong(&format!("name 1 to {MOST} letters by their sequences")));
    }
    let letters = opened(state, asked.workload.as_deref()).await?;
    // Or letters that are stored again would stay, to be stored once more by the next redrive.
    letters.may_delete().await.map_err(|error| unread(&error))?;
    let (end, mut done) = (Instant::now() + WITHIN, Done::default());
    let mut ended = false;
    for sequence in asked.sequences {
        if ended || Instant::now() >= end {
            done.left.push(sequence);
            continue;
        }
        // Positions begin at 1, and the server refuses to look for another.
        let became = if sequence == 0 { Became::Gone } else { one(&letters, sequence).await };
        match became {
            Became::Done => done.done.push(sequence),
            Became::Gone => done.gone.push(sequence),
            Became::Failed(why) => done.failed.push((sequence, why)),
            Became::Ended(why) => {
                ended = true;
                done.failed.push((sequence, why));
            }
        }
    }
    if !done.done.is_empty() {
        let (count, stream) = (done.done.len(), letters.stream());
        tracing::info!(stream, sequences = ?done.done, "{count} dead letters {verb} over HTTP");
    }
    Ok(answer(&done))
}
