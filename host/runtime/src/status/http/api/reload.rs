//! Has the configuration read again, for who has the token.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::answer::{answer, refuse};
use super::state::PageState;
use crate::reload::Reloaded;

/// What came of it.
#[derive(Serialize)]
struct Answer {
    /// What has changed, and what is done about it; nothing if it is as before.
    changes: Vec<String>,
    /// What is wrong. Then nothing has changed.
    problems: Vec<String>,
}

pub(super) async fn reload(State(state): State<Arc<PageState>>, headers: HeaderMap) -> Response {
    if let Err(refused) = state.admin.may_change(&headers).await {
        return refused;
    }
    if state.view.connection.get().is_none() {
        let problem = "the host waits for the NATS server, and reads its configuration again when it is connected; \
                       what says how to connect needs a restart of the host";
        return refuse(StatusCode::SERVICE_UNAVAILABLE, problem);
    }
    match state.view.source.reload("tidegate reload").await {
        Reloaded::Done(changes) => answer(&Answer { changes, problems: Vec::new() }),
        Reloaded::Refused(problems) => answer(&Answer { changes: Vec::new(), problems }),
        Reloaded::NotNow(problem) => refuse(StatusCode::SERVICE_UNAVAILABLE, &problem),
    }
}
