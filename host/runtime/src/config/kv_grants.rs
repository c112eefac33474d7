//! Key-value buckets that a handler may use, as `grants.kv` names them.

use std::fmt;

use super::error::Wrong;
use super::units::quoted;
use super::words::Word;
use crate::subject::MAX_SUBJECT;

/// The longest key, in bytes: with the bucket before it, it is a subject.
const LONGEST_KEY: usize = MAX_SUBJECT / 2;
/// The longest name of a bucket, in bytes: its stream's name has `KV_` before it.
const LONGEST_BUCKET: usize = 252;
/// What a grant looks like.
const REMEDY: &str = "write \"read BUCKET\", \"read-write BUCKET\" or \"read-write BUCKET/PREFIX\"";

/// What may be done with the keys of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvAccess {
    /// They may be read.
    Read,
    /// They may be read, set and deleted.
    ReadWrite,
}

impl Word for KvAccess {
    const WORDS: &'static [(&'static str, Self)] = &[("read", Self::Read), ("read-write", Self::ReadWrite)];
}

/// Keys of one bucket, and what may be done with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvGrant {
    /// The bucket's name.
    pub bucket: String,
    /// What may be done.
    pub access: KvAccess,
    /// How the keys begin; empty for all keys.
    pub prefix: String,
}

impl KvGrant {
    /// Reads `read BUCKET`, `read-write BUCKET` or either with `/PREFIX` behind it.
    fn parse(text: &str) -> Result<Self, Wrong> {
        let shown = quoted(text);
        let Some((access, keys)) = text.trim().split_once(' ') else {
            return Err(Wrong::new(format!("{shown} does not say what may be done with the bucket"), REMEDY));
        };
        let access = KvAccess::parse(access)?;
        let (bucket, prefix) = keys.trim().split_once('/').unwrap_or((keys.trim(), ""));
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if bucket.is_empty() || bucket.len() > LONGEST_BUCKET || !bucket.chars().all(is_of_name) {
            let problem = format!("{shown}: {} is not the name of a bucket", quoted(bucket));
            return Err(Wrong::new(problem, "use letters, digits, - and _"));
        }
        if let Err(why) = check_prefix(prefix) {
            return Err(Wrong::new(format!("{shown}: no key begins with {}: {why}", quoted(prefix)), REMEDY));
        }
        Ok(Self { bucket: bucket.to_owned(), access, prefix: prefix.to_owned() })
    }

    /// What the grants are made of in a file.
    pub(super) fn read(texts: &[String]) -> Vec<Self> {
        texts.iter().filter_map(|text| Self::parse(text).ok()).collect()
    }

    /// The subject among those that are read of `stream` on which keys that it lets be written are stored. A bucket is
    /// a stream, and each of its keys a subject there; where nothing is said of what is read of that stream, it is all.
    pub(super) fn read_back(&self, stream: &str, reads: &[String]) -> Option<String> {
        if self.access == KvAccess::Read {
            return None;
        }
        let keys = format!("$KV.{}.", self.bucket);
        let is_bucket = stream.strip_prefix("KV_") == Some(&self.bucket);
        if is_bucket && reads.is_empty() {
            return Some(format!("{keys}>"));
        }
        // Of a stream that may hold anything, `>` says nothing about buckets.
        let mut of_buckets = reads.iter().filter(|read| is_bucket || read.starts_with("$KV."));
        of_buckets.find(|read| may_begin(read, &format!("{keys}{}", self.prefix))).cloned()
    }

    /// Whether it lets a key be used so.
    pub(crate) fn covers(&self, bucket: &str, key: &str, access: KvAccess) -> bool {
        self.bucket == bucket
            && key.starts_with(&self.prefix)
            && (access == KvAccess::Read || self.access == KvAccess::ReadWrite)
    }
}

impl fmt::Display for KvGrant {
    /// As it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.access {
            KvAccess::Read => "read",
            KvAccess::ReadWrite => "read-write",
        };
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{access} {}{slash}{}", self.bucket, self.prefix)
    }
}

/// Whether a subject that `pattern` matches can begin with `prefix`, which may end within a token.
fn may_begin(pattern: &str, prefix: &str) -> bool {
    let (mut tokens, mut begins) = (pattern.split('.'), prefix.split('.').peekable());
    while let Some(begin) = begins.next() {
        let is_last = begins.peek().is_none();
        match tokens.next() {
            Some(">") => return true,
            Some(token) if token == "*" || token == begin || is_last && token.starts_with(begin) => {}
            _ => return false,
        }
    }
    true
}

/// Checks one of the grant's texts.
pub(super) fn rule(text: &str) -> Result<(), Wrong> {
    KvGrant::parse(text).map(drop)
}

/// Checks that JetStream can have a key in a bucket. The error says what is wrong with it.
pub(crate) fn check_key(key: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("it is empty".to_owned());
    }
    if key.ends_with('.') {
        return Err("it ends with a dot".to_owned());
    }
    check_prefix(key)
}

