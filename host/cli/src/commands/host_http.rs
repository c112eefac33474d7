//! What a host answers over HTTP.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::address::Address;

/// How long an answer is waited for.
const WITHIN: Duration = Duration::from_secs(5);
/// The same where something is to be done, which the leader of a fleet may have to do.
const DONE_WITHIN: Duration = Duration::from_secs(30);
/// The most bytes of one: thousands of workloads, and not all that a stranger at the address would send.
const MOST: u64 = 64 << 20;

/// The code and the body of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) body: Vec<u8>,
}

/// What is answered to who asks for a path, or why nothing is.
pub(super) async fn get(address: &Address, path: &str) -> Result<Answer, String> {
    exchange(address, &format!("GET {path}"), ("", ""), WITHIN).await
}

/// What is answered to who sends JSON there with a token.
pub(super) async fn post(address: &Address, path: &str, token: &str, json: &str) -> Result<Answer, String> {
    let headers = format!(
        "Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        json.len()
    );
    exchange(address, &format!("POST {path}"), (&headers, json), DONE_WITHIN).await
}

async fn exchange(
    address: &Address,
    what: &str,
    (headers, body): (&str, &str),
    within: Duration,
) -> Result<Answer, String> {
    let authority = address.authority();
    // In this version the answer is in one piece, and ends with the connection.
    let request = format!("{what} HTTP/1.0\r\nHost: {authority}\r\nAccept: application/json\r\n{headers}\r\n{body}");
    let answer = match timeout(within, send(&authority, &request)).await {
        Ok(answer) => answer.map_err(|error| format!("no host answers at {address}: {error}"))?,
        Err(_) => return Err(format!("no host answers at {address} within {} s", within.as_secs())),
    };
    read(&answer).ok_or_else(|| format!("{address} does not answer as a tidegate host does: it is not HTTP"))
}

async fn send(authority: &str, request: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(authority).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await?;
    Ok(answer)
}

pub(super) fn read(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let (head, body) = answer.split_at(end.saturating_add(4));
    let head = String::from_utf8_lossy(head);
    let first = head.lines().next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some(Answer { code: first.parse().ok()?, body: body.to_vec() })
}
