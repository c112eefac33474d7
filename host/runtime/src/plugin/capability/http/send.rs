//! The one way out: a place, a connection of the pool, bodies of bounded size, time-outs.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::{HeaderMap, Request, Response, Uri};
use hyper_util::client::legacy::connect::capture_connection;
use tokio::time::{sleep, timeout};
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
    let place = Arc::new(access.place(&to, connect).await?);
    if exchanges.has_ended() {
        return Err(Error::ConnectionTerminated);
    }
    let request = request.map(|body| exchanges.sends(body, Arc::clone(&place)).boxed_unsync());
    let (head, body) = respond(&access, request, connect, first_byte).await?.into_parts();
    let most = access.limits.response_body;
    // A length without a body is that of another response, as with HEAD.
    if !body.is_end_stream() && length(&head.headers).is_some_and(|length| length > most) {
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

/// Waits for a connection, one of the pool or a new one, and from then on for the head of the response.
async fn respond(
    access: &HttpAccess,
    mut request: Request<WasiBody>,
    connect: Duration,
    first_byte: Duration,
) -> Result<Response<Incoming>, Error> {
    let to = request.uri().clone();
    let client = access.client().await.map_err(|_| Error::ConfigurationError)?;
    let mut connection = capture_connection(&mut request);
    let connected = async { drop(connection.wait_for_connection_metadata().await) };
    let mut answered = pin!(client.request(request));
    let early = tokio::select! {
        biased;
        answer = &mut answered => Some(answer),
        () = connected => None,
        () = sleep(connect) => return Err(Error::ConnectionTimeout),
    };
    let answer = match early {
        Some(answer) => answer,
        None => timeout(first_byte, answered).await.map_err(|_| Error::HttpResponseTimeout)?,
    };
    answer.map_err(|error| told(access, &to, &error))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::Empty;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::Config;

    /// Answers `/` and nothing else.
    async fn serve(mut socket: TcpStream) -> std::io::Result<()> {
        let (mut asked, mut part) = (Vec::new(), [0; 1024]);
        loop {
            while !asked.ends_with(b"\r\n\r\n") {
                match socket.read(&mut part).await? {
                    0 => return Ok(()),
                    count => asked.extend(part.iter().take(count)),
                }
            }
            if asked.starts_with(b"GET / ") {
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
            }
            asked.clear();
        }
    }

    async fn get(access: &Arc<HttpAccess>, url: &str, options: RequestOptions) -> Result<u16, Error> {
        let request = Request::get(url).body(Empty::new().map_err(|never| match never {}).boxed_unsync()).unwrap();
        let response = send(Arc::clone(access), &Exchanges::default(), request, options).await?;
        Ok(response.status().as_u16())
    }

    #[tokio::test]
    async fn a_guest_shortens_each_wait_by_itself() {
        let (server, mute) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (plain, tls) = (server.local_addr().unwrap(), mute.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((socket, _)) = server.accept().await {
                tokio::spawn(serve(socket));
            }
        });
        let text = format!(
            "[workload.w]\nstream = \"S\"\nhandler = \"h\"\npolicy = \"p\"\n\
             grants.http = [\"http://{plain}/\", \"https://{tls}/\"]\n\
             limits.http-connect = \"1h\"\nlimits.http-first-byte = \"1h\"\n"
        );
        let access = Arc::new(HttpAccess::new(&Config::from_toml(&text).unwrap().workloads[0]));
        let short = Some(Duration::from_millis(1));
        let answered = get(&access, &format!("http://{plain}/"), RequestOptions::default()).await;
        assert!(matches!(answered, Ok(200)), "{answered:?}");
        // There is a connection to this one, and it says nothing.
        let options = RequestOptions { first_byte_timeout: short, ..RequestOptions::default() };
        let silent = get(&access, &format!("http://{plain}/never"), options).await;
        assert!(matches!(silent, Err(Error::HttpResponseTimeout)), "{silent:?}");
        // And none to this one before TLS is there.
        let options = RequestOptions { connect_timeout: short, ..RequestOptions::default() };
        let unconnected = get(&access, &format!("https://{tls}/"), options).await;
        assert!(matches!(unconnected, Err(Error::ConnectionTimeout)), "{unconnected:?}");
        drop(mute);
    }
}
