use std::fmt;
use std::str::FromStr;

/// Where a host answers over HTTP: a name or an IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// What a connection is made to, and what a request names.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write http://HOST:PORT, such as http://127.0.0.1:8222, or a port alone";
        if text.starts_with("https://") {
            return Err("hosts speak no TLS: name the address behind what adds it, with http://");
        }
        let place = text.strip_prefix("http://").unwrap_or(text);
        let place = place.strip_suffix('/').unwrap_or(place);
        if !place.is_empty() && place.bytes().all(|b| b.is_ascii_digit()) {
            let port = place.parse().map_err(|_| "a port is a number up to 65535")?;
            return Ok(Self { host: "127.0.0.1".to_owned(), port });
        }
        let (host, port) = match place.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
            _ => (place, "80"),
        };
        let port = port.parse().map_err(|_| FORM)?;
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let fits = match inner {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
            }
        };
        if !fits {
            return Err(FORM);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_people_write_it() {
        for (text, is) in [
            ("8222", "http://127.0.0.1:8222"),
            ("http://10.0.0.7:8222/", "http://10.0.0.7:8222"),
            ("tide.example:9", "http://tide.example:9"),
            ("http://tide.example", "http://tide.example:80"),
            ("http://[::1]:8222", "http://[::1]:8222"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), is);
        }
        let wrong =
            ["", "http://", "https://a:1", "a:b", "a:99999", "99999", "::1", "a/status", "a b:1", "a\r\nb:1", "[x]:1"];
        for text in wrong {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
