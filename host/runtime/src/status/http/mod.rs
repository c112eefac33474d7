//! Health, metrics, status and the page over HTTP, on a thread of its own: guests that spin may hold every thread that
//! workers run on, and that is just when somebody asks.
//!
//! | path | answers |
//! |---|---|
//! | `/healthz` | 200 while the process gets its tasks done |
//! | `/readyz` | 200 while the server can be reached, every plugin is loaded and every workload runs |
//! | `/metrics` | OpenMetrics |
//! | `/status` | JSON: workloads, workers, generations, the last decisions with their reasons |
//! | `/scale` | JSON: how many hosts there should be, for what starts and ends hosts |
//! | `/` | the page, for a browser; [`page`] has its files and [`api`] what it asks for |

mod api;
mod health;
mod metrics;
mod page;
mod query;
mod rollout;
mod scale;
mod serve;
mod status;
mod view;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::oneshot;

use crate::config::HttpAdmin;
use crate::events::{Event, Observer};
use crate::status::recorder::Recorder;
use api::{Admin, PageState};
use health::RuntimeLiveness;
use query::Query;
pub(crate) use status::{page_of as status_page, workload_of as workload_status};
pub(crate) use view::View;

/// Why nothing can be seen of a host.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is taken, or not of this machine.
    #[error(
        "cannot listen on {address} for HTTP: {reason}\n  Name another address with --http or http, or leave it out."
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        reason: io::Error,
    },
    /// No thread or no runtime can be had.
    #[error("cannot answer over HTTP: {0}")]
    Thread(io::Error),
}

/// Answers until it is dropped.
pub(crate) struct Serving {
    _stop: oneshot::Sender<()>,
}

/// Takes the address.
pub(crate) fn listen(address: SocketAddr, observer: &Observer) -> Result<TcpListener, HttpError> {
    let listener = TcpListener::bind(address).map_err(|reason| HttpError::Listen { address, reason })?;
    listener.set_nonblocking(true).map_err(HttpError::Thread)?;
    let address = listener.local_addr().map_err(HttpError::Thread)?;
    tracing::info!(%address, "health, metrics, status, a page over HTTP: / /healthz /readyz /metrics /status /scale");
    observer.tell(Event::Listening { address });
    Ok(listener)
}

/// Answers on a thread of its own, by address and by these names. Must be called in the runtime whose health is told.
pub(crate) fn serve(
    listener: TcpListener,
    names: Vec<String>,
    admin: Option<HttpAdmin>,
    view: Arc<View>,
) -> Result<Serving, HttpError> {
    let (stop, stopped) = oneshot::channel::<()>();
    // A name is listed for what stands in front, and whoever reaches that asks from this machine.
    let is_local = names.is_empty() && listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let recorder = Recorder::new(view.workloads.clone(), view.directory.clone());
    let page = PageState::new(view.clone(), recorder.clone(), Admin::new(admin, is_local));
    let seen = Arc::new(Seen { pulse: RuntimeLiveness::start(), view });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(HttpError::Thread)?;
    let router = router(seen).merge(page::router()).merge(api::router(page.clone()));
    let router = page::guard(serve::guard(router, names));
    let answer = async move {
        let served = async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(async move { page.look().await });
            Ok::<_, io::Error>(tokio::select! {
                never = serve::serve(listener, router) => never,
                never = recorder.run() => never,
            })
        };
        tokio::select! {
            served = served => match served {
                Ok(never) => match never {},
                Err(error) => tracing::error!(%error, "nothing is answered over HTTP"),
            },
            _ = stopped => {}
        }
    };
    thread::Builder::new()
        .name("tidegate-http".into())
        .spawn(move || runtime.block_on(answer))
        .map_err(HttpError::Thread)?;
    Ok(Serving { _stop: stop })
}

struct Seen {
    pulse: RuntimeLiveness,
    view: Arc<View>,
}

fn router(seen: Arc<Seen>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/scale", get(scale))
        .with_state(seen)
}

async fn healthz(State(seen): State<Arc<Seen>>) -> Response {
    told(seen.pulse.check())
}

async fn readyz(State(seen): State<Arc<Seen>>) -> Response {
    told(health::ready(&seen.view))
}

/// `ok`, or what is wrong, one thing a line.
fn told(problems: Vec<String>) -> Response {
    if problems.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n").into_response()
}

async fn metrics(State(seen): State<Arc<Seen>>) -> Response {
    match metrics::text(&seen.view) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn scale(State(seen): State<Arc<Seen>>, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref());
    let Some(scale) = scale::of(&seen.view, query.text("workload")) else {
        return (StatusCode::NOT_FOUND, "this host has no such workload\n").into_response();
    };
    json(&scale)
}

async fn status(State(seen): State<Arc<Seen>>) -> Response {
    json(&status::of(&seen.view))
}

fn json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
