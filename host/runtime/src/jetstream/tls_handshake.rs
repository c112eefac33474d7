//! What a TLS handshake that failed means. Pure.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::connect_error::TlsFault;

/// What the TLS library's words mean: followed by them, if they say more, and without what differs each time. `first`
/// is whether the client begins with TLS.
pub(super) fn handshake(words: &str, first: bool) -> (String, TlsFault) {
    let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    let with_words = |meaning: &str, fault| (format!("{meaning} ({words})"), fault);
    if has(&["certificate expired"]) {
        let since = moment(words, "not valid after ").map(|at| format!(" at {at}")).unwrap_or_default();
        return (format!("the server's certificate has expired{since}"), TlsFault::ServerTime);
    }
    if has(&["certificate not valid yet"]) {
        let until = moment(words, "not valid before ").map(|at| format!(", but from {at} on")).unwrap_or_default();
        return (format!("the server's certificate is not valid yet{until}"), TlsFault::ServerTime);
    }
    if has(&["UnknownIssuer", "BadSignature"]) {
        return with_words("the server's certificate is of an authority that is not trusted here", TlsFault::Files);
    }
    if has(&["not valid for name"]) {
        return with_words("the server's certificate is for another name than the URL has", TlsFault::ServerName);
    }
    if has(&["CertificateRequired"]) {
        return with_words("the server wants a client certificate", TlsFault::Files);
    }
    if has(&["could not add certificate or key"]) {
        return with_words("the client certificate and its key do not belong together", TlsFault::Files);
    }
    if has(&["InvalidContentType"]) {
        return match first {
            true => with_words("the server does not begin with TLS", TlsFault::First),
            false => with_words("the server does not speak TLS", TlsFault::Missing),
        };
    }
    if has(&["CertificateExpired"]) {
        return with_words("this client's certificate has expired", TlsFault::Files);
    }
    if has(&["BadCertificate", "UnknownCA", "CertificateUnknown", "DecryptError"]) {
        return with_words("the server does not take this client's certificate", TlsFault::Files);
    }
    (words.to_owned(), TlsFault::Files)
}

/// The time whose seconds since the Unix epoch stand after these words.
fn moment(words: &str, after: &str) -> Option<String> {
    let (_, rest) = words.split_once(after)?;
    let seconds = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_handshake_lacks_is_told_with_what_mends_it() {
        let expired = "invalid peer certificate: certificate expired: verification time 1795808210 (UNIX), but \
                       certificate is not valid after 1795803131 (5079 seconds ago)";
        let early = "invalid peer certificate: certificate not valid yet: verification time 10 (UNIX), but \
                     certificate is not valid before 70 (60 seconds in future)";
        let name = "invalid peer certificate: certificate not valid for name \"a\"; certificate is only valid for b";
        let plain = "received corrupt message of type InvalidContentType";
        for (words, first, meaning, fault) in [
            (expired, false, "the server's certificate has expired at 2026-11-27T18:12:11Z", TlsFault::ServerTime),
            (early, false, "not valid yet, but from 1970-01-01T00:01:10Z on", TlsFault::ServerTime),
            ("invalid peer certificate: certificate expired", false, "has expired", TlsFault::ServerTime),
            (name, false, "is for another name", TlsFault::ServerName),
            ("invalid peer certificate: UnknownIssuer", false, "not trusted here", TlsFault::Files),
            ("received fatal alert: CertificateRequired", false, "wants a client certificate", TlsFault::Files),
            ("received fatal alert: CertificateExpired", false, "this client's certificate has", TlsFault::Files),
            ("received fatal alert: UnknownCA", false, "does not take this client's", TlsFault::Files),
            (plain, false, "the server does not speak TLS", TlsFault::Missing),
            (plain, true, "the server does not begin with TLS", TlsFault::First),
            ("something else", true, "something else", TlsFault::Files),
        ] {
            let (said, found) = handshake(words, first);
            assert!(said.contains(meaning) && found == fault, "{words}: {said} {found:?}");
        }
    }

    #[test]
    fn what_is_told_of_a_time_is_the_same_each_time() {
        let at = |now: u32| {
            format!(
                "certificate expired: verification time {now} (UNIX), but certificate is not valid after 5 ({} \
                 seconds ago)",
                now - 5
            )
        };
        assert_eq!(handshake(&at(100), false), handshake(&at(101), false));
    }
}
