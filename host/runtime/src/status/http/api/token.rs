//! Who may change things, and who may read dead letters.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::answer::refuse;
use crate::config::HttpAdmin;
use crate::contract::Fault;
use crate::denial_log::DenialLog;
use crate::plugin::SettingsReader;

/// How long whoever has a wrong token waits for the answer: nobody tries many.
const WRONG: Duration = Duration::from_secs(1);
/// After so many wrong tokens within [`GUESSING`], each token waits before it is looked at: who does not wait for the
/// answer to a wrong one could try many, for a right one is answered at once.
const FEW: u32 = 5;
/// How long wrong tokens count.
const GUESSING: Duration = Duration::from_secs(60);

/// What proxies add to what they forward.
const FORWARDED: [&str; 5] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// Who may do what.
pub(crate) struct Admin {
    /// None if nobody may change anything.
    token: Option<SettingsReader>,
    /// Whether only this machine reaches the address that is listened on, as far as is known.
    local: bool,
    wrong: Mutex<WrongTokens>,
    /// Whoever reaches the address can ask without end.
    told: DenialLog,
    told_unread: DenialLog,
}

/// The wrong tokens of the last time.
#[derive(Debug, Default)]
struct WrongTokens {
    /// When the first of them came.
    since: Option<Instant>,
    count: u32,
}

impl WrongTokens {
    /// Whether there are so many that each token waits before it is looked at, a right one too.
    fn are_many(&self, now: Instant) -> bool {
        self.count >= FEW && self.since.is_some_and(|since| now.duration_since(since) < GUESSING)
    }

    /// One more has come.
    fn one_more(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now.duration_since(since) >= GUESSING) {
            *self = Self { since: Some(now), count: 0 };
        }
        self.count = self.count.saturating_add(1);
    }
}

impl Admin {
    pub(crate) fn new(admin: Option<HttpAdmin>, local: bool) -> Self {
        let token = admin.map(|admin| SettingsReader::new(&[("http-admin.token".to_owned(), admin.token)]));
        Self { token, local, wrong: Mutex::default(), told: DenialLog::default(), told_unread: DenialLog::default() }
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
        let are_many = self.wrong.lock().are_many(Instant::now());
        if are_many {
            sleep(WRONG).await;
        }
        let token = read(reader).await.map_err(|problem| {
            if let Some(more) = self.told_unread.admit() {
                tracing::error!(more, "{problem}");
            }
            refuse(StatusCode::SERVICE_UNAVAILABLE, &problem)
        })?;
        // Of digests, so that the time that it takes says nothing about the token.
        if Sha256::digest(given.trim()) == Sha256::digest(&token) {
            return Ok(());
        }
        self.wrong.lock().one_more(Instant::now());
        if let Some(more) = self.told.admit() {
            tracing::warn!(more, "somebody asked over HTTP with a token that is not that of http-admin");
        }
        if !are_many {
            sleep(WRONG).await;
        }
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
    use futures_util::FutureExt as _;

    use super::*;
    use crate::config::Setting;

    const TOKEN: &str = "the-token-of-the-test";

    fn bearing(token: &str) -> HeaderMap {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_few_wrong_tokens_none_is_looked_at_before_it_has_waited_even_if_nobody_waits_for_the_answer() {
        let admin = Admin::new(Some(HttpAdmin { token: Setting::from(TOKEN) }), true);
        assert!(admin.may_change(&bearing(TOKEN)).now_or_never().unwrap().is_ok());
        for _ in 0..1000 {
            assert!(admin.may_change(&bearing("wrong")).now_or_never().is_none());
        }
        // Those that did not wait were not looked at.
        assert_eq!(admin.wrong.lock().count, FEW);
        assert_eq!(admin.told.admit(), None);
        assert!(admin.may_change(&bearing(TOKEN)).now_or_never().is_none());
        let began = Instant::now();
        assert!(admin.may_change(&bearing(TOKEN)).await.is_ok() && began.elapsed() >= WRONG);
        tokio::time::advance(GUESSING).await;
        assert!(admin.may_change(&bearing(TOKEN)).now_or_never().unwrap().is_ok());
    }

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
