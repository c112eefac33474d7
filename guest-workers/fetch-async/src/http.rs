//! A request by `wasi:http` of WASI 0.3, and its whole answer.

use wasip3::http::client::send;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::wit_future;

/// Sends a request and waits for the answer: its status and its body.
pub(crate) async fn get(url: &str) -> Result<(u16, Vec<u8>), ErrorCode> {
    let response = send(request(url)?).await?;
    let status = response.get_status_code();
    // Tells the host that the body was read well, when it is dropped.
    let (read, is_read) = wit_future::new(|| Ok(()));
    let (body, trailers) = Response::consume_body(response, is_read);
    let body = body.collect().await;
    drop(read);
    trailers.await?;
    Ok((status, body))
}

fn request(url: &str) -> Result<Request, ErrorCode> {
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
    Ok(request)
}
