use std::error::Error as _;
use std::fmt::Display;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{AccountError, AccountErrorKind};
use async_nats::jetstream::{self, Context};
use async_nats::{ConnectErrorKind, ConnectOptions, Event, ServerError};
use tokio::sync::watch;

use super::replies::Requests;
use crate::config::{Auth, Nats};

/// The oldest server that has all that is needed here.
const OLDEST: (i64, i64) = (2, 10);

/// A connection, cheap to clone. It reconnects by itself, for ever.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) nats: async_nats::Client,
    pub(crate) context: Context,
    pub(super) requests: Requests,
    connects: watch::Receiver<u64>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens, or the name does not resolve, or the server is not reached in time.
    #[error(
        "no NATS server answers at {servers}: {reason}\n  Start one (`nats-server -js`), or name another with --server, NATS_URL or nats.url."
    )]
    Unreachable {
        /// The URLs that were tried, without what is secret in them.
        servers: String,
        /// What the client said.
        reason: String,
    },
    /// A URL cannot be read.
    #[error("cannot use the server URL {servers}: {reason}\n  Write host:port, nats://host:port or tls://host:port.")]
    Url {
        /// The URLs, without what is secret in them.
        servers: String,
        /// What is wrong.
        reason: String,
    },
    /// The server refused who we are.
    #[error(
        "the NATS server at {servers} refuses this client, which offers {offered}\n  Give credentials that it knows: --user and \
         --password, --token, --nkey or --creds, the NATS_* variables, or [nats] of the configuration."
    )]
    Refused {
        /// The URLs that were tried, without what is secret in them.
        servers: String,
        /// The kind of credentials that were offered.
        offered: &'static str,
    },
    /// The server knows who we are, and does not let us use JetStream.
    #[error(
        "the NATS server at {servers} does not let this user use JetStream: {reason}\n  The user has to publish to `$JS.API.>` and \
         `$JS.ACK.>` and to subscribe to `_INBOX.>`."
    )]
    Denied {
        /// The URLs, without what is secret in them.
        servers: String,
        /// What the server said.
        reason: String,
    },
    /// TLS could not be set up.
    #[error(
        "TLS with {servers} failed: {reason}\n  Check the ca, cert and key that [nats], NATS_CA, NATS_CERT, NATS_KEY or --tlsca, \
         --tlscert, --tlskey give."
    )]
    Tls {
        /// The URLs that were tried, without what is secret in them.
        servers: String,
        /// What the client said.
        reason: String,
    },
    /// A file that the connection needs could not be used.
    #[error("cannot use {path} as {what}: {reason}\n  {remedy}")]
    File {
        /// The file.
        path: String,
        /// What it is meant to be.
        what: &'static str,
        /// Why.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The server is too old.
    #[error(
        "the NATS server at {servers} is version {version}, and tidegate needs 2.10 or newer\n  Update it (https://nats.io/download), \
         or name another with --server, NATS_URL or nats.url."
    )]
    TooOld {
        /// The URLs, without what is secret in them.
        servers: String,
        /// What the server says it is.
        version: String,
    },
    /// JetStream is off.
    #[error(
        "JetStream does not answer on {servers}: {reason}\n  Start the server with `-js`, or enable JetStream for this account."
    )]
    NoJetStream {
        /// The URLs, without what is secret in them.
        servers: String,
        /// What the server said.
        reason: String,
    },
}

