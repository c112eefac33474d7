//! Which of several servers answer. A socket that takes a connection and says nothing would hold up the start for as
//! long as a connection may take, and the client library tries one after the other.

use std::str::FromStr;
use std::time::Duration;

use async_nats::ServerAddr;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// How long all of them may take to say something.
const FIRST: Duration = Duration::from_secs(1);
/// How long the others may take after the first: the client chooses among those that answer, so that hosts spread.
const OTHERS: Duration = Duration::from_millis(50);

/// Those of the servers that say something at once; all of them where none does, or where there is only one.
pub(super) async fn answering(servers: &[String]) -> Vec<String> {
    if servers.len() < 2 {
        return servers.to_vec();
    }
    let mut asked: FuturesUnordered<_> = servers
        .iter()
        .enumerate()
        .map(|(index, server)| async move { answers(server).await.then_some(index) })
        .collect();
    let mut until = Instant::now() + FIRST;
    let mut found = Vec::new();
    while let Ok(Some(answer)) = timeout_at(until, asked.next()).await {
        let Some(index) = answer else { continue };
        if found.is_empty() {
            until = until.min(Instant::now() + OTHERS);
        }
        found.push(index);
    }
    if found.is_empty() {
        return servers.to_vec();
    }
    found.sort_unstable();
    found.into_iter().filter_map(|index| servers.get(index).cloned()).collect()
}

/// Whether something is said on a connection to a server: a NATS server speaks first.
async fn answers(server: &str) -> bool {
    let said = async {
        let server = ServerAddr::from_str(server).ok()?;
        let socket = TcpStream::connect((server.host(), server.port())).await.ok()?;
        socket.peek(&mut [0]).await.ok().filter(|bytes| *bytes > 0)
    };
    timeout(FIRST, said).await.is_ok_and(|said| said.is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn socket() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://user:word@{}", listener.local_addr().unwrap());
        (listener, url)
    }

    #[tokio::test]
    async fn those_that_say_something_are_left_and_all_where_none_does() {
        let (_silent, silent) = socket().await;
        let (server, speaks) = socket().await;
        let (closed, gone) = socket().await;
        drop(closed);
        let speaking = tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut connection, _) = server.accept().await.unwrap();
                connection.write_all(b"INFO {}\r\n").await.unwrap();
                held.push(connection);
            }
        });
        let all = [silent.clone(), speaks.clone(), gone.clone(), "nonsense:1:2:3".to_owned()];
        assert_eq!(answering(&all).await, [speaks]);
        speaking.abort();
        for none in [vec![silent.clone(), gone.clone()], vec![silent], vec![]] {
            assert_eq!(answering(&none).await, none);
        }
    }
}
