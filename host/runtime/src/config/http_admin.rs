//! Who may change things over HTTP.

use std::fmt;

use super::reader::Reader;
use super::setting::Setting;

/// The one key of the table.
const TOKEN: &str = "token";

/// Whoever has the token may redrive and delete dead letters, and end rollouts, over HTTP. Its `Debug` keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpAdmin {
    /// The token, or where it stands.
    pub token: Setting,
}

impl HttpAdmin {
    /// The fewest characters of a token: fewer could be guessed.
    pub const SHORTEST: usize = 16;

    pub(super) fn read(keys: &mut Reader<'_>) -> Option<Self> {
        let path = "http-admin";
        let table: Vec<(String, Setting)> = keys.maybe(path)?;
        if let Some((name, _)) = table.iter().find(|(name, _)| name != TOKEN) {
            let problem = format!("unknown key {}", name.escape_debug());
            keys.note(keys.place(path).error(problem, "it may hold token"));
        }
        let Some((_, token)) = table.into_iter().find(|(name, _)| name == TOKEN) else {
            let remedy = "write token = { env = \"NAME\" } or { file = \"/run/secrets/name\" }, or leave the table out";
            keys.note(keys.place(path).error("it has no token", remedy));
            return None;
        };
        if token.text().is_some_and(|token| !Self::is_long_enough(token)) {
            let remedy = "make one of 16 characters or more, such as `openssl rand -hex 16` gives";
            keys.note(keys.place(path).error("its token is so short that it could be guessed", remedy));
        }
        Some(Self { token })
    }

    /// Whether a token is long enough to be one.
    pub fn is_long_enough(token: &str) -> bool {
        token.len() >= Self::SHORTEST
    }
}

impl fmt::Debug for HttpAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAdmin").finish_non_exhaustive()
    }
}
