//! What a host answers over HTTP.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::address::Address;
use super::status::Status;

/// How long an answer is waited for.
const WITHIN: Duration = Duration::from_secs(5);
/// The most bytes of one: thousands of workloads, and not all that a stranger at the address would send.
const MOST: u64 = 64 << 20;

/// What a host does, or why that is not known.
pub(super) async fn status(address: &Address) -> Result<Status, String> {
    let answer = match timeout(WITHIN, ask(address)).await {
        Ok(answer) => answer.map_err(|error| format!("no host answers at {address}: {error}"))?,
        Err(_) => return Err(format!("no host answers at {address} within {} s", WITHIN.as_secs())),
    };
    read(&answer).map_err(|problem| format!("{address} does not answer as a tidegate host does: {problem}"))
}

async fn ask(address: &Address) -> io::Result<Vec<u8>> {
    let authority = address.authority();
    let mut stream = TcpStream::connect(&authority).await?;
    // In this version the answer is in one piece, and ends with the connection.
    let request = format!("GET /status HTTP/1.0\r\nHost: {authority}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn read(answer: &[u8]) -> Result<Status, String> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or("it is not HTTP")?;
    let (head, body) = answer.split_at(end.saturating_add(4));
    let head = String::from_utf8_lossy(head);
    let first = head.lines().next().unwrap_or_default();
    match first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)) {
        Some("200") => serde_json::from_slice(body).map_err(|error| error.to_string()),
        Some("421") => Err(String::from_utf8_lossy(body).trim().to_owned()),
        Some(code) => Err(format!("/status is answered with {code}")),
        None => Err("it is not HTTP".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_of_a_host_is_told() {
        for (answer, problem) in [
            ("", "it is not HTTP"),
            ("SSH-2.0\r\n\r\n", "it is not HTTP"),
            ("HTTP/1.1 404 Not Found\r\n\r\nno", "/status is answered with 404"),
            ("HTTP/1.1 421 Misdirected Request\r\n\r\nthis name is none\n", "this name is none"),
            ("HTTP/1.1 200 OK\r\n\r\n<html>", "expected value at line 1 column 1"),
        ] {
            assert_eq!(read(answer.as_bytes()).unwrap_err(), problem);
        }
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{\"host\":\"h\"}").unwrap().host, "h");
    }
}
