//! A request by `wasi:http`, and its whole answer.

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme, http_error_code,
};
use wasip2::io::streams::StreamError;

/// Bytes that one call writes or reads.
const PART: usize = 4096;

/// What a server answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Sends a request and waits for the answer.
pub(crate) fn fetch(method: &Method, url: &str, body: &[u8]) -> Result<Answer, ErrorCode> {
    let response = wait(&send(method, url, body)?)?;
    Ok(Answer { status: response.status(), body: read(&response)? })
}

/// Sends a request.
pub(crate) fn send(method: &Method, url: &str, body: &[u8]) -> Result<FutureIncomingResponse, ErrorCode> {
    let (scheme, rest) = url.split_once("://").ok_or(ErrorCode::HttpRequestUriInvalid)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let invalid = |()| ErrorCode::HttpRequestUriInvalid;
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(method).map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    request.set_scheme(Some(&scheme)).map_err(invalid)?;
    request.set_authority(Some(authority)).map_err(invalid)?;
    request.set_path_with_query(Some(path)).map_err(invalid)?;
    let outgoing = request.body().map_err(invalid)?;
    let sent = handle(request, None::<RequestOptions>)?;
    if !body.is_empty() {
        let stream = outgoing.write().map_err(invalid)?;
        // Of a body that is not taken the response says why.
        if body.chunks(PART).any(|part| stream.blocking_write_and_flush(part).is_err()) {
            return Ok(sent);
        }
    }
    OutgoingBody::finish(outgoing, None)?;
    Ok(sent)
}

/// Waits until a response begins.
pub(crate) fn wait(sent: &FutureIncomingResponse) -> Result<IncomingResponse, ErrorCode> {
    sent.subscribe().block();
    sent.get().and_then(Result::ok).unwrap_or(Err(ErrorCode::InternalError(None)))
}

fn read(response: &IncomingResponse) -> Result<Vec<u8>, ErrorCode> {
    let internal = |()| ErrorCode::InternalError(None);
    let body: IncomingBody = response.consume().map_err(internal)?;
    let stream = body.stream().map_err(internal)?;
    let mut read = Vec::new();
    loop {
        match stream.blocking_read(PART as u64) {
            Ok(part) => read.extend(part),
            Err(StreamError::Closed) => return Ok(read),
            Err(StreamError::LastOperationFailed(error)) => {
                let words = || ErrorCode::InternalError(Some(error.to_debug_string()));
                return Err(http_error_code(&error).unwrap_or_else(words));
            }
        }
    }
}
