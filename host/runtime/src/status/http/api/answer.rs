use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
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

/// The body of a request. That it is too long is answered as all else is.
pub(super) struct Body(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let read = Bytes::from_request(request, state).await;
        read.map(Self).map_err(|rejection| refuse(rejection.status(), &rejection.body_text()))
    }
}
