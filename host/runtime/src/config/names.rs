//! What names and subjects may look like.

use std::net::SocketAddr;

use super::error::Wrong;
use super::oci_reference::OciReference;
use super::units::quoted;
use crate::digest::{DIGITS, Digest, is_sha256};
use crate::subject::MAX_SUBJECT;

/// The longest name JetStream takes, in bytes.
const LONGEST: usize = 255;

/// Checks the name of a stream or a consumer, as JetStream does.
pub(super) fn jetstream(name: &str) -> Result<(), Wrong> {
    if name.is_empty() {
        return Err(Wrong::new("the name is empty", "write a name such as \"ORDERS\""));
    }
    if name.len() > LONGEST {
        return Err(Wrong::new(
            format!("{} is longer than {LONGEST} bytes", quoted(name)),
            "JetStream takes no longer names",
        ));
    }
    match name.chars().find(|c| c.is_whitespace() || c.is_control() || ".*>/\\".contains(*c)) {
        None => Ok(()),
        Some(c) => Err(Wrong::new(
            format!("{} holds {c:?}, which JetStream does not take in a name", quoted(name)),
            "use letters, digits, - and _",
        )),
    }
}

/// Checks a workload's name, which is one token of a subject and begins its consumer's name.
pub(super) fn workload(name: &str) -> Result<(), Wrong> {
    jetstream(name)?;
    if name.starts_with('$') {
        return Err(Wrong::new(
            format!("{} begins with $, which NATS keeps for itself", quoted(name)),
            "use letters, digits, - and _",
        ));
    }
    Ok(())
}

/// Whether it can be a workload's name.
pub fn is_workload_name(name: &str) -> bool {
    workload(name).is_ok()
}

/// Whether it can be a plugin's name: then `NAME.wasm` is a file in the plugin directory.
pub fn is_plugin_name(name: &str) -> bool {
    plugin(name).is_ok()
}

/// Checks a plugin's name, which is a file stem.
pub(super) fn plugin(name: &str) -> Result<(), Wrong> {
    let shown = quoted(name);
    if name.is_empty() {
        return Err(Wrong::new("the name is empty", "write the name of a file in the plugin directory, without .wasm"));
    }
    if let Some(stem) = name.strip_suffix(".wasm") {
        let stem = stem.rsplit(['/', '\\']).next().unwrap_or(stem);
        return Err(Wrong::new(
            format!("{shown} is a file name"),
            format!("write the plugin's name, which is the file's name without .wasm: {}", quoted(stem)),
        ));
    }
    if name.contains(['/', '\\']) {
        return Err(Wrong::new(
            format!("{shown} is a path"),
            "write only the plugin's name; the plugin directory is plugins.dir",
        ));
    }
    if name.starts_with('.') || name.chars().any(char::is_control) {
        return Err(Wrong::new(
            format!("{shown} cannot be the name of a plugin"),
            "write the name of a file in the plugin directory, without .wasm",
        ));
    }
    Ok(())
}

/// What stands between a plugin's name and the digest that it is pinned to.
const PIN: &str = "@sha256:";

/// Reads a plugin's name, which may be pinned to a digest: `receipts` or `receipts@sha256:<64 digits>`. One in a
/// registry is named by its place there, and the digest in that, which is its manifest's, is a part of the name.
pub(super) fn pinned_plugin(text: &str) -> Result<(String, Option<Digest>), Wrong> {
    if let Some(reference) = OciReference::parse(text) {
        return reference.map(|reference| (reference.to_string(), None));
    }
    let Some((name, digits)) = text.split_once(PIN) else {
        return plugin(text).map(|()| (text.to_owned(), None));
    };
    plugin(name)?;
    if is_sha256(digits) {
        return Ok((name.to_owned(), Some(digits.into())));
    }
    let found = digits.chars().count();
    Err(Wrong::new(
        format!("{} pins the plugin to what is no SHA-256 ({found} characters after {PIN})", quoted(text)),
        format!("write all {DIGITS} hexadecimal digits, in lower case, as `sha256sum {name}.wasm` prints them"),
    ))
}

