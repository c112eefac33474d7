//! Who may change things, and who may read dead letters.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use super::answer::refuse;
use crate::config::HttpAdmin;
use crate::contract::Fault;
use crate::plugin::SettingsReader;

/// How long whoever has a wrong token waits for the answer: nobody tries many.
const WRONG: Duration = Duration::from_secs(1);

/// What proxies add to what they forward.
const FORWARDED: [&str; 5] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// Who may do what.
pub(crate) struct Admin {
    /// None if nobody may change anything.
    token: Option<SettingsReader>,
    /// Whether only this machine reaches the address that is listened on, as far as is known.
    local: bool,
}

impl Admin {
    pub(crate) fn new(admin: Option<HttpAdmin>, local: bool) -> Self {
        let token = admin.map(|admin| SettingsReader::new(&[("http-admin.token".to_owned(), admin.token)]));
        Self { token, local }
    }

    /// Whether there is a token with which things can be changed.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Tells in the log if the token cannot be read: better now than when somebody needs it.
    pub(super) async fn look(&self) {
        if let Some(reader) = &self.token
            && let Err(problem) = read(reader).await
        {
            tracing::error!("nobody can redrive or delete letters over HTTP: {problem}");
        }
    }

    /// Whether dead letters are shown to whoever asks so.
    pub(super) fn shows_letters(&self, headers: &HeaderMap) -> bool {
        self.local && !is_forwarded(headers)
    }

    /// Whether who asks may read dead letters. `Err` is the answer if not.
    pub(super) async fn may_read(&self, headers: &HeaderMap) -> Result<(), Response> {
        if self.shows_letters(headers) {
            return Ok(());
        }
        if self.token.is_none() {
            let problem = "others can reach this host, by its address or by what stands in front of it, so dead \
                           letters are shown only to who has a token; give it one by http-admin, or use \
                           `tidegate dead`";
            return Err(refuse(StatusCode::FORBIDDEN, problem));
        }
        self.may_change(headers).await
    }

    /// Whether who asks may change things. `Err` is the answer if not.
    pub(super) async fn may_change(&self, headers: &HeaderMap) -> Result<(), Response> {
        let Some(reader) = &self.token else {
            let problem = "nobody may change anything here; give the host a token by http-admin, use `tidegate dead` \
                           for dead letters, or SIGHUP to have the configuration read again";
            return Err(refuse(StatusCode::FORBIDDEN, problem));
        };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(given) = given.and_then(|value| value.strip_prefix("Bearer ")) else {
            return Err(refuse(StatusCode::UNAUTHORIZED, "this needs the token of http-admin"));
        };
        let token = read(reader).await.map_err(|problem| {
            tracing::error!("{problem}");
            refuse(StatusCode::SERVICE_UNAVAILABLE, &problem)
        })?;
        // Of digests, so that the time that it takes says nothing about the token.
        if Sha256::digest(given.trim()) == Sha256::digest(&token) {
            return Ok(());
        }
        tracing::warn!("somebody asked over HTTP with a token that is not that of http-admin");
        sleep(WRONG).await;
        Err(refuse(StatusCode::FORBIDDEN, "this is not the token of http-admin"))
    }
}

/// Whether a proxy says that somebody else asks. One that says nothing is known by `http-names` only.
fn is_forwarded(headers: &HeaderMap) -> bool {
    FORWARDED.iter().any(|name| headers.contains_key(*name))
}

/// Reads the token as it is now.
async fn read(reader: &SettingsReader) -> Result<String, String> {
    let settings = reader.read().await.map_err(|fault| match fault {
        Fault::Start(why) => why,
        fault => fault.to_string(),
    })?;
    let token = settings.first().map(|(_, token)| token.trim().to_owned()).unwrap_or_default();
    match HttpAdmin::problem(&token) {
        Some(problem) => Err(format!("the token of http-admin {problem}; make another")),
        None => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn letters_are_shown_without_a_token_only_to_who_asks_this_machine_itself() {
        let none = HeaderMap::new();
        assert!(Admin::new(None, true).shows_letters(&none));
        assert!(!Admin::new(None, false).shows_letters(&none));
        for name in FORWARDED {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("x"))]);
            assert!(!Admin::new(None, true).shows_letters(&headers), "{name}");
        }
    }
}