impl Client {
    /// Connects and checks that the server is new enough and has JetStream.
    ///
    /// # Errors
    /// [`ConnectError`], each case with what to do about it. Once connected, a lost connection is no error: the
    /// client says so in the log and comes back.
    pub async fn connect(config: &Nats) -> Result<Self, ConnectError> {
        let servers = shown(&config.servers);
        let (connected, connects) = watch::channel(0u64);
        let (deny, mut denied) = watch::channel(None);
        let told = Mutex::new(Told::default());
        let options = options(config).await?.event_callback(move |event| {
            match &event {
                Event::Connected => connected.send_modify(|count| *count += 1),
                Event::ServerError(ServerError::Other(words)) if words.contains("Permissions Violation") => {
                    deny.send_replace(Some(words.clone()));
                }
                _ => {}
            }
            // Nothing panics while it holds the lock.
            told.lock().unwrap_or_else(PoisonError::into_inner).tell(&event);
            std::future::ready(())
        });
        let nats = async_nats::connect_with_options(config.servers.as_slice(), options)
            .await
            .map_err(|error| explain(&error, servers.clone(), config))?;
        let info = nats.server_info();
        if !nats.is_server_compatible(OLDEST.0, OLDEST.1, 0) {
            return Err(ConnectError::TooOld { servers, version: info.version });
        }
        let context = jetstream::new(nats.clone());
        tokio::select! {
            // Without an answer the query would wait for its time-out.
            Ok(words) = denied.wait_for(Option::is_some) => {
                return Err(ConnectError::Denied { servers, reason: words.clone().unwrap_or_default() });
            }
            account = context.query_account() => {
                account.map_err(|error| ConnectError::NoJetStream { servers, reason: no_account(&error) })?;
            }
        }
        tracing::debug!(server = info.server_name, version = info.version, "connected");
        Ok(Self { nats, context, requests: Requests::default(), connects })
    }

    /// The version of the server that the client is connected to.
    pub fn server_version(&self) -> String {
        self.nats.server_info().version
    }

    /// The largest payload with headers that the server takes, in bytes.
    pub fn max_payload(&self) -> usize {
        self.nats.max_payload()
    }

    /// Whether the server can be reached now, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.nats.connection_state() == State::Connected
    }

    /// Waits until all that was sent has been written to the socket. Does not wait for a server that is away.
    pub async fn flush(&self) {
        if self.is_connected()
            && let Err(error) = self.nats.flush().await
        {
            tracing::debug!(%error, "not flushed");
        }
    }

    /// How often the connection was made again.
    pub fn reconnects(&self) -> u64 {
        self.connects.borrow().saturating_sub(1)
    }

    /// Counts how often the connection was made.
    pub(crate) fn connects(&self) -> watch::Receiver<u64> {
        self.connects.clone()
    }
}

