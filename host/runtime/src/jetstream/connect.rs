use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, Context};
use async_nats::{Event, ServerAddr, ServerError};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::ack_floors::AckFloors;
use super::answering::answering;
use super::connect_attempt::{explain, shown};
use super::connect_error::{ConnectError, FileUse};
use super::connection_log::ConnectionLog;
use super::connection_users::ConnectionUsers;
use super::credentials::options;
use super::explain_losses::explain_losses;
use super::fallback::Fallback;
use super::permission_denials::PermissionDenials;
use super::reply_inboxes::PendingRequests;
use crate::config::Nats;
use crate::permissions::Denial;

/// The oldest server version that has all that a host needs.
const OLDEST: (i64, i64) = (2, 10);

/// How often the connection's state is checked while the server is away. The client library's events alone come too
/// early.
const LOOK: Duration = Duration::from_secs(1);

/// A connection to NATS, cheap to clone. It reconnects by itself, for ever.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) nats: async_nats::Client,
    pub(crate) context: Context,
    pub(super) requests: PendingRequests,
    pub(super) denied: Arc<PermissionDenials>,
    /// The URLs, without what is secret in them.
    pub(super) servers: Arc<str>,
    link: watch::Receiver<Link>,
    /// Why the connection does not come back, while it is lost.
    reason: watch::Receiver<Option<String>>,
    pub(super) config: Arc<Nats>,
    /// How far consumers are known to be settled.
    pub(super) floors: Arc<AckFloors>,
    /// Whether it was told what a person should know of the stream of dead letters.
    pub(super) warned_of_letters: Arc<AtomicBool>,
    inbox: Arc<str>,
    /// The workloads whose own connection it is.
    pub(super) users: ConnectionUsers,
    /// The connection on which pullers go on after one was lost over a message.
    pub(super) fallback: Arc<Fallback>,
}

/// Whether the client library has failed in this process. A message that it cannot read may have been the cause, and
/// may still wait.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// How often the connection was made and lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) connects: u64,
    pub(super) losses: u64,
}

impl Client {
    /// The client library's JetStream context on this connection. A host does not use it; the lab fills streams with
    /// it.
    pub fn jetstream(&self) -> &Context {
        &self.context
    }

    /// Connects, and checks that the server is new enough. Whether the server has JetStream shows at the first use.
    ///
    /// # Errors
    /// [`ConnectError`], each case with what to do about it. Losing the connection later is no error: the client logs
    /// that, and connects again.
    pub async fn connect(config: &Nats) -> Result<Self, ConnectError> {
        Self::connect_for(config, ConnectionUsers::default()).await
    }

    /// The same for these workloads, which the log names with what happens to the connection.
    pub(crate) async fn connect_for(config: &Nats, users: ConnectionUsers) -> Result<Self, ConnectError> {
        let servers = shown(&config.servers);
        let (changes, link) = watch::channel(Link::default());
        let denied = Arc::new(PermissionDenials::new(config.inbox(), users.clone()));
        let noted = denied.clone();
        let (told, reason) = ConnectionLog::new(users.clone());
        let told = Arc::new(Mutex::new(told));
        let log = told.clone();
        let options = options(config).await?.event_callback(move |event| {
            match &event {
                Event::Connected => {
                    noted.forget();
                    changes.send_modify(|link| link.connects += 1);
                }
                Event::Disconnected => changes.send_modify(|link| link.losses += 1),
                Event::ServerError(ServerError::Other(words)) => {
                    if let Some(denial) = Denial::parse(words) {
                        noted.note(&denial);
                        return std::future::ready(());
                    }
                }
                _ => {}
            }
            told.lock().tell(&event);
            std::future::ready(())
        });
        // Where TLS comes first, a server says nothing before it.
        let first = if config.tls_first { config.servers.clone() } else { answering(&config.servers).await };
        let nats = async_nats::connect_with_options(first.as_slice(), options)
            .await
            .map_err(|error| explain(&error, servers.clone(), config))?;
        if first.len() < config.servers.len() {
            also(&nats, &config.servers, &users).await;
        }
        let info = nats.server_info();
        if !nats.is_server_compatible(OLDEST.0, OLDEST.1, 0) {
            return Err(ConnectError::TooOld { servers, version: info.version, file: FileUse::Read });
        }
        let context = jetstream::with_prefix(nats.clone(), config.api());
        tracing::debug!(server = info.server_name, version = info.version, "connected");
        let config = Arc::new(config.clone());
        tokio::spawn(explain_losses(config.clone(), log));
        Ok(Self {
            nats,
            context,
            requests: PendingRequests::default(),
            denied,
            servers: servers.into(),
            link,
            reason,
            floors: Arc::default(),
            warned_of_letters: Arc::default(),
            inbox: config.inbox().into(),
            config,
            users,
            fallback: Arc::default(),
        })
    }