/// Checks a plugin's name, which may be pinned to a digest.
pub(super) fn plugin_reference(text: &str) -> Result<(), Wrong> {
    pinned_plugin(text).map(drop)
}

/// Checks the public key of somebody who signs plugins.
pub(super) fn signing_key(key: &str) -> Result<(), Wrong> {
    crate::signature::public_key(key).map_err(|(problem, remedy)| {
        // A secret is not repeated.
        let shown = if key.starts_with('S') { "this".to_owned() } else { quoted(key) };
        Wrong::new(format!("{shown} {problem}"), remedy)
    })
}

/// Checks a subject, in which `*` stands for one token and a last `>` for one or more.
pub(super) fn subject(subject: &str) -> Result<(), Wrong> {
    let shown = quoted(subject);
    if subject.is_empty() {
        return Err(Wrong::new("the subject is empty", "write a subject such as \"orders.new\" or \"orders.>\""));
    }
    if subject.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Wrong::new(format!("{shown} holds white space"), "write a subject such as \"orders.new\""));
    }
    if subject.len() > MAX_SUBJECT {
        let problem = format!("{shown} is longer than {MAX_SUBJECT} bytes");
        return Err(Wrong::new(problem, "write a shorter one: the server ends a connection that sends a longer line"));
    }
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        if token.is_empty() {
            return Err(Wrong::new(format!("{shown} has an empty token"), "put something between the dots"));
        }
        if token == ">" && tokens.peek().is_some() {
            return Err(Wrong::new(format!("{shown} goes on after >"), "put > last, or use * for one token"));
        }
        if token.len() > 1 && token.contains(['*', '>']) {
            return Err(Wrong::new(
                format!("{shown} has a wildcard inside the token {}", quoted(token)),
                "a wildcard is a token of its own, as in \"orders.*\"",
            ));
        }
    }
    Ok(())
}

/// Checks the first tokens of an inbox: a subject without wildcards, outside of what NATS keeps for itself.
pub(super) fn inbox_prefix(prefix: &str) -> Result<(), Wrong> {
    subject(prefix)?;
    if prefix.len() > LONGEST {
        let problem = format!("{} is longer than {LONGEST} bytes", quoted(prefix));
        return Err(Wrong::new(problem, "write a prefix such as \"_INBOX_orders\""));
    }
    if prefix.split('.').any(|token| token == "*" || token == ">") {
        return Err(Wrong::new(
            format!("{} has a wildcard", quoted(prefix)),
            "write a prefix such as \"_INBOX_orders\"",
        ));
    }
    if prefix.starts_with('$') {
        return Err(Wrong::new(
            format!("{} begins with $, which NATS keeps for itself", quoted(prefix)),
            "write a prefix such as \"_INBOX_orders\"",
        ));
    }
    Ok(())
}

/// Checks a domain of JetStream, which is a token of subjects.
pub(super) fn jetstream_domain(domain: &str) -> Result<(), Wrong> {
    subject(domain)?;
    let remedy = "write the domain that the server's configuration has in its block `jetstream`";
    if domain.contains(['.', '*', '>', '$']) {
        return Err(Wrong::new(format!("{} cannot be a domain of JetStream", quoted(domain)), remedy));
    }
    Ok(())
}

/// Checks the first tokens of requests to JetStream: a subject without wildcards.
pub(super) fn api_prefix(prefix: &str) -> Result<(), Wrong> {
    let remedy = "write the subject under which the account imports the API, such as \"ORDERS.API\"";
    if let Some(short) = prefix.strip_suffix('.') {
        return Err(Wrong::new(format!("{} ends with a dot", quoted(prefix)), format!("write {}", quoted(short))));
    }
    subject(prefix)?;
    if prefix.len() > LONGEST {
        return Err(Wrong::new(format!("{} is longer than {LONGEST} bytes", quoted(prefix)), remedy));
    }
    if prefix.split('.').any(|token| token == "*" || token == ">") {
        return Err(Wrong::new(format!("{} has a wildcard", quoted(prefix)), remedy));
    }
    Ok(())
}

