//! When a server that was started can be used.

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::error::ServerError;
use super::process::{LOOK_EVERY, Process};

/// How much of the log goes into an error.
const LOG_LINES: usize = 15;

/// Where a server listens that accepts clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) url: String,
    pub(super) port: u16,
}

/// Why a server did not become ready.
#[derive(Debug)]
pub(super) enum NotReady {
    Ended(ExitStatus),
    Late(Duration),
}

impl NotReady {
    pub(super) fn into_error(self, log_file: &Path) -> ServerError {
        let log = std::fs::read(log_file)
            .map(|log| tail(&String::from_utf8_lossy(&log), LOG_LINES))
            .unwrap_or_else(|error| format!("(its log cannot be read: {error})"));
        match self {
            Self::Ended(status) => ServerError::Ended { status, log },
            Self::Late(after) => ServerError::NotReady { after, log },
        }
    }
}

/// Waits until the server has written where it listens and greets a client there.
pub(super) async fn wait(process: &mut Process, ports_dir: &Path, within: Duration) -> Result<Ready, NotReady> {
    let up = async {
        loop {
            if let Ok(Some(status)) = process.ended() {
                return Err(NotReady::Ended(status));
            }
            if let Some(ready) = read_ports(ports_dir)
                && greets(ready.port).await.unwrap_or(false)
            {
                return Ok(ready);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(within, up).await.unwrap_or(Err(NotReady::Late(within)))
}

/// The one ports file of the directory, once it is there and whole.
fn read_ports(dir: &Path) -> Option<Ready> {
    std::fs::read_dir(dir)
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ports"))
        .find_map(|path| parse_ports(&std::fs::read(path).ok()?))
}

#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

fn parse_ports(text: &[u8]) -> Option<Ready> {
    let url = serde_json::from_slice::<Ports>(text).ok()?.nats.into_iter().next()?;
    let port = url.rsplit(':').next()?.parse().ok()?;
    Some(Ready { url, port })
}

/// Whether a client is greeted by an `INFO`, which comes in the clear even where TLS follows.
async fn greets(port: u16) -> io::Result<bool> {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut greeting = [0; 5];
    client.read_exact(&mut greeting).await?;
    Ok(&greeting == b"INFO ")
}

fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    let kept = all.get(all.len().saturating_sub(lines)..).unwrap_or_default();
    if kept.is_empty() { "(nothing)".to_owned() } else { kept.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ports_file_is_read_once_it_is_whole() {
        let whole = br#"{"nats":["nats://127.0.0.1:38821"],"monitoring":["http://127.0.0.1:1"]}"#;
        let expected = Ready { url: "nats://127.0.0.1:38821".to_owned(), port: 38821 };
        assert_eq!(parse_ports(whole), Some(expected));
        for length in 0..whole.len() {
            assert_eq!(whole.get(..length).and_then(parse_ports), None, "{length} bytes");
        }
    }

    #[test]
    fn the_end_of_a_log_is_its_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
        assert_eq!(tail("", 2), "(nothing)");
    }
}
