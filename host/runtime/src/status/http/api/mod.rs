//! What the page asks for. Everything in an answer is bounded, and nothing in it is HTML. Pages of others are refused.
//!
//! | path | answers |
//! |---|---|
//! | `GET /api/live` | server-sent events: once a second what has changed, and all of one workload if one is named |
//! | `GET /api/trends` | the arrivals of the last hour, by workload |
//! | `GET /api/history?workload=NAME` | the last hour of a workload |
//! | `GET /api/letters` | dead letters, newest first, by filters |
//! | `GET /api/letters/SEQUENCE` | one, with headers and payload |
//! | `POST /api/letters/redrive`, `POST /api/letters/purge` | sends letters back, or deletes them; needs the token |
//! | `POST /api/reload` | has the configuration read again, and says what has changed or is wrong; needs the token |
//! | `POST /api/rollout/promote`, `POST /api/rollout/abort` | ends the trial of a new generation; needs the token |
//! | `POST /api/token` | whether a token is the right one |

mod answer;
mod changes;
mod cut;
mod history;
mod host_row;
mod letters;
mod live;
mod origin;
mod reload;
mod rollout;
mod rows;
mod state;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::{get, post};

pub(super) use live::ConnectionEnd;
pub(super) use state::PageState;
pub(super) use token::Admin;

/// The most bytes that a request may have beside its head.
const BODY: usize = 16 << 10;

pub(super) fn router(state: Arc<PageState>) -> Router {
    Router::new()
        .route("/api/live", get(live::live))
        .route("/api/trends", get(history::trends))
        .route("/api/history", get(history::history))
        .route("/api/letters", get(letters::list))
        .route("/api/letters/{sequence}", get(letters::show))
        .route("/api/letters/redrive", post(changes::redrive))
        .route("/api/letters/purge", post(changes::purge))
        .route("/api/reload", post(reload::reload))
        .route("/api/rollout/promote", post(rollout::promote))
        .route("/api/rollout/abort", post(rollout::abort))
        .route("/api/token", post(changes::check))
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn(origin::guard))
        .with_state(state)
}
