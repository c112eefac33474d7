//! What a registry wants to know of who asks: the header `WWW-Authenticate`, and the answer of whoever gives tokens.
//! Pure.

use serde::Deserialize;

/// What a registry wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// The user and the password themselves.
    Basic,
    /// A token that is given at this place.
    Bearer {
        /// The URL.
        realm: String,
        /// For whom the token is.
        service: Option<String>,
    },
}

impl Challenge {
    /// Reads the header. `None` if it asks for something else.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameters = parameters(rest);
        let value = |name: &str| {
            let found = parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        Some(Self::Bearer { realm: value("realm")?, service: value("service") })
    }
}

/// `name="value"` with commas between, as far as they are written so.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut rest = text;
    let mut found = Vec::new();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_start_matches([',', ' ']).trim().to_owned();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((name, value.trim().to_owned()));
        rest = after;
    }
    found
}

/// The token in the answer of whoever gives them. `None` if there is none that can stand in a header.
pub(super) fn token(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let token = answer.token.or(answer.access_token)?;
    (!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())).then_some(token)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_challenge_names_where_tokens_are_given() {
        let written = r#"Bearer realm="https://auth.io/token",service="registry.io",scope="repository:a:pull,push""#;
        let expected =
            Challenge::Bearer { realm: "https://auth.io/token".to_owned(), service: Some("registry.io".to_owned()) };
        assert_eq!(Challenge::parse(written), Some(expected));
        assert_eq!(Challenge::parse("Basic realm=\"x\""), Some(Challenge::Basic));
        for other in ["", "Negotiate", "Bearer", "Bearer service=\"x\""] {
            assert_eq!(Challenge::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_token_is_what_can_stand_in_a_header() {
        assert_eq!(token(br#"{"token":"abc"}"#), Some("abc".to_owned()));
        assert_eq!(token(br#"{"access_token":"abc"}"#), Some("abc".to_owned()));
        for other in [&b"{}"[..], b"", br#"{"token":""}"#, br#"{"token":"a\r\nHost: b"}"#] {
            assert_eq!(token(other), None);
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_reading_panic(text in any::<String>()) {
            let _ = (Challenge::parse(&text), Challenge::parse(&format!("Bearer {text}")));
        }
    }
}
