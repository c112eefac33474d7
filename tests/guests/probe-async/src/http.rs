//! A request by `wasi:http@0.3`, and its whole answer.

use crate::bindings::wasi::http::client::send;
use crate::bindings::wasi::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use crate::bindings::wit_future;

/// The status and the body, or the error.
pub(crate) async fn get(url: &str) -> String {
    match fetch(url).await {
        Ok((status, body)) => format!("{status} {}", String::from_utf8_lossy(&body)),
        Err(error) => format!("{error:?}"),
    }
}

/// Whether a request takes a method, an authority and a path of this length.
pub(crate) fn takes(bytes: usize) -> String {
    let (no_trailers, trailers) = wit_future::new(|| Ok(None));
    drop(no_trailers);
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    let (text, path) = ("a".repeat(bytes), format!("/{}", "a".repeat(bytes.saturating_sub(1))));
    let (authority, path) = (request.set_authority(Some(&text)), request.set_path_with_query(Some(&path)));
    format!("{authority:?} {:?} {path:?}", request.set_method(&Method::Other(text)))
}

async fn fetch(url: &str) -> Result<(u16, Vec<u8>), ErrorCode> {
    let (scheme, rest) = url.split_once("://").ok_or(ErrorCode::HttpRequestUriInvalid)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let invalid = |()| ErrorCode::HttpRequestUriInvalid;
    // What is dropped without a value has the one that it was made with.
    let (no_trailers, trailers) = wit_future::new(|| Ok(None));
    drop(no_trailers);
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(&scheme)).map_err(invalid)?;
    request.set_authority(Some(authority)).map_err(invalid)?;
    request.set_path_with_query(Some(path)).map_err(invalid)?;
    let response = send(request).await?;
    let status = response.get_status_code();
    let (read, is_read) = wit_future::new(|| Ok(()));
    let (body, trailers) = Response::consume_body(response, is_read);
    let body = body.collect().await;
    drop(read);
    trailers.await?;
    Ok((status, body))
}
