//! Who the client says it is when it connects, and the files that it needs for that.
//!
//! Files with keys are read again for each connection: credentials expire, and their file is then replaced by a new
//! one.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{AuthError, ConnectOptions};
use nkeys::{KeyPair, KeyPairType};

use super::connect_error::ConnectError;
use crate::config::{Auth, Nats};

/// How often a server that says nothing is asked whether it is there. After the third question without an answer the
/// connection counts as lost, so a server that stands still is noticed within 6 s and not, as by default, within 3 min.
const PING: Duration = Duration::from_secs(2);

/// The options of a connection. What can be wrong with the files is found here, before anything is opened.
pub(super) async fn options(config: &Nats) -> Result<ConnectOptions, ConnectError> {
    let begun = AtomicBool::new(false);
    let mut options = offer(&config.auth)
        .await?
        .name("tidegate")
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(PING)
        .max_reconnects(None)
        .custom_inbox_prefix(config.inbox())
        .reconnect_delay_callback(move |attempts| {
            // The first attempt ever is made without a pause.
            if !begun.swap(true, Ordering::Relaxed) {
                return Duration::ZERO;
            }
            let steps = u32::try_from(attempts.min(5)).unwrap_or(5);
            Duration::from_millis(50 * 2u64.pow(steps)).min(Duration::from_secs(1))
        });
    if config.tls_first {
        options = options.tls_first();
    }
    if let Some(ca) = &config.ca {
        let text = read(ca, CA).await?;
        must_hold(ca, CA, &text, "CERTIFICATE")?;
        options = options.add_root_certificates(ca.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &config.certificate {
        let text = read(certificate, CERTIFICATE).await?;
        must_hold(certificate, CERTIFICATE, &text, "CERTIFICATE")?;
        let text = read(key, KEY).await?;
        must_hold(key, KEY, &text, "PRIVATE KEY")?;
        options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
    }
    Ok(options)
}

async fn offer(auth: &Auth) -> Result<ConnectOptions, ConnectError> {
    Ok(match auth {
        Auth::None => ConnectOptions::new(),
        Auth::User { name, password } => ConnectOptions::new().user_and_password(name.clone(), password.clone()),
        Auth::Token(token) => ConnectOptions::new().token(token.clone()),
        Auth::Nkey(path) => signing(path, NKEY, nkey).await?,
        Auth::Creds(path) => signing(path, CREDS, creds).await?,
    })
}

/// What a file of credentials holds: maybe a user's JWT, and the key that signs the server's challenge.
type Papers = (Option<String>, KeyPair);

async fn signing(
    path: &Path,
    role: FileRole,
    parse: fn(&str) -> Result<Papers, String>,
) -> Result<ConnectOptions, ConnectError> {
    parse(&read(path, role).await?).map_err(|reason| unusable(path, role, reason))?;
    let path: PathBuf = path.to_owned();
    Ok(ConnectOptions::with_auth_callback(move |challenge| {
        let path = path.clone();
        async move {
            let Proof { jwt, nkey, signature, .. } = sign(&path, parse, &challenge).await.map_err(AuthError::new)?;
            let mut auth = async_nats::Auth::new();
            (auth.jwt, auth.nkey, auth.signature) = (jwt, nkey, signature);
            Ok(auth)
        }
    }))
}

/// What the client tells a server of who it is.
#[derive(Default)]
pub(super) struct Proof {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) token: Option<String>,
    pub(super) jwt: Option<String>,
    pub(super) nkey: Option<String>,
    pub(super) signature: Option<Vec<u8>>,
}

/// Proves who the client is, as the client library does, on a connection that is not the library's.
pub(super) async fn prove(auth: &Auth, challenge: &str) -> Result<Proof, String> {
    Ok(match auth {
        Auth::None => Proof::default(),
        Auth::User { name, password } => {
            Proof { user: Some(name.clone()), password: Some(password.clone()), ..Proof::default() }
        }
        Auth::Token(token) => Proof { token: Some(token.clone()), ..Proof::default() },
        Auth::Nkey(path) => sign(path, nkey, challenge.as_bytes()).await?,
        Auth::Creds(path) => sign(path, creds, challenge.as_bytes()).await?,
    })
}

async fn sign(path: &Path, parse: fn(&str) -> Result<Papers, String>, challenge: &[u8]) -> Result<Proof, String> {
    let text = tokio::fs::read_to_string(path).await.map_err(|error| error.to_string())?;
    let (jwt, key) = parse(&text)?;
    let signature = key.sign(challenge).map_err(|error| error.to_string())?;
    // The server takes the user's public key from the JWT where there is one.
    let nkey = jwt.is_none().then(|| key.public_key());
    Ok(Proof { jwt, nkey, signature: Some(signature), ..Proof::default() })
}

/// Reads a file with a seed.
fn nkey(text: &str) -> Result<Papers, String> {
    Ok((None, user_key(text.trim())?))
}

/// Reads a `.creds` file: a section with a JWT, and one with a seed.
fn creds(text: &str) -> Result<Papers, String> {
    let mut sections = text.lines().map(str::trim).scan(false, |begun, line| {
        let content = *begun && !line.is_empty();
        *begun = (*begun && !content) || (line.starts_with("-----") && line.contains("BEGIN"));
        Some(content.then_some(line))
    });
    let mut section = || sections.by_ref().flatten().next();
    let jwt = section().filter(|jwt| jwt.split('.').count() == 3).ok_or("it has no section with a JWT")?;
    let seed = section().ok_or("it has no section with a seed")?;
    Ok((Some(jwt.to_owned()), user_key(seed)?))
}

/// The error never repeats what the file holds.
fn user_key(seed: &str) -> Result<KeyPair, String> {
    let key = KeyPair::from_seed(seed).map_err(|_| "it does not hold a seed")?;
    match key.key_pair_type() {
        KeyPairType::User => Ok(key),
        other => Err(format!("its seed is not a user's, but that of another kind of key ({})", kind(&other))),
    }
}

fn kind(kind: &KeyPairType) -> &'static str {
    match kind {
        KeyPairType::Operator => "an operator's",
        KeyPairType::Account => "an account's",
        KeyPairType::Server | KeyPairType::Cluster => "a server's",
        _ => "not one that NATS users have",
    }
}

