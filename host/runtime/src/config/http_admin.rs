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
    const SHORTEST: usize = 16;

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
        if let Some(problem) = token.text().and_then(Self::problem) {
            let remedy = "make one of 16 characters or more, such as `openssl rand -hex 16` gives";
            keys.note(keys.place(path).error(format!("its token {problem}"), remedy));
        }
        Some(Self { token })
    }

    /// What is wrong with a token, as the end of a sentence. It stands in a header of HTTP, which has only ASCII.
    pub fn problem(token: &str) -> Option<&'static str> {
        match token {
            _ if token.len() < Self::SHORTEST => {
                Some("is so short that it could be guessed, with fewer than 16 characters")
            }
            _ if !token.chars().all(|c| c.is_ascii_graphic()) => Some("holds other characters than visible ASCII ones"),
            _ => None,
        }
    }
}

impl fmt::Debug for HttpAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAdmin").finish_non_exhaustive()
    }
}
