//! The one way out: a place, a connection of the pool, bodies of bounded size, time-outs.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::CONTENT_LENGTH;
use hyper::{HeaderMap, Request, Response, Uri};
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::access::HttpAccess;
use super::error::{is_certificate, of_request, of_response};
use super::exchange::Exchanges;

/// Sends a request that is granted, and waits for the head of its response. What the guest asks for shortens the
/// workload's time-outs.
pub(super) async fn send(
    access: Arc<HttpAccess>,
    exchanges: &Exchanges,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Response<WasiBody>, Error> {
    let to = request.uri().clone();
    let connect = shorter(access.limits.connect, options.connect_timeout);
    let first_byte = shorter(access.limits.first_byte, options.first_byte_timeout);
    let request = limited_request(&access, request)?;
    let place = access.place(&to, connect).await?;
    if exchanges.has_ended() {
        return Err(Error::ConnectionTerminated);
    }
    let client = access.client().await.map_err(|_| Error::ConfigurationError)?;
    let answered = timeout(connect.saturating_add(first_byte), client.request(request)).await;
    let response = answered.map_err(|_| Error::HttpResponseTimeout)?.map_err(|error| told(&access, &to, &error))?;
    let (head, body) = response.into_parts();
    let most = access.limits.response_body;
    if length(&head.headers).is_some_and(|length| length > most) {
        return Err(too_large(&access, &to));
    }
    let body = Limited::new(body, most).map_err(move |error| match error.downcast::<hyper::Error>() {
        Ok(error) => of_response(&error),
        Err(error) if error.is::<LengthLimitError>() => too_large(&access, &to),
        Err(_) => Error::HttpResponseIncomplete,
    });
    let body = exchanges.hold(body.boxed_unsync(), place, options.between_bytes_timeout);
    Ok(Response::from_parts(head, body.boxed_unsync()))
}

fn shorter(limit: Duration, asked: Option<Duration>) -> Duration {
    asked.map_or(limit, |asked| asked.min(limit))
}

fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The request, whose body ends in an error where it is too large.
fn limited_request(access: &Arc<HttpAccess>, request: Request<WasiBody>) -> Result<Request<WasiBody>, Error> {
    let (access, to) = (Arc::clone(access), request.uri().clone());
    let most = access.limits.request_body;
    let too_large = move || {
        access.tell(&to, "has a body of more than limits.http-request-body");
        Error::HttpRequestBodySize(u64::try_from(most).ok())
    };
    let is_known = |body: &WasiBody| usize::try_from(body.size_hint().lower()).is_ok_and(|size| size <= most);
    if length(request.headers()).is_some_and(|length| length > most) || !is_known(request.body()) {
        return Err(too_large());
    }
    Ok(request.map(|body| {
        let limited = Limited::new(body, most).map_err(move |error| match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(_) => too_large(),
        });
        limited.boxed_unsync()
    }))
}

fn too_large(access: &HttpAccess, to: &Uri) -> Error {
    access.tell(to, "has a response with a body of more than limits.http-response-body");
    Error::HttpResponseBodySize(u64::try_from(access.limits.response_body).ok())
}

/// What the guest is told; what only the configuration can mend is in the log too.
fn told(access: &HttpAccess, to: &Uri, error: &hyper_util::client::legacy::Error) -> Error {
    let error = of_request(error);
    if is_certificate(&error) {
        access.tell(to, "failed: no authority that this host knows made the server's certificate; see grants.http-ca");
    }
    error
}
