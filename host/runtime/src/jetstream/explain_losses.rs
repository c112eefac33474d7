//! Why a lost connection does not come back. The client library tells of an attempt that failed no more than its kind:
//! TLS that fails and a socket that refuses are both an "IO error". So while it does not say why, the host makes an
//! attempt of its own now and then, which does, and which ends with the handshake.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::connect_attempt::try_once;
use super::connect_error::ConnectError;
use super::connection_log::{ConnectionLog, LinkState};
use crate::backoff::Backoff;
use crate::config::Nats;

/// The shortest and the longest pause between two attempts.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long an attempt may take.
const WITHIN: Duration = Duration::from_secs(6);

/// One attempt at a time in this process: connections that are lost together do not all make one more.
static TURN: Semaphore = Semaphore::const_new(1);

/// Finds out why the connection is lost, each time that it is. Ends when nobody has the client any more.
pub(super) async fn explain_losses(config: Arc<Nats>, log: Arc<Mutex<ConnectionLog>>) {
    let (mut state, reason) = log.lock().followed();
    let losses = async {
        // Whoever could end it is held here.
        while state.wait_for(|state| *state == LinkState::Unexplained).await.is_ok() {
            let mut back = state.clone();
            tokio::select! {
                biased;
                _ = back.wait_for(|state| *state == LinkState::Up) => {}
                never = Box::pin(ask_again(&config, &log, &mut state)) => match never {},
            }
        }
    };
    tokio::select! {
        () = reason.closed() => {}
        () = losses => {}
    }
}

/// Makes an attempt whenever the client library does not say why its own failed, at one server after the other.
async fn ask_again(config: &Nats, log: &Mutex<ConnectionLog>, state: &mut watch::Receiver<LinkState>) -> Infallible {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    let mut servers = config.servers.iter().cycle();
    loop {
        // An error would mean that nobody tells of the connection any more.
        let _ = state.wait_for(|state| *state == LinkState::Unexplained).await;
        if let Some(server) = servers.next() {
            // It is never closed.
            let _turn = TURN.acquire().await;
            let alone = Nats { servers: vec![server.clone()], ..config.clone() };
            let tried = timeout(WITHIN, try_once(&alone)).await;
            // The client library may have said why meanwhile.
            let is_unexplained = *state.borrow() == LinkState::Unexplained;
            if let Ok(Err(error)) = tried
                && is_unexplained
            {
                let is_one = config.servers.len() == 1;
                let mut log = log.lock();
                let problem = words(&error, is_one, log.is_of_workloads());
                log.explain(problem);
            }
        }
        sleep(backoff.pause()).await;
    }
}

/// What is told of an attempt that failed. That nobody answers is waited for, and no remedy is told.
fn words(error: &ConnectError, is_one: bool, is_of_workloads: bool) -> String {
    match error {
        ConnectError::Unreachable { reason, .. } if is_one => return reason.clone(),
        ConnectError::Unreachable { servers, reason, .. } => return format!("{servers}: {reason}"),
        _ => {}
    }
    let (problem, remedy) = if is_of_workloads {
        let (problem, remedy) = error.parts_without_flags();
        (problem, remedy.unwrap_or_else(|| "Look at the nats table of the workload.".to_owned()))
    } else {
        error.parts()
    };
    format!("{problem}. {}", remedy.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::jetstream::connect_error::{FileUse, TlsFault};
    use crate::jetstream::connection_users::ConnectionUsers;

    #[test]
    fn a_remedy_is_told_where_waiting_does_not_help_and_flags_only_where_they_count() {
        let (servers, reason, file) = ("tls://a:1".to_owned(), "refused".to_owned(), FileUse::Read);
        let away = ConnectError::Unreachable { servers: servers.clone(), reason: reason.clone(), file };
        assert_eq!(words(&away, true, false), "refused");
        assert_eq!(words(&away, false, false), "tls://a:1: refused");
        let tls = |fault| ConnectError::Tls { servers: servers.clone(), reason: reason.clone(), fault, file };
        assert!(words(&tls(TlsFault::Files), true, false).contains("--tlsca"));
        let own = words(&tls(TlsFault::Files), true, true);
        assert_eq!(own, "TLS with tls://a:1 failed: refused. Look at the nats table of the workload");
        assert!(words(&tls(TlsFault::ServerTime), true, true).contains("another one"));
    }

    #[tokio::test]
    async fn a_loss_is_asked_about_only_while_it_is_unexplained_and_somebody_has_the_client() {
        let (log, reason) = ConnectionLog::new(ConnectionUsers::default());
        let log = Arc::new(Mutex::new(log));
        let config = Nats { servers: vec!["nats://127.0.0.1:1".to_owned()], ..Nats::default() };
        let asking = tokio::spawn(explain_losses(Arc::new(config), log.clone()));
        log.lock().tell(&async_nats::Event::Disconnected);
        log.lock().tell(&async_nats::Event::ClientError(async_nats::ClientError::Other("timed out".to_owned())));
        assert_eq!(reason.borrow().as_deref(), Some("timed out"));
        log.lock().tell(&async_nats::Event::ClientError(async_nats::ClientError::Other("IO error".to_owned())));
        let mut seen = reason.clone();
        let is_refused = |why: &Option<String>| why.as_deref().is_some_and(|why| why.contains("refused"));
        assert!(seen.wait_for(is_refused).await.is_ok());
        log.lock().tell(&async_nats::Event::Connected);
        assert_eq!(*reason.borrow(), None);
        drop((reason, seen));
        assert!(asking.await.is_ok());
    }

    #[tokio::test]
    async fn an_attempt_ends_with_the_handshake() -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let servers = vec![format!("nats://{}", listener.local_addr()?)];
        let server = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await?;
            client.write_all(b"INFO {\"server_id\":\"A\",\"max_payload\":1024}\r\n").await?;
            let mut said = Vec::new();
            while !said.windows(4).any(|word| word == b"PING") {
                assert_ne!(client.read_buf(&mut said).await?, 0);
            }
            client.write_all(b"PONG\r\n").await?;
            // Until the client is gone.
            client.read_to_end(&mut said).await
        });
        assert!(try_once(&Nats { servers, ..Nats::default() }).await.is_ok());
        assert!(server.await.is_ok_and(|ended| ended.is_ok()));
        Ok(())
    }
}