/// The same for how a key begins.
fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.len() > LONGEST_KEY {
        return Err(format!("it is longer than {LONGEST_KEY} bytes"));
    }
    if prefix.starts_with('.') || prefix.contains("..") {
        return Err("it begins with a dot, or has two together".to_owned());
    }
    match prefix.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_=./".contains(*c)) {
        Some(c) => Err(format!("it holds {c:?}, and a key has letters, digits and - _ = . /")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_grant_says_what_may_be_done_with_which_keys_of_a_bucket() {
        for (text, bucket, access, prefix) in [
            ("read prices", "prices", KvAccess::Read, ""),
            ("read-write counters", "counters", KvAccess::ReadWrite, ""),
            ("read-write counters/orders.", "counters", KvAccess::ReadWrite, "orders."),
            ("read a_b-1/x/y", "a_b-1", KvAccess::Read, "x/y"),
        ] {
            let expected = KvGrant { bucket: bucket.to_owned(), access, prefix: prefix.to_owned() };
            assert_eq!(KvGrant::parse(text).unwrap(), expected);
        }
    }

    #[test]
    fn a_grant_that_says_too_little_or_nonsense_is_refused_with_what_would_be_right() {
        for (text, expected) in [
            ("counters", "does not say what may be done"),
            ("write counters", "write"),
            ("read", "does not say what may be done"),
            ("read a.b", "\"a.b\" is not the name of a bucket"),
            ("read ", "does not say what may be done"),
            ("read counters/.x", "begins with a dot"),
            ("read counters/a b", "it holds ' '"),
            ("read counters/*", "it holds '*'"),
        ] {
            let wrong = rule(text).unwrap_err();
            assert!(wrong.problem.contains(expected), "{text}: {}", wrong.problem);
        }
    }

    #[test]
    fn keys_are_those_that_jetstream_has() {
        for good in ["a", "orders.7", "a/b", "x=y", "A-_1", "a.b.c"] {
            assert_eq!(check_key(good), Ok(()), "{good}");
        }
        for bad in ["", ".", ".a", "a.", "a..b", "a b", "a*", ">", "größe", "a\r\nPUB b", &"k".repeat(LONGEST_KEY + 1)]
        {
            assert!(check_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_grant_covers_no_other_bucket_no_other_key_and_no_more_than_it_says() {
        let grant = KvGrant::parse("read counters/orders.").unwrap();
        assert!(grant.covers("counters", "orders.7", KvAccess::Read));
        assert!(!grant.covers("counters", "orders.7", KvAccess::ReadWrite));
        assert!(!grant.covers("counters", "order", KvAccess::Read));
        assert!(!grant.covers("counter", "orders.7", KvAccess::Read));
    }

    #[test]
    fn a_workload_is_told_which_of_its_own_keys_it_reads() {
        let of = |grant: &str, stream: &str, reads: &[&str]| {
            let reads: Vec<String> = reads.iter().map(|read| (*read).to_owned()).collect();
            KvGrant::parse(grant).unwrap().read_back(stream, &reads)
        };
        let all = Some("$KV.counters.>".to_owned());
        assert_eq!(of("read-write counters", "KV_counters", &[]), all);
        assert_eq!(of("read-write counters/a.", "KV_counters", &["$KV.counters.>"]), all);
        assert_eq!(of("read-write counters", "COPY", &["x", "$KV.counters.>"]), all);
        for (grant, stream, read) in [
            ("read-write counters", "KV_counters", ">"),
            ("read-write counters/or", "KV_counters", "$KV.counters.orders.*"),
            ("read-write counters/orders.a", "KV_counters", "$KV.counters.*.>"),
            ("read-write counters/orders.", "KV_counters", "$KV.counters.orders.7"),
        ] {
            assert_eq!(of(grant, stream, &[read]), Some(read.to_owned()), "{grant} {read}");
        }
        for (grant, stream, read) in [
            ("read counters", "KV_counters", ">"),
            ("read-write others", "KV_counters", "$KV.counters.>"),
            ("read-write counters", "ORDERS", ">"),
            ("read-write counters/orders.", "KV_counters", "$KV.counters.bills.>"),
            ("read-write counters/orders.", "KV_counters", "$KV.counters.orders"),
            ("read-write counters/or", "KV_counters", "$KV.counters.bills"),
        ] {
            assert_eq!(of(grant, stream, &[read]), None, "{grant} {read}");
        }
        assert_eq!(of("read-write counters", "ORDERS", &[]), None);
        for text in ["read a", "read-write a/b."] {
            assert_eq!(KvGrant::parse(text).unwrap().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn a_key_that_is_taken_is_a_literal_subject(key in any::<String>()) {
            if check_key(&key).is_ok() {
                let subject = format!("$KV.bucket.{key}");
                prop_assert!(crate::subject::check_subject(&subject).is_ok());
            }
        }
    }
}
