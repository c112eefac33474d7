//! Credentials in a server's URL. The client library takes none from there, and would write them to its log.

use percent_encoding::percent_decode_str;

use super::nats::Auth;

/// Takes `user:password@` or `token@` out of a URL: the URL without it, and what it says. What is not a letter, a digit
/// or one of `-._~` is written there as `%` and two hexadecimal digits.
pub(super) fn split(url: &str) -> (String, Option<Auth>) {
    // What has an @ in it is no scheme, but what is to be taken out.
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('@') => (format!("{scheme}://"), rest),
        _ => (String::new(), url),
    };
    // A password may hold an @ that somebody forgot to write as %40; a host's name may not.
    let Some((userinfo, host)) = rest.rsplit_once('@') else { return (url.to_owned(), None) };
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let auth = match userinfo.split_once(':') {
        Some((name, password)) => Some(Auth::User { name: plain(name), password: plain(password) }),
        None if userinfo.is_empty() => None,
        None => Some(Auth::Token(plain(userinfo))),
    };
    (format!("{scheme}{host}"), auth)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(name: &str, password: &str) -> Option<Auth> {
        Some(Auth::User { name: name.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn a_url_may_say_who_connects() {
        for (url, server, auth) in [
            ("nats://a:4222", "nats://a:4222", None),
            ("a:4222", "a:4222", None),
            ("nats://@a", "nats://a", None),
            ("nats://ada:love@a:4222", "nats://a:4222", user("ada", "love")),
            ("tls://ada:l%40ve%3a@a", "tls://a", user("ada", "l@ve:")),
            ("nats://ada:l@ve@a", "nats://a", user("ada", "l@ve")),
            ("ada:@a:1", "a:1", user("ada", "")),
            ("s3cret@://x@a", "a", user("s3cret@", "//x")),
            ("nats://s3cret@a", "nats://a", Some(Auth::Token("s3cret".to_owned()))),
        ] {
            assert_eq!(split(url), (server.to_owned(), auth), "{url}");
        }
    }

    proptest! {
        #[test]
        fn nothing_secret_stays_in_a_url(url in "(nats://)?[a-z%0-9@:/]{0,20}@[a-z]{1,5}") {
            prop_assert!(!split(&url).0.contains('@'));
        }
    }
}
