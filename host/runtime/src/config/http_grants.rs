//! Where a handler may send HTTP requests: origins, and what their paths begin with. Pure.
//!
//! A request is compared as it goes out: nothing in it is resolved or rewritten, so a path in which `..` could mean
//! another one, in whichever encoding, is not covered by a grant that has a path.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use percent_encoding::percent_decode;

use super::error::Wrong;

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
    /// It is not scheme, host, port and path alone, or its path has `..` in it.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = |problem: &str| {
            Wrong::new(
                format!("`{text}` {problem}"),
                "write a scheme, a host and, if need be, a port and the beginning of the path, as in \
                 \"https://api.example.com/v1/\"",
            )
        };
        let uri: Uri = text.parse().map_err(|_| wrong("is no URL"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("has a user, which the handler has to send itself"));
        }
        let origin = Origin::of(&uri).ok_or_else(|| wrong("is no URL of http or https"))?;
        let is_name = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if !is_name(&origin.host) && !origin.host.starts_with('[') {
            return Err(wrong("has a host that is neither a name nor an address; there are no wildcards"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(wrong("has more than a path"));
        }
        if is_devious(uri.path()) {
            return Err(wrong("has a path that leads elsewhere"));
        }
        Ok(Self { origin, segments: segments(uri.path()) })
    }

    /// What they are made of in a file.
    pub(super) fn read(texts: &[String]) -> Vec<Self> {
        texts.iter().filter_map(|text| Self::parse(text).ok()).collect()
    }

    /// Whether a request may go there.
    pub(crate) fn covers(&self, uri: &Uri) -> bool {
        Origin::of(uri).is_some_and(|origin| origin == self.origin)
            && (self.segments.is_empty() || !is_devious(uri.path()) && segments(uri.path()).starts_with(&self.segments))
    }
}

/// Checks one of the grant's texts.
pub(super) fn rule(text: &str) -> Result<(), Wrong> {
    HttpGrant::parse(text).map(drop)
}

impl Origin {
    /// `None` if it is not one of HTTP, or not one alone: `api.example.com@elsewhere` is a user and a host.
    fn of(uri: &Uri) -> Option<Self> {
        let https = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority()?;
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host)? {
            "" => {
                if https {
                    443
                } else {
                    80
                }
            }
            port => port.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?,
        };
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match address {
            Some(address) => format!("[{}]", address.parse::<Ipv6Addr>().ok()?),
            None => match host.parse::<Ipv4Addr>() {
                Ok(address) => address.to_string(),
                Err(_) => host.to_ascii_lowercase(),
            },
        };
        (!host.is_empty()).then_some(Self { https, host, port })
    }
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
/// once, between backslashes or before a parameter.
fn is_devious(path: &str) -> bool {
    let mut path = path.as_bytes().to_vec();
    for _ in 0..DECODED {
        let dots = |segment: &[u8]| {
            let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            name == b"." || name == b".."
        };
        if path.contains(&0) || path.split(|byte| b"/\\".contains(byte)).any(dots) {
            return true;
        }
        let decoded: Vec<u8> = percent_decode(&path).collect();
        if decoded == path {
            return false;
        }
        path = decoded;
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
        ] {
            assert!(!covers(grant, outside), "{outside}");
        }
        assert!(covers("https://h/", "https://h/any/../thing"), "all of the origin is granted");
    }

    #[test]
    fn what_is_no_origin_is_told_so() {
        for (text, problem) in [
            ("", "no URL"),
            ("api.example.com", "no URL"),
            ("ftp://h/", "http or https"),
            ("https://user:secret@h/", "has a user"),
            ("https://*.example.com/", "no wildcards"),
            ("https://h/v1?x", "more than a path"),
            ("https://h:0/", "http or https"),
            ("https://h/v1/../v2/", "leads elsewhere"),
        ] {
            let error = HttpGrant::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    /// What the most lenient server makes of a path.
    fn lenient(path: &str) -> Vec<String> {
        let mut path = path.to_owned();
        for _ in 0..10 {
            path = percent_decode(path.as_bytes()).decode_utf8_lossy().into_owned();
        }
        let mut at = Vec::new();
        for segment in path.split(['/', '\\']).map(|segment| segment.split(';').next().unwrap()) {
            match segment {
                "" | "." => {}
                ".." => drop(at.pop()),
                name => at.push(name.to_owned()),
            }
        }
        at
    }

    proptest! {
        #[test]
        fn what_is_covered_is_under_the_path_for_every_server(
            parts in proptest::collection::vec(
                prop_oneof!["/", "v1", r"\.", "%2e", "%2f", "%5c", ";", "%25", "2e", "2f", "x"], 0..12),
        ) {
            let path = format!("/v1/{}", parts.concat());
            if covers("https://h/v1/", &format!("https://h{path}")) {
                let at = lenient(&path);
                prop_assert_eq!(at.first().map(String::as_str), Some("v1"), "{}", path);
            }
        }
    }
}