/// Checks the first tokens of the subjects of a service: no wildcards, and outside of what NATS keeps for itself.
pub(super) fn service_prefix(prefix: &str) -> Result<(), Wrong> {
    let remedy = "write a prefix such as \"tidegate.host\"";
    subject(prefix)?;
    if prefix.len() > LONGEST {
        return Err(Wrong::new(format!("{} is longer than {LONGEST} bytes", quoted(prefix)), remedy));
    }
    if prefix.split('.').any(|token| token == "*" || token == ">") {
        return Err(Wrong::new(format!("{} has a wildcard", quoted(prefix)), remedy));
    }
    if prefix.starts_with('$') {
        return Err(Wrong::new(format!("{} begins with $, which NATS keeps for itself", quoted(prefix)), remedy));
    }
    Ok(())
}

/// Checks where answers may go: subjects that begin with a token of their own, and not one of those on which a host
/// has rights that whoever asks has not.
pub(super) fn service_reply(pattern: &str) -> Result<(), Wrong> {
    subject(pattern)?;
    if pattern.starts_with(['$', '*', '>']) {
        let problem = format!("{} would let whoever asks have this host speak to JetStream", quoted(pattern));
        return Err(Wrong::new(problem, "write the inboxes of those who may ask, such as \"_INBOX_ops.>\""));
    }
    Ok(())
}

/// Checks the name of a host, without a port.
pub(super) fn host(name: &str) -> Result<(), Wrong> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !name.is_empty() && name.chars().all(is_part) {
        return Ok(());
    }
    let problem = format!("{} is not the name of a host", quoted(name));
    Err(Wrong::new(problem, "write a name without a port, such as \"tidegate.internal\""))
}

/// The longest name of a bucket, in bytes: its stream's name has `KV_` or `OBJ_` before it.
const LONGEST_BUCKET: usize = 251;
/// The longest id of a host, in bytes.
const LONGEST_HOST_ID: usize = 128;

/// Checks the name of a bucket.
pub(super) fn bucket(name: &str) -> Result<(), Wrong> {
    if name.is_empty() || name.len() > LONGEST_BUCKET || !name.chars().all(is_of_key) {
        let problem = format!("{} is not the name of a bucket", quoted(name));
        return Err(Wrong::new(problem, "use letters, digits, - and _"));
    }
    Ok(())
}

/// Checks the id of a host: it becomes a part of a key.
pub(super) fn host_id(id: &str) -> Result<(), Wrong> {
    if id.is_empty() || id.len() > LONGEST_HOST_ID || !id.chars().all(is_of_key) {
        let problem = format!("{} cannot be the id of a host", quoted(id));
        return Err(Wrong::new(problem, "use letters, digits, - and _, and no more than 128 of them"));
    }
    Ok(())
}

fn is_of_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Reads `PORT`, `:PORT`, `localhost:PORT` or an IP address with a port. Without an address it is the loopback one, for
/// what can be read there is for whoever looks after this host.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, Wrong> {
    let port = text.strip_prefix("localhost").unwrap_or(text);
    let port = port.strip_prefix(':').or((port == text).then_some(port)).and_then(|port| port.parse::<u16>().ok());
    port.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).or_else(|| text.parse().ok()).ok_or_else(|| {
        let remedy = "write a port, such as \"8222\", or an IP address and a port, such as \"0.0.0.0:8222\"";
        Wrong::new(format!("{} is not an address to listen on", quoted(text)), remedy)
    })
}

/// Whether a message can have a subject that both match.
pub fn overlap(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(x), Some(y)) if x == y || x == "*" || y == "*" => {}
            _ => return false,
        }
    }
}