async fn options(config: &Nats) -> Result<ConnectOptions, ConnectError> {
    let mut options = ConnectOptions::new()
        .name("tidegate")
        .connection_timeout(Duration::from_secs(5))
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let steps = u32::try_from(attempts.min(5)).unwrap_or(5);
            Duration::from_millis(50 * 2u64.pow(steps)).min(Duration::from_secs(1))
        });
    options = match &config.auth {
        Auth::None => options,
        Auth::User { name, password } => options.user_and_password(name.clone(), password.clone()),
        Auth::Token(token) => options.token(token.clone()),
        Auth::Nkey(path) => {
            let seed = read(path, NKEY).await?.trim().to_owned();
            if !is_user_seed(&seed) {
                return Err(unusable(path, NKEY, "it holds something else"));
            }
            options.nkey(seed)
        }
        Auth::Creds(path) => {
            let text = read(path, CREDS).await?;
            options.credentials(&text).map_err(|error| unusable(path, CREDS, error))?
        }
    };
    if let Some(ca) = &config.ca {
        read(ca, CA).await?;
        options = options.add_root_certificates(ca.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &config.certificate {
        read(certificate, CERTIFICATE).await?;
        read(key, KEY).await?;
        options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
    }
    Ok(options)
}

/// What a file is meant to be, and what to do if it is not that.
type Role = (&'static str, &'static str);
const NKEY: Role = ("an nkey seed", "Give the path of a file with a user's seed, which begins with SU.");
const CREDS: Role = ("credentials", "Give the path of a .creds file, as `nsc generate creds` writes it.");
const CA: Role = ("certificate authorities", "Give the path of a PEM file with certificates.");
const CERTIFICATE: Role = ("a client certificate", "Give the path of a PEM file with the certificate.");
const KEY: Role = ("the key of the client certificate", "Give the path of a PEM file with the private key.");

async fn read(path: &Path, role: Role) -> Result<String, ConnectError> {
    tokio::fs::read_to_string(path).await.map_err(|error| unusable(path, role, error))
}

fn unusable(path: &Path, (what, remedy): Role, reason: impl Display) -> ConnectError {
    ConnectError::File { path: path.display().to_string(), what, reason: reason.to_string(), remedy }
}

/// Whether a text looks like a user's seed: base 32, with a prefix that says what it is.
fn is_user_seed(text: &str) -> bool {
    text.len() == 58 && text.starts_with("SU") && text.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'))
}

/// The servers as they may be shown: a URL may hold a password or a token.
fn shown(servers: &[String]) -> String {
    let without_secret = |server: &String| {
        let (scheme, rest) = server.split_once("://").map_or(("", server.as_str()), |(scheme, rest)| (scheme, rest));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
    };
    servers.iter().map(without_secret).collect::<Vec<_>>().join(", ")
}

fn explain(error: &async_nats::ConnectError, servers: String, config: &Nats) -> ConnectError {
    let in_url = config.servers.iter().any(|server| server.contains('@'));
    let offered = match &config.auth {
        Auth::None if in_url => "what its URL holds",
        Auth::None => "no credentials",
        Auth::User { .. } => "a user and a password",
        Auth::Token(_) => "a token",
        Auth::Nkey(_) => "an nkey",
        Auth::Creds(_) => "a creds file",
    };
    let reason = innermost(error);
    match error.kind() {
        // The server's challenge could not be signed: nothing was refused yet.
        ConnectErrorKind::Authentication => match &config.auth {
            Auth::Nkey(path) => unusable(path, NKEY, reason),
            Auth::Creds(path) => unusable(path, CREDS, reason),
            _ => ConnectError::Refused { servers, offered },
        },
        ConnectErrorKind::AuthorizationViolation => ConnectError::Refused { servers, offered },
        _ if is_garbled(error) => ConnectError::Tls { servers, reason },
        ConnectErrorKind::Tls => ConnectError::Tls { servers, reason },
        ConnectErrorKind::ServerParse => ConnectError::Url { servers, reason },
        _ => ConnectError::Unreachable { servers, reason },
    }
}

/// Whether a handshake failed: it comes as an input-output error of this kind.
fn is_garbled(error: &async_nats::ConnectError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|source| source.kind() == std::io::ErrorKind::InvalidData)
}

/// The first cause: what is around it says nothing more.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| (*error).source()).last().map(ToString::to_string).unwrap_or_default()
}

fn no_account(error: &AccountError) -> String {
    match error.kind() {
        AccountErrorKind::JetStreamUnavailable => "it is not enabled in the server".to_owned(),
        AccountErrorKind::JetStream(error) => error.to_string(),
        _ => error.to_string(),
    }
}

/// Tells what happens to the connection: that it is lost and why it does not come back, each once, and that it is back.
#[derive(Debug, Default)]
struct Told {
    lost: bool,
    problem: String,
}

impl Told {
    fn tell(&mut self, event: &Event) {
        match event {
            Event::Connected if self.lost => {
                *self = Self::default();
                tracing::info!("the NATS server is back");
            }
            Event::Connected | Event::Closed | Event::Draining => tracing::debug!(%event, "connection"),
            Event::Disconnected => {
                self.lost = true;
                tracing::warn!("lost the NATS server; trying to reach it until it is back, and deliveries go on then");
            }
            Event::ClientError(error) if self.lost => {
                let problem = error.to_string();
                if problem != self.problem {
                    tracing::warn!(problem, "the NATS server cannot be reached; trying again");
                    self.problem = problem;
                }
            }
            Event::LameDuckMode => tracing::info!("the NATS server is about to shut down; moving to another one"),
            Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
                tracing::warn!(problem = %event, "the NATS connection");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_shown_without_what_is_secret_in_them() {
        let servers = ["nats://ada:love@lace@a:1", "token@b", "tls://c:4222", "d:4222"].map(str::to_owned);
        assert_eq!(shown(&servers), "nats://a:1, b, tls://c:4222, d:4222");
    }
}
