//! Where a handler may send HTTP requests: origins, and what their paths begin with. Pure.
//!
//! A request is compared as it goes out: nothing in it is resolved or rewritten, so a path in which `..` could mean
//! another one, in whichever encoding, is not covered by a grant that has a path. Neither is one that servers decode
//! in different ways.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use percent_encoding::percent_decode;

use super::error::Wrong;
use super::userinfo;

/// How often a path is decoded in search of `..`; one that hides more is refused.
const DECODED: usize = 4;

/// An origin and the beginning of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    origin: Origin,
    /// Decoded. None covers all paths.
    segments: Vec<Vec<u8>>,
}

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    https: bool,
    /// In lower case; an address in the form that the standard library gives it.
    host: String,
    port: u16,
}

impl HttpGrant {
    /// Reads `https://api.example.com/v1/`.
    ///
    /// # Errors
    /// It is not scheme, host, port and path alone, or its path has an empty segment, `..` or the like in it.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        // A password does not belong here, nor into an error.
        let (shown, _) = userinfo::split(text);
        let wrong = |problem: &str| {
            Wrong::new(
                format!("`{shown}` {problem}"),
                "write a scheme, a host and, if need be, a port and the beginning of the path, as in \
                 \"https://api.example.com/v1/\"",
            )
        };
        if let Some(whole) = with_scheme(text) {
            let remedy = format!("write \"{whole}\", or the same with https");
            return Err(Wrong::new(format!("`{text}` has no scheme"), remedy));
        }
        let uri: Uri = text.parse().map_err(|_| wrong("is no URL"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("has a user, which the handler has to send itself"));
        }
        let origin = Origin::of(&uri).map_err(wrong)?;
        let is_name = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if !is_name(&origin.host) && !origin.host.starts_with('[') {
            return Err(wrong("has a host that is neither a name nor an address; there are no wildcards"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(wrong("has more than a path"));
        }
        if uri.path().contains("//") {
            let remedy = "write each slash of the path once; a grant without a path is one of the whole origin";
            return Err(Wrong::new(format!("`{shown}` has an empty segment in its path"), remedy));
        }
        if is_devious(uri.path()) {
            return Err(wrong(
                "has a path that leads elsewhere, or may do so: it has . or .. in it, %u, a control character, or \
                 encoded bytes that are no UTF-8",
            ));
        }
        Ok(Self { origin, segments: segments(uri.path()) })
    }

    /// The URI with its origin in the one form that all spellings of it have. `None` if it has no origin of HTTP.
    pub(crate) fn canonical(uri: &Uri) -> Option<Uri> {
        let Origin { https, host, port } = Origin::of(uri).ok()?;
        let authority = if port == default_port(https) { host } else { format!("{host}:{port}") };
        let mut parts = uri.clone().into_parts();
        parts.authority = Some(authority.parse().ok()?);
        Uri::from_parts(parts).ok()
    }

    /// What they are made of in a file.
    pub(super) fn read(texts: &[String]) -> Vec<Self> {
        texts.iter().filter_map(|text| Self::parse(text).ok()).collect()
    }

    /// Whether a request may go there.
    pub(crate) fn covers(&self, uri: &Uri) -> bool {
        Origin::of(uri).is_ok_and(|origin| origin == self.origin)
            && (self.segments.is_empty() || !is_devious(uri.path()) && segments(uri.path()).starts_with(&self.segments))
    }
}

/// Checks one of the grant's texts.
pub(super) fn rule(text: &str) -> Result<(), Wrong> {
    HttpGrant::parse(text).map(drop)
}

/// A text that would be a grant if it had a scheme, with one.
fn with_scheme(text: &str) -> Option<String> {
    if text.contains("://") {
        return None;
    }
    let slash = if text.contains('/') { "" } else { "/" };
    let whole = format!("http://{text}{slash}");
    HttpGrant::parse(&whole).is_ok().then_some(whole)
}

impl Origin {
    /// What is wrong with it if it is not one of HTTP, or not one alone: `api.example.com@elsewhere` is a user and a
    /// host.
    fn of(uri: &Uri) -> Result<Self, &'static str> {
        const NO_URL: &str = "is no URL of http or https";
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(NO_URL),
        };
        let authority = uri.authority().ok_or(NO_URL)?;
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host).ok_or(NO_URL)? {
            "" => default_port(https),
            port => port_of(port.strip_prefix(':').ok_or(NO_URL)?)?,
        };
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match address {
            Some(address) => {
                format!(
                    "[{}]",
                    address.parse::<Ipv6Addr>().map_err(|_| "has brackets without an IPv6 address in them")?
                )
            }
            None => match host.parse::<Ipv4Addr>() {
                Ok(address) => address.to_string(),
                Err(_) => host.to_ascii_lowercase(),
            },
        };
        if host.is_empty() { Err("has no host") } else { Ok(Self { https, host, port }) }
    }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