/// The known word nearest to what was written, if one is near enough to be meant.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase().replace('_', "-");
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&written, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn jetstream_names_have_no_spaces_dots_wildcards_or_slashes() {
        for good in ["ORDERS", "orders-workers", "a_1", "größe"] {
            assert_eq!(jetstream(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a.b", "a*", ">", "a/b", "a\\b", "a\tb", &"x".repeat(256)] {
            assert!(jetstream(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_workload_is_one_subject_token_outside_of_what_nats_keeps() {
        assert!(workload("orders").is_ok());
        assert!(workload("$JS").is_err());
        assert!(workload("a.b").is_err());
    }

    #[test]
    fn a_plugin_written_as_a_file_is_told_its_name() {
        assert!(plugin("receipts").is_ok());
        assert!(plugin("plugins/receipts.wasm").unwrap_err().remedy.contains("\"receipts\""));
        for bad in ["", "a/b", "..", ".hidden", "a\\b", "a\nb"] {
            assert!(plugin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_plugin_may_be_pinned_to_all_digits_of_a_digest() {
        let digits = "0123456789abcdef".repeat(4);
        let pinned = |text: &str| pinned_plugin(text).map(|(name, pin)| (name, pin.map(|pin| pin.whole().to_owned())));
        assert_eq!(pinned("receipts"), Ok(("receipts".to_owned(), None)));
        assert_eq!(pinned(&format!("receipts@sha256:{digits}")), Ok(("receipts".to_owned(), Some(digits.clone()))));
        let upper = digits.to_uppercase();
        for bad in ["receipts@sha256:", "receipts@sha256:0123", &format!("receipts@sha256:{upper}")] {
            assert!(pinned(bad).unwrap_err().remedy.contains("`sha256sum receipts.wasm`"), "{bad}");
        }
        assert!(pinned(&format!("@sha256:{digits}")).is_err());
        assert!(pinned(&format!("a/b@sha256:{digits}")).is_err());
    }

    #[test]
    fn subjects_follow_the_rules_of_nats() {
        for good in ["orders", "orders.new", "orders.*.eu", "orders.>", ">", "*"] {
            assert_eq!(subject(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "orders.", ".orders", "a..b", "a b", "orders.>.x", "a*", "a.b>"] {
            assert!(subject(bad).is_err(), "{bad}");
        }
        assert!(subject(&"a".repeat(MAX_SUBJECT)).is_ok() && subject(&"a".repeat(MAX_SUBJECT + 1)).is_err());
    }

    #[test]
    fn subjects_overlap_when_a_message_can_match_both() {
        for (a, b, expected) in [
            ("orders.>", "orders.dead", true),
            ("orders.*", "orders.dead", true),
            ("*.dead", "orders.*", true),
            (">", "x", true),
            ("orders.new", "orders.dead", false),
            ("orders", "orders.>", false),
            ("orders.*", "orders.a.b", false),
        ] {
            assert_eq!(overlap(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_word_is_offered_only_when_it_may_be_meant() {
        let known = ["stream", "consumer", "max-attempts"];
        assert_eq!(nearest("steam", known), Some("stream"));
        assert_eq!(nearest("max_attempts", known), Some("max-attempts"));
        assert_eq!(nearest("Consumer", known), Some("consumer"));
        assert_eq!(nearest("banana", known), None);
    }

    proptest! {
        #[test]
        fn overlap_is_the_same_both_ways(a in "[ab*>]([.][ab*>]){0,3}", b in "[ab*>]([.][ab*>]){0,3}") {
            prop_assert_eq!(overlap(&a, &b), overlap(&b, &a));
        }

        #[test]
        fn no_text_makes_the_checks_panic(text in any::<String>()) {
            let _ = (jetstream(&text), workload(&text), plugin_reference(&text), subject(&text));
            let _ = nearest(&text, ["stream"]);
        }
    }
}
