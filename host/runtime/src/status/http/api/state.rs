use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::rows::Rows;
use super::token::Admin;
use crate::status::http::view::View;
use crate::status::recorder::Recorder;

/// The most live streams at once: a browser with several tabs has one each.
const STREAMS: usize = 16;
/// The most readings of dead letters at once: each asks the server for a lot.
const READINGS: usize = 2;

/// What the page's answers are made of.
pub(in crate::status::http) struct PageState {
    pub(super) view: Arc<View>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) rows: Rows,
    pub(super) admin: Admin,
    pub(super) streams: Arc<Semaphore>,
    pub(super) readings: Semaphore,
}

impl PageState {
    pub(in crate::status::http) fn new(view: Arc<View>, recorder: Arc<Recorder>, admin: Admin) -> Arc<Self> {
        let (streams, readings) = (Arc::new(Semaphore::new(STREAMS)), Semaphore::new(READINGS));
        Arc::new(Self { view, recorder, rows: Rows::default(), admin, streams, readings })
    }

    /// Tells in the log what keeps the page from doing all that it should.
    pub(in crate::status::http) async fn look(&self) {
        self.admin.look().await;
    }

    /// A workload's place among all.
    pub(super) fn place(&self, workload: &str) -> Option<usize> {
        self.recorder.workloads().iter().position(|own| own.workload.name == workload)
    }
}

/// An answer in JSON.
pub(super) fn answer(body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// An answer that says why there is none.
pub(super) fn refuse(code: StatusCode, problem: &str) -> Response {
    let body = json!({ "problem": problem }).to_string();
    (code, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