/// What a file is meant to be, and what to do if it is not that.
pub(super) type FileRole = (&'static str, &'static str);
pub(super) const NKEY: FileRole = ("an nkey seed", "Give the path of a file with a user's seed, which begins with SU.");
pub(super) const CREDS: FileRole =
    ("credentials", "Give the path of a .creds file, as `nsc generate creds` writes it.");
const CA: FileRole = ("certificate authorities", "Give the path of a PEM file with certificates.");
const CERTIFICATE: FileRole = ("a client certificate", "Give the path of a PEM file with the certificate.");
const KEY: FileRole = ("the key of the client certificate", "Give the path of a PEM file with the private key.");

async fn read(path: &Path, role: FileRole) -> Result<String, ConnectError> {
    tokio::fs::read_to_string(path).await.map_err(|error| unusable(path, role, error))
}

/// Checks that a PEM file has a section of this kind. Without one the file counts as empty, and the user would only see
/// that the server is not trusted.
fn must_hold(path: &Path, role: FileRole, text: &str, kind: &str) -> Result<(), ConnectError> {
    let found = text.lines().any(|line| {
        line.trim()
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.strip_suffix("-----"))
            .is_some_and(|it| it.ends_with(kind))
    });
    if found { Ok(()) } else { Err(unusable(path, role, format!("it has no section BEGIN {kind}"))) }
}

pub(super) fn unusable(path: &Path, (what, remedy): FileRole, reason: impl Display) -> ConnectError {
    ConnectError::File { path: path.display().to_string(), what, reason: reason.to_string(), remedy }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    fn file(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }

    #[test]
    fn a_creds_file_has_a_jwt_and_a_seed() {
        let user = KeyPair::new_user();
        let text = file("a.b.c", &user.seed().unwrap());
        for text in [text.clone(), text.replace('\n', "\r\n"), text.replace("JWT-----\n", "JWT-----\n\n")] {
            let (jwt, key) = creds(&text).unwrap();
            assert_eq!((jwt.as_deref(), key.public_key()), (Some("a.b.c"), user.public_key()), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_creds_file_is_told_without_its_secrets() {
        let seed = KeyPair::new_user().seed().unwrap();
        for (text, expected) in [
            (String::new(), "no section with a JWT"),
            ("something else".to_owned(), "no section with a JWT"),
            (seed.clone(), "no section with a JWT"),
            (file("not-a-jwt", &seed), "no section with a JWT"),
            (file("a.b.c", &seed).split("\n***").next().unwrap().to_owned(), "no section with a seed"),
            (file("a.b.c", "SUNOTASEED"), "does not hold a seed"),
            (file("a.b.c", &KeyPair::new_account().seed().unwrap()), "an account's"),
        ] {
            let problem = creds(&text).map(|_| ()).unwrap_err();
            assert!(problem.contains(expected) && !problem.contains("SU"), "{problem}");
        }
    }

    proptest! {
        #[test]
        fn reading_creds_never_panics(text in "(-----BEGIN X-----|\\n|a\\.b\\.c|[A-Z]{0,9}){0,9}") {
            let _ = creds(&text);
        }
    }
}