    /// The subject of a request to JetStream's API.
    pub(super) fn api_subject(&self, request: &str) -> String {
        format!("{}.{request}", self.config.api())
    }

    /// The version of the server that the client is connected to.
    pub fn server_version(&self) -> String {
        self.nats.server_info().version
    }

    /// The largest payload with headers that the server takes, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        self.nats.max_payload()
    }

    /// Whether the server can be reached now, as far as is known.
    pub(crate) fn is_connected(&self) -> bool {
        self.nats.connection_state() == State::Connected
    }

    /// Why the connection does not come back and what to do, while it is lost and as far as that is known.
    pub(crate) fn why_lost(&self) -> Option<String> {
        self.reason.borrow().clone().filter(|_| !self.is_connected())
    }

    /// The first tokens of the subjects on which the client listens for answers.
    pub(super) fn inbox(&self) -> &str {
        &self.inbox
    }

    /// Waits until the server can be reached.
    pub(crate) async fn connected(&self) {
        // The library's event comes just before its state changes.
        while !self.is_connected() {
            self.reconnected(LOOK).await;
        }
    }

    /// Waits until the connection is made again, but no longer than `limit`.
    pub(crate) async fn reconnected(&self, limit: Duration) {
        let mut link = self.link();
        let connects = link.borrow().connects;
        // The sender belongs to the library's task. When that has ended, nothing comes any more.
        let again = async {
            if link.wait_for(|link| link.connects != connects).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let _ = timeout(limit, again).await;
    }

    /// Waits until everything that was sent is written to the socket. Does not wait for a server that is away.
    pub(crate) async fn flush(&self) {
        if self.is_connected()
            && let Err(error) = self.nats.flush().await
        {
            tracing::debug!(%error, "not flushed");
        }
    }

    /// How often the connection was made again.
    pub(crate) fn reconnects(&self) -> u64 {
        self.link.borrow().connects.saturating_sub(1)
    }

    /// Ends when the client cannot be used any more. It reconnects for ever, so only a fault of the client library ends
    /// it: a header value with a carriage return makes the library's task panic.
    pub(crate) async fn ended(&self) {
        let mut link = self.link();
        // The sender belongs to the library's task.
        while link.changed().await.is_ok() {}
        HAS_FAILED.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended so.
    pub(crate) fn has_ended(&self) -> bool {
        self.link.has_changed().is_err()
    }

    /// The servers it is configured with, without what is secret in their URLs.
    pub(crate) fn servers(&self) -> &str {
        &self.servers
    }

    /// Waits until the state of the connection may be another, but no longer than it is relied on.
    pub(crate) async fn state_changed(&self) {
        let mut link = self.link();
        link.mark_unchanged();
        let _ = timeout(LOOK, async {
            if link.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await;
    }

    /// Whether an earlier client of this process has ended by a fault of the library.
    pub(super) fn follows_a_failure(&self) -> bool {
        HAS_FAILED.load(Ordering::Relaxed)
    }

    /// The state of the connection, and its changes.
    pub(super) fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }
}

/// Adds servers to those that the client may connect to when it loses its own. A server that is silent now may answer
/// then.
async fn also(nats: &async_nats::Client, servers: &[String], users: &ConnectionUsers) {
    let mut all: Vec<ServerAddr> = servers.iter().filter_map(|server| server.parse().ok()).collect();
    let known = nats.server_pool().await.unwrap_or_default();
    for server in known {
        if !all.contains(&server.addr) {
            all.push(server.addr);
        }
    }
    if let Err(error) = nats.set_server_pool(all.as_slice()).await {
        tracing::warn!(workloads = users.names(), %error, "only the servers that answer now are known to the client");
    }
}
