//! What went wrong with a request, as the guest is told it.

use std::error::Error as StdError;
use std::io;

use hyper_util::client::legacy;
use tokio_rustls::rustls;
use wasmtime_wasi_http::Error;

/// Of a request that has no response.
pub(super) fn of_request(error: &legacy::Error) -> Error {
    let causes = || std::iter::successors(error.source(), |cause: &&(dyn StdError + 'static)| (*cause).source());
    if error.is_connect() {
        return causes().find_map(of_connection).unwrap_or(Error::DestinationUnavailable);
    }
    causes().find_map(of_body).or_else(|| causes().find_map(of_http)).unwrap_or(Error::ConnectionTerminated)
}

/// Of a response's body.
pub(super) fn of_response(error: &hyper::Error) -> Error {
    of_http(error).unwrap_or(Error::HttpResponseIncomplete)
}

/// Whether a server's certificate was not taken.
pub(super) fn is_certificate(error: &Error) -> bool {
    matches!(error, Error::TlsCertificateError)
}

/// The guest's own body ended in an error, which is no error of the server.
fn of_body(cause: &(dyn StdError + 'static)) -> Option<Error> {
    match cause.downcast_ref::<Error>()? {
        Error::HttpRequestBodySize(size) => Some(Error::HttpRequestBodySize(*size)),
        _ => Some(Error::InternalError(Some("the request's body was not finished".to_owned()))),
    }
}

fn of_connection(cause: &(dyn StdError + 'static)) -> Option<Error> {
    if cause.to_string().starts_with("dns error") || cause.to_string().starts_with("failed to lookup address") {
        return Some(Error::DnsError { rcode: Some("the name has no address".to_owned()), info_code: None });
    }
    let mut error = cause.downcast_ref::<io::Error>()?;
    // `source` skips what an `io::Error` is made of.
    while let Some(inner) = error.get_ref() {
        if let Some(error) = inner.downcast_ref::<rustls::Error>() {
            return Some(match error {
                rustls::Error::InvalidCertificate(_) => Error::TlsCertificateError,
                _ => Error::TlsProtocolError,
            });
        }
        let Some(inner) = inner.downcast_ref::<io::Error>() else { break };
        error = inner;
    }
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Error::ConnectionTerminated,
        _ => return None,
    })
}

fn of_http(cause: &(dyn StdError + 'static)) -> Option<Error> {
    let error = cause.downcast_ref::<hyper::Error>()?;
    Some(if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(None)
    } else if error.is_parse() {
        Error::HttpProtocolError
    } else if error.is_incomplete_message() {
        Error::HttpResponseIncomplete
    } else if error.is_timeout() {
        Error::HttpResponseTimeout
    } else {
        return None;
    })
}
