//! One attempt to connect: what the client library says of one that failed, in words that say what to do.

use std::error::Error as _;

use async_nats::ConnectErrorKind;

use super::connect_error::{ConnectError, FileUse};
use super::credentials::{CREDS, NKEY, options, unusable};
use super::tls_handshake::handshake;
use crate::config::{Auth, Nats};

/// The client library's words where the server ended a connection before it had said anything.
const SAID_NOTHING: &str = "expected INFO, got nothing";

/// Connects as a client does, and no longer than the handshake takes.
pub(super) async fn try_once(config: &Nats) -> Result<(), ConnectError> {
    let connected = async_nats::connect_with_options(config.servers.as_slice(), options(config).await?).await;
    connected.map(drop).map_err(|error| explain(&error, shown(&config.servers), config))
}

/// The servers as they may be shown: a URL may hold a password or a token.
pub(super) fn shown(servers: &[String]) -> String {
    let without_secret = |server: &String| {
        let (scheme, rest) = server.split_once("://").map_or(("", server.as_str()), |(scheme, rest)| (scheme, rest));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
    };
    servers.iter().map(without_secret).collect::<Vec<_>>().join(", ")
}

/// Why an attempt failed, by what the client library says of it.
pub(super) fn explain(error: &async_nats::ConnectError, servers: String, config: &Nats) -> ConnectError {
    let offered = match &config.auth {
        Auth::None => "no credentials".to_owned(),
        Auth::User { .. } => "a user and a password".to_owned(),
        Auth::Token(_) => "a token".to_owned(),
        Auth::Nkey(path) => format!("an nkey, from {}", path.display()),
        Auth::Creds(path) => {
            format!("a creds file, {}; it may be expired or revoked, or of another account", path.display())
        }
    };
    let (reason, file) = (innermost(error), FileUse::Read);
    match error.kind() {
        // The server's challenge could not be signed, so the server has not refused anything.
        ConnectErrorKind::Authentication => match &config.auth {
            Auth::Nkey(path) => unusable(path, NKEY, ours(&reason)),
            Auth::Creds(path) => unusable(path, CREDS, ours(&reason)),
            _ => ConnectError::Refused { servers, offered, file },
        },
        ConnectErrorKind::AuthorizationViolation => ConnectError::Refused { servers, offered, file },
        kind if kind == ConnectErrorKind::Tls || is_garbled(error) => {
            let (reason, fault) = handshake(&reason, config.tls_first);
            ConnectError::Tls { servers, reason, fault, file }
        }
        _ if is_full(&reason) => ConnectError::Full { servers, reason: reason.trim_start_matches("nats: ").to_owned() },
        _ if reason == SAID_NOTHING && !config.tls_first => ConnectError::Silent { servers, file },
        ConnectErrorKind::ServerParse => ConnectError::Url { servers, reason },
        _ => ConnectError::Unreachable { servers, reason, file },
    }
}

/// Whether the server says that there are as many connections as there may be: of its own, or of the account.
fn is_full(reason: &str) -> bool {
    reason.contains("maximum") && reason.contains("connections exceeded")
}

/// Whether a TLS handshake failed. It comes as an input-output error of this kind.
fn is_garbled(error: &async_nats::ConnectError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|source| source.kind() == std::io::ErrorKind::InvalidData)
}

/// The text of our own error from signing a challenge, without the client library's text around it.
fn ours(reason: &str) -> &str {
    reason.strip_prefix("AuthError(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(reason)
}

/// The first cause of an error. The errors around it say nothing more.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| (*error).source()).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;
    use crate::jetstream::connect_error::TlsFault;

    #[test]
    fn what_the_server_or_the_client_library_says_of_an_attempt_has_its_own_remedy() {
        let told = |words: &str, config: &Nats| {
            let error = async_nats::ConnectError::with_source(ConnectErrorKind::Io, words.to_owned());
            explain(&error, "nats://a:1".to_owned(), config)
        };
        let (plain, first) = (Nats::default(), Nats { tls_first: true, ..Nats::default() });
        for words in ["nats: maximum connections exceeded", "nats: maximum account active connections exceeded"] {
            let ConnectError::Full { reason, .. } = told(words, &plain) else { panic!("{words}") };
            assert!(reason.starts_with("maximum"), "{reason}");
        }
        assert!(matches!(told(SAID_NOTHING, &plain), ConnectError::Silent { .. }));
        assert!(matches!(told(SAID_NOTHING, &first), ConnectError::Unreachable { .. }));
        assert!(matches!(told("Connection refused", &plain), ConnectError::Unreachable { .. }));
        let garbled = std::io::Error::new(std::io::ErrorKind::InvalidData, "InvalidContentType");
        let error = async_nats::ConnectError::with_source(ConnectErrorKind::Io, garbled);
        let told = explain(&error, "tls://a:1".to_owned(), &first);
        assert!(matches!(told, ConnectError::Tls { fault: TlsFault::First, .. }), "{told}");
    }

    #[test]
    fn servers_are_shown_without_what_is_secret_in_them() {
        let servers = ["nats://ada:love@lace@a:1", "token@b", "tls://c:4222", "d:4222"].map(str::to_owned);
        assert_eq!(shown(&servers), "nats://a:1, b, tls://c:4222, d:4222");
    }
}
