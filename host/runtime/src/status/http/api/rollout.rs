//! Promoting and ending the trial of a new generation, for who has the token.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::answer::{Body, answer, refuse};
use super::cut::cut;
use super::state::PageState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    workload: String,
}

#[derive(Serialize)]
struct Done {
    workload: String,
    /// The generation that was promoted, or whose trial was ended.
    generation: String,
}

pub(super) async fn promote(State(state): State<Arc<PageState>>, headers: HeaderMap, Body(body): Body) -> Response {
    change(&state, &headers, &body, true).await.unwrap_or_else(|refused| refused)
}

pub(super) async fn abort(State(state): State<Arc<PageState>>, headers: HeaderMap, Body(body): Body) -> Response {
    change(&state, &headers, &body, false).await.unwrap_or_else(|refused| refused)
}

async fn change(state: &PageState, headers: &HeaderMap, body: &[u8], promote: bool) -> Result<Response, Response> {
    state.admin.may_change(headers).await?;
    let asked = serde_json::from_slice(body);
    let Asked { workload } = asked.map_err(|error| refuse(StatusCode::BAD_REQUEST, &error.to_string()))?;
    let named = || cut(&workload, 100);
    let of = state.view.workloads.get(&workload);
    let none = || refuse(StatusCode::NOT_FOUND, &format!("there is no workload {}", named()));
    let off = || {
        let problem = format!("workload {} has no rollout.share, so new generations take over at once", named());
        refuse(StatusCode::CONFLICT, &problem)
    };
    let of = of.ok_or_else(none)?;
    let rollouts = of.rollouts().ok_or_else(off)?;
    let fleet = of.running().and_then(|parts| parts.fleet.clone());
    let changed = match (fleet, promote) {
        // The leader decides for all hosts.
        (Some(fleet), promote) => fleet.judge(&workload, promote).await.map_err(|error| error.to_string()),
        (None, true) => rollouts.promote().map_err(|none| none.to_string()),
        (None, false) => rollouts.abort().map_err(|none| none.to_string()),
    };
    let generation = changed.map_err(|problem| refuse(StatusCode::CONFLICT, &problem))?;
    let generation = generation.whole().to_owned();
    Ok(answer(&Done { workload, generation }))
}
