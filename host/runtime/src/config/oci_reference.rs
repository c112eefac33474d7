//! The place of a plugin in a registry, as it is written: `oci://REGISTRY/NAME:TAG`. Pure.

use std::fmt;

use super::error::Wrong;
use super::units::quoted;
use crate::digest::{DIGITS, is_sha256};

/// How a plugin's place in a registry begins.
const SCHEME: &str = "oci://";
/// The longest reference, in bytes. The specification bounds a name by 255 and a tag by 128.
const LONGEST: usize = 512;
/// The longest tag, as the specification has it.
const LONGEST_TAG: usize = 128;

/// An artifact in a registry, as a handler or a policy is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciReference {
    /// The host, and its port if it has one: `ghcr.io`, `localhost:5000`.
    pub registry: String,
    /// The repository there: `acme/receipts`.
    pub name: String,
    /// What is asked for.
    pub version: OciVersion,
}

/// Which artifact of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OciVersion {
    /// What has this tag now.
    Tag(String),
    /// What has a manifest with this SHA-256, in hexadecimal digits; always the same.
    Digest(String),
}

impl OciReference {
    /// Reads `oci://REGISTRY/NAME:TAG`, `oci://REGISTRY/NAME@sha256:DIGEST`, or both, of which the digest counts.
    /// `None` if it does not begin like one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Option<Result<Self, Wrong>> {
        text.strip_prefix(SCHEME).map(|rest| {
            Self::of(rest).map_err(|problem| {
                let remedy = "write oci://REGISTRY/NAME:TAG or oci://REGISTRY/NAME@sha256:DIGEST, such as \
                              \"oci://ghcr.io/acme/receipts:1.2\"";
                Wrong::new(format!("{} {problem}", quoted(text)), remedy)
            })
        })
    }

    /// Whether a plugin of this name is in a registry.
    pub fn is_one(name: &str) -> bool {
        Self::parse(name).is_some_and(|parsed| parsed.is_ok())
    }

    /// The last part of the repository's name: `receipts` of `acme/receipts`.
    pub fn stem(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    fn of(rest: &str) -> Result<Self, String> {
        if rest.len() > LONGEST {
            return Err(format!("is longer than {LONGEST} bytes"));
        }
        let (registry, rest) = rest.split_once('/').ok_or("names a registry and nothing in it")?;
        is_registry(registry).then_some(()).ok_or("has no registry that could be one: a host and maybe a port")?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (rest, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (rest, None),
        };
        let is_name = !name.is_empty() && name.split('/').all(is_component);
        is_name.then_some(()).ok_or("has no name that a registry takes: small letters and digits, with / . _ -")?;
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err("has a tag that a registry does not take".to_owned());
        }
        let version = match (digest, tag) {
            (Some(digest), _) => OciVersion::Digest(digits(digest)?),
            (None, Some(tag)) => OciVersion::Tag(tag.to_owned()),
            (None, None) => return Err("has neither a tag nor a digest".to_owned()),
        };
        Ok(Self { registry: registry.to_owned(), name: name.to_owned(), version })
    }
}

/// As it is written, without a tag beside a digest.
impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, name, version } = self;
        match version {
            OciVersion::Tag(tag) => write!(f, "{SCHEME}{registry}/{name}:{tag}"),
            OciVersion::Digest(digest) => write!(f, "{SCHEME}{registry}/{name}@sha256:{digest}"),
        }
    }
}

fn digits(digest: &str) -> Result<String, String> {
    let digits = digest.strip_prefix("sha256:").ok_or("has a digest that is no sha256:")?;
    if is_sha256(digits) {
        return Ok(digits.to_owned());
    }
    Err(format!("has a digest that is not {DIGITS} hexadecimal digits in lower case"))
}

/// A host, and maybe a port.
pub(super) fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    host.split('.').all(is_part) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// A part of a repository's name, between slashes: it begins and ends with a letter or a digit.
fn is_component(part: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = part.as_bytes();
    let is_inside = |byte: &u8| is_end(Some(byte)) || matches!(byte, b'.' | b'_' | b'-');
    is_end(bytes.first()) && is_end(bytes.last()) && bytes.iter().all(is_inside) && !part.contains("..")
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

/// Checks a registry that is spoken to without TLS.
pub(super) fn registry(text: &str) -> Result<(), Wrong> {
    if is_registry(text) {
        return Ok(());
    }
    let problem = format!("{} is not a registry", quoted(text));
    Err(Wrong::new(problem, "write its host, and its port if it has one, such as \"localhost:5000\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<OciReference, Wrong> {
        OciReference::parse(text).unwrap()
    }

    #[test]
    fn a_reference_has_a_registry_a_name_and_a_tag_or_a_digest() {
        let digest = "0123456789abcdef".repeat(4);
        for (text, registry, name, version) in [
            ("oci://ghcr.io/acme/receipts:1.2", "ghcr.io", "acme/receipts", OciVersion::Tag("1.2".to_owned())),
            ("oci://localhost:5000/a:latest", "localhost:5000", "a", OciVersion::Tag("latest".to_owned())),
            (&format!("oci://r.io/a/b_c@sha256:{digest}"), "r.io", "a/b_c", OciVersion::Digest(digest.clone())),
            (&format!("oci://r.io/a:tag@sha256:{digest}"), "r.io", "a", OciVersion::Digest(digest.clone())),
        ] {
            let expected = OciReference { registry: registry.to_owned(), name: name.to_owned(), version };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        assert_eq!(parse("oci://ghcr.io/acme/receipts:1.2").unwrap().stem(), "receipts");
        assert!(OciReference::parse("receipts").is_none() && OciReference::is_one("oci://ghcr.io/a:1"));
    }

    #[test]
    fn what_no_registry_takes_is_refused_with_the_form() {
        let short = "oci://ghcr.io/a@sha256:0123";
        for bad in [
            "oci://",
            "oci://ghcr.io",
            "oci://ghcr.io/a",
            "oci://ghcr.io/:1",
            "oci:///a:1",
            "oci://u@h/a:1",
            short,
            "oci://ghcr.io/A:1",
            "oci://ghcr.io/../a:1",
            "oci://ghcr.io/a:b c",
            "oci://ghcr.io/a/:1",
            "oci://h:0/a:1",
            "oci://ghcr.io/a@md5:12",
            "oci://ghcr.io/a?x=1:1",
            "oci://ghcr.io/a..b:1",
            "oci://h:x/a:1",
        ] {
            let wrong = parse(bad).unwrap_err();
            assert!(wrong.problem.contains(bad) && wrong.remedy.contains("oci://ghcr.io/acme/receipts:1.2"), "{bad}");
        }
        assert!(parse(&format!("oci://ghcr.io/{}:1", "a".repeat(600))).is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_is_shown_as_it_is_read_again(text in "[a-z:/@.0-9]{0,40}") {
            if let Some(Ok(reference)) = OciReference::parse(&format!("oci://{text}")) {
                prop_assert_eq!(parse(&reference.to_string()), Ok(reference));
            }
        }
    }
}
