//! What names a version of a plugin: all of its digest, of which a person sees the beginning.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Digits that are shown. So few can be met by chance, or made to be: two digests are the same only if all of them is.
const SHOWN: usize = 12;

/// The SHA-256 of what a plugin's file has, in 64 hexadecimal digits. It shows as the first 12.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Digest(Arc<str>);

impl Digest {
    /// That of this content.
    pub fn of(content: &[u8]) -> Self {
        sha256(content).into()
    }

    /// All digits.
    pub fn whole(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Digest {
    fn from(digits: &str) -> Self {
        Self(digits.into())
    }
}

impl From<String> for Digest {
    fn from(digits: String) -> Self {
        Self(digits.into())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.whole().to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(shown(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The SHA-256 of bytes, in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Hexadecimal digits of a SHA-256.
pub(crate) const DIGITS: usize = 64;

/// Whether these are the hexadecimal digits of a SHA-256, in lower case.
pub(crate) fn is_sha256(digits: &str) -> bool {
    digits.len() == DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What a person sees of a digest.
pub fn shown(digits: &str) -> &str {
    digits.get(..digits.floor_char_boundary(SHOWN)).unwrap_or(digits)
}

/// Whether two digests name the same code. One may be of a journal of a version that wrote the first 12 digits only.
pub fn is_same(one: &str, other: &str) -> bool {
    one == other || one.len().min(other.len()) >= SHOWN && (one.starts_with(other) || other.starts_with(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_begin_alike_look_alike_and_are_not_the_same() {
        let (a, b) = (Digest::from("2ea221eb71d2a0"), Digest::from("2ea221eb71d2b0"));
        assert_ne!(a, b);
        assert_eq!((a.to_string(), b.to_string()), ("2ea221eb71d2".to_owned(), "2ea221eb71d2".to_owned()));
    }

    #[test]
    fn a_sha256_has_64_digits_in_lower_case() {
        let whole = "0123456789abcdef".repeat(4);
        assert!(is_sha256(&whole) && is_sha256(Digest::of(b"").whole()));
        for other in ["", &whole[1..], &whole.to_uppercase(), &whole.replace('0', "g"), &format!("{whole}0")] {
            assert!(!is_sha256(other), "{other}");
        }
    }

    #[test]
    fn what_is_shorter_shows_whole() {
        assert_eq!(Digest::from("native").to_string(), "native");
    }

    #[test]
    fn the_first_twelve_digits_of_an_old_journal_name_a_generation_and_fewer_do_not() {
        let whole = "a".repeat(64);
        assert!(is_same(&whole, &whole) && is_same(&whole, &whole[..12]) && is_same(&whole[..12], &whole));
        assert!(!is_same(&whole, &whole[..11]) && !is_same(&whole, "") && !is_same(&whole, "aaaaaaaaaaab"));
    }
}
