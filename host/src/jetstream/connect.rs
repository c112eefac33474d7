use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{ConnectErrorKind, ConnectOptions, Event};
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
        "no NATS server answers at {servers}: {source}\n  Start one (`nats-server -js`), or name another with --server or NATS_URL, \
         or let tidegate run its own with --local."
    )]
    Unreachable {
        /// The URLs that were tried.
        servers: String,
        /// What the client said.
        source: async_nats::ConnectError,
    },
    /// The server refused who we are.
    #[error(
        "the NATS server at {servers} refuses these credentials ({offered}): {source}\n  Check the user, token, nkey or creds that [nats] or the NATS_* variables give."
    )]
    Refused {
        /// The URLs that were tried.
        servers: String,
        /// The kind of credentials that were offered.
        offered: &'static str,
        /// What the client said.
        source: async_nats::ConnectError,
    },
    /// TLS could not be set up.
    #[error(
        "TLS with {servers} failed: {source}\n  Check the ca, cert and key that [nats] or NATS_CA, NATS_CERT, NATS_KEY give."
    )]
    Tls {
        /// The URLs that were tried.
        servers: String,
        /// What the client said.
        source: async_nats::ConnectError,
    },
    /// A file with credentials could not be used.
    #[error("cannot use the credentials in {path}: {source}")]
    Credentials {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The server is too old.
    #[error("the NATS server at {servers} is {version}; tidegate needs 2.10 or newer")]
    TooOld {
        /// The URLs.
        servers: String,
        /// What the server says it is.
        version: String,
    },
    /// JetStream is off.
    #[error(
        "JetStream does not answer on {servers}: {reason}\n  Start the server with `-js`, or enable JetStream for this account."
    )]
    NoJetStream {
        /// The URLs.
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
        let servers = config.servers.join(", ");
        let (connected, connects) = watch::channel(0u64);
        let options = options(config).await?.event_callback(move |event| {
            log(&event);
            if matches!(event, Event::Connected) {
                connected.send_modify(|count| *count += 1);
            }
            std::future::ready(())
        });
        let nats = async_nats::connect_with_options(config.servers.as_slice(), options)
            .await
            .map_err(|source| explain(source, servers.clone(), &config.auth))?;
        let info = nats.server_info();
        if !nats.is_server_compatible(OLDEST.0, OLDEST.1, 0) {
            return Err(ConnectError::TooOld { servers, version: info.version });
        }
        let context = jetstream::new(nats.clone());
        context
            .query_account()
            .await
            .map_err(|source| ConnectError::NoJetStream { servers, reason: source.to_string() })?;
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

    /// Waits until all that was sent has been written to the socket.
    pub async fn flush(&self) {
        if let Err(error) = self.nats.flush().await {
            tracing::debug!(%error, "not flushed");
        }
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
        Auth::Nkey(path) => options.nkey(read(path).await?.trim().to_owned()),
        Auth::Creds(path) => {
            let text = read(path).await?;
            options.credentials(&text).map_err(|source| credentials(path, source))?
        }
    };
    if let Some(ca) = &config.ca {
        options = options.add_root_certificates(ca.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &config.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
    }
    Ok(options)
}

async fn read(path: &Path) -> Result<String, ConnectError> {
    tokio::fs::read_to_string(path).await.map_err(|source| credentials(path, source))
}

fn credentials(path: &Path, source: std::io::Error) -> ConnectError {
    ConnectError::Credentials { path: path.display().to_string(), source }
}

fn explain(source: async_nats::ConnectError, servers: String, auth: &Auth) -> ConnectError {
    let offered = match auth {
        Auth::None => "none were given",
        Auth::User { .. } => "user and password",
        Auth::Token(_) => "token",
        Auth::Nkey(_) => "nkey",
        Auth::Creds(_) => "creds file",
    };
    match source.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            ConnectError::Refused { servers, offered, source }
        }
        ConnectErrorKind::Tls => ConnectError::Tls { servers, source },
        _ => ConnectError::Unreachable { servers, source },
    }
}

fn log(event: &Event) {
    match event {
        Event::Connected => tracing::debug!("connection made"),
        Event::Disconnected => tracing::warn!("lost the NATS server; deliveries go on when it is back"),
        Event::Closed | Event::Draining | Event::LameDuckMode => tracing::info!(%event, "connection"),
        Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => tracing::warn!(%event, "connection"),
    }
}