fn port_of(text: &str) -> Result<u16, &'static str> {
    let port = text.parse().ok().filter(|port| *port != 0);
    port.ok_or("has a port that is out of range, for it can be 1 to 65535")
}

/// The segments of a path, decoded once. That it ends in a slash makes no difference.
fn segments(path: &str) -> Vec<Vec<u8>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Vec::new();
    }
    path.split('/').map(|segment| percent_decode(segment.as_bytes()).collect()).collect()
}

/// Whether some server could take a path for another one: with `.` or `..` in it, though they be encoded, more than
/// once, between backslashes, before a parameter or beside white space. Overlong UTF-8 and `%u002e` are dots to some,
/// and control characters nothing at all.
fn is_devious(path: &str) -> bool {
    let mut path = path.to_owned();
    for _ in 0..DECODED {
        let dots = |segment: &str| {
            let name = segment.split(';').next().unwrap_or_default();
            matches!(name.trim(), "." | "..")
        };
        if path.contains(|c: char| c.is_ascii_control()) || path.contains("%u") || path.contains("%U") {
            return true;
        }
        if path.split(['/', '\\']).any(dots) {
            return true;
        }
        let Ok(decoded) = percent_decode(path.as_bytes()).decode_utf8() else { return true };
        if decoded == path {
            return false;
        }
        path = decoded.into_owned();
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    fn covers(grant: &str, uri: &str) -> bool {
        uri.parse().is_ok_and(|uri| HttpGrant::parse(grant).unwrap().covers(&uri))
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let grant = "https://api.example.com";
        for same in ["https://api.example.com/", "https://API.example.com:443/x?y=z", "https://api.example.com"] {
            assert!(covers(grant, same), "{same}");
        }
        for other in [
            "http://api.example.com/",
            "https://api.example.com:444/",
            "https://api.example.com.evil.com/",
            "https://xapi.example.com/",
            "https://example.com/",
            "https://api.example.com./",
            "https://api.example.com@evil.com/",
            "https://evil.com@api.example.com/",
            "https://api.example.com:/",
            "https://api.example.com:65979/",
            "/v1",
        ] {
            assert!(!covers(grant, other), "{other}");
        }
    }

    #[test]
    fn all_spellings_of_an_origin_have_one_form() {
        let canonical = |uri: &str| HttpGrant::canonical(&uri.parse().unwrap()).map(|uri| uri.to_string());
        for (uri, form) in [
            ("http://127.0.0.1:00018080/ok?a=B", "http://127.0.0.1:18080/ok?a=B"),
            ("https://API.example.com:443/V1", "https://api.example.com/V1"),
            ("https://api.example.com:0443/", "https://api.example.com/"),
            ("http://api.example.com:443/", "http://api.example.com:443/"),
            ("http://[0:0::1]:8080/", "http://[::1]:8080/"),
        ] {
            assert_eq!(canonical(uri).as_deref(), Some(form), "{uri}");
        }
        assert_eq!(canonical("/v1"), None);
    }

    #[test]
    fn an_address_is_that_address_alone() {
        assert!(covers("http://127.0.0.1:8080/", "http://127.0.0.1:8080/x"));
        assert!(covers("http://[::1]:8080/", "http://[0:0::1]:8080/x"));
        for other in ["http://localhost:8080/", "http://127.1:8080/", "http://[::ffff:127.0.0.1]:8080/"] {
            assert!(!covers("http://127.0.0.1:8080/", other), "{other}");
        }
        assert!(!covers("http://localhost/", "http://127.0.0.1/"));
    }

    #[test]
    fn a_path_is_whole_segments_and_no_trick_leads_out_of_it() {
        let grant = "https://h/v1/open/";
        for inside in [
            "https://h/v1/open",
            "https://h/v1/open/",
            "https://h/v1/open/a/b?c=../d",
            "https://h/v1/o%70en/a",
            "https://h/v1/open/group%2Fproject",
            "https://h/v1/open/a..b/...",
            "https://h/v1/open/caf%C3%A9/%E2%82%AC/a%20b",
            "https://h/v1/open//a",
        ] {
            assert!(covers(grant, inside), "{inside}");
        }
        for outside in [
            "https://h/",
            "https://h/v1",
            "https://h/v1/opened",
            "https://h//v1/open",
            "https://h/V1/open",
            "https://h/v1%2Fopen/a",
            "https://h/v1/open/../secret",
            "https://h/v1/open/..",
            "https://h/v1/open/./a",
            "https://h/v1/open/%2e%2e/secret",
            "https://h/v1/open/.%2E/secret",
            "https://h/v1/open/%252e%252e/secret",
            "https://h/v1/open/%25252e%25252e/secret",
            "https://h/v1/open/%2525252525252e/secret",
            "https://h/v1/open/..%2fsecret",
            "https://h/v1/open/a%2f..%2f..%2fsecret",
            "https://h/v1/open/..%5csecret",
            "https://h/v1/open/..;x=y/secret",
            "https://h/v1/open/..%3b/secret",
            "https://h/v1/open/a%00b",
            "https://h/v1/open/%c0%ae%c0%ae/secret",
            "https://h/v1/open/%C0%AE./secret",
            "https://h/v1/open/%e0%80%ae%e0%80%ae/secret",
            "https://h/v1/open/..%c0%afsecret",
            "https://h/v1/open/%25c0%25ae%25c0%25ae/secret",
            "https://h/v1/open/caf%e9",
            "https://h/v1/open/%u002e%u002e/secret",
            "https://h/v1/open/%U002E%U002E/secret",
            "https://h/v1/open/%25u002e%25u002e/secret",
            "https://h/v1/open/..%09/secret",
            "https://h/v1/open/.%0a./secret",
            "https://h/v1/open/.%250d./secret",
            "https://h/v1/open/..%1f/secret",
            "https://h/v1/open/..%7f/secret",
            "https://h/v1/open/..%20/secret",
            "https://h/v1/open/%c2%a0../secret",
        ] {
            assert!(!covers(grant, outside), "{outside}");
        }
        assert!(covers("https://h/", "https://h/any/../thing"), "all of the origin is granted");
    }

    #[test]
    fn what_is_no_origin_is_told_so() {
        for (text, problem) in [
            ("", "no URL"),
            ("/v1/", "no URL"),
            (
                "api.example.com",
                "`api.example.com` has no scheme; write \"http://api.example.com/\", or the same with https",
            ),
            ("127.0.0.1:80", "`127.0.0.1:80` has no scheme; write \"http://127.0.0.1:80/\", or"),
            ("h:8080/v1/", "has no scheme; write \"http://h:8080/v1/\", or"),
            ("ftp://h/", "http or https"),
            ("http://h:99999/", "`http://h:99999/` has a port that is out of range, for it can be 1 to 65535; write"),
            ("http://[::zz]/", "brackets without an IPv6 address"),
            ("http://[127.0.0.1]/", "brackets without an IPv6 address"),
            ("https://user:secret@h/", "has a user"),
            ("https://*.example.com/", "no wildcards"),
            ("https://h/v1?x", "more than a path"),
            ("https://h:0/", "out of range"),
            ("https://h/v1/../v2/", "leads elsewhere"),
            ("https://h/v1/..%09/v2", "a control character"),
            ("http://h//", "`http://h//` has an empty segment in its path; write each slash of the path once"),
            ("http://h//v1", "empty segment"),
            ("http://h/v1//x/", "empty segment"),
            ("http://h/v1//", "empty segment"),
        ] {
            let error = HttpGrant::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    /// A path decoded as the most lenient server does it: overlong UTF-8 is what it stands for, `%u002e` a dot, and a
    /// control character nothing.
    fn decoded(path: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut rest = path;
        while let Some((first, after)) = rest.split_first() {
            let hex = |digits: Option<&[u8]>| u8::from_str_radix(std::str::from_utf8(digits?).ok()?, 16).ok();
            let wide =
                rest.get(..4).filter(|begin| begin.eq_ignore_ascii_case(b"%u00")).and_then(|_| hex(rest.get(4..6)));
            let (byte, taken) = match (wide, first) {
                (Some(byte), _) => (byte, 6),
                (None, b'%') => hex(after.get(..2)).map_or((b'%', 1), |byte| (byte, 3)),
                (None, byte) => (*byte, 1),
            };
            plain.push(byte);
            rest = &rest[taken..];
        }
        let mut short = Vec::new();
        let mut rest = plain.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let overlong = after.first().filter(|next| matches!(first, 0xc0 | 0xc1) && **next & 0xc0 == 0x80);
            match overlong {
                Some(next) => short.push((first & 0x1f) << 6 | next & 0x3f),
                None => short.push(*first),
            }
            rest = &after[usize::from(overlong.is_some())..];
        }
        short.retain(|byte| !byte.is_ascii_control());
        short
    }

    /// What the most lenient server makes of a path.
    fn lenient(path: &str) -> Vec<String> {
        let mut path = path.as_bytes().to_vec();
        for _ in 0..10 {
            path = decoded(&path);
        }
        let mut at = Vec::new();
        for segment in String::from_utf8_lossy(&path).split(['/', '\\']) {
            match segment.split(';').next().unwrap().trim() {
                "" | "." => {}
                ".." => drop(at.pop()),
                name => at.push(name.to_owned()),
            }
        }
        at
    }

    #[test]
    fn the_lenient_server_of_the_property_is_led_out_by_what_is_refused() {
        for path in ["/v1/%c0%ae%c0%ae/x", "/v1/%u002e%U002E/x", "/v1/..%09/v2", "/v1/.%0a./v2", "/v1/%25c0%25ae./x"] {
            assert_ne!(lenient(path).first().map(String::as_str), Some("v1"), "{path}");
            assert!(!covers("https://h/v1/", &format!("https://h{path}")), "{path}");
        }
    }

    const DOTS: [&str; 7] = [".", "%2e", "%c0%ae", "%u002e", "%252e", "%25c0%25ae", "%25u002e"];
    const BETWEEN: [&str; 7] = ["/", "%2f", "%5c", r"\", ";", "%c0%af", "%u002f"];
    const OTHERS: [&str; 11] = ["v1", "x", "%25", "2e", "2f", "%09", "%0a", "%7f", "%20", "%u", "%c0"];

    proptest! {
        #[test]
        fn what_is_covered_is_under_the_path_for_every_server(
            parts in proptest::collection::vec(prop_oneof![
                3 => proptest::sample::select(&DOTS[..]),
                2 => proptest::sample::select(&BETWEEN[..]),
                1 => proptest::sample::select(&OTHERS[..]),
            ], 0..12),
        ) {
            let path = format!("/v1/{}", parts.concat());
            if covers("https://h/v1/", &format!("https://h{path}")) {
                let at = lenient(&path);
                prop_assert_eq!(at.first().map(String::as_str), Some("v1"), "{}", path);
            }
        }
    }
}
