use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

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
