//! The key of a delivery.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::config::OrderKey;
use crate::contract::Delivery;
use crate::subject::shown;

/// Stands for a key. Two keys that have the same one are taken for one key, which is as right and a little slower; the
/// state of the hasher is random, so that nobody can look for such keys.
pub type KeyHash = u64;

/// What is known of keys.
pub(crate) type ByKey<T> = HashMap<KeyHash, T, BuildHasherDefault<AsIs>>;

/// A hash is as good as a hash of it.
#[derive(Debug, Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Makes hashes of keys.
#[derive(Debug)]
pub(crate) struct KeyHasher {
    by: OrderKey,
    state: RandomState,
    workload: Arc<str>,
    /// Whether it was told that a message has no key.
    told: AtomicBool,
}

impl KeyHasher {
    pub(crate) fn new(by: OrderKey, workload: Arc<str>) -> Self {
        Self { by, state: RandomState::new(), workload, told: AtomicBool::new(false) }
    }

    /// The key of a delivery. A message without the key has one of its own, and keeps no order with any other.
    pub(crate) fn hash(&self, delivery: &Delivery) -> KeyHash {
        match text(&self.by, delivery) {
            Some(key) => self.state.hash_one(key),
            None => {
                self.keyless(delivery);
                self.state.hash_one(delivery.stream_sequence)
            }
        }
    }

    /// Tells the first message that has no key.
    fn keyless(&self, delivery: &Delivery) {
        if self.is_first() {
            let (workload, subject) = (&*self.workload, shown(&delivery.subject));
            let (stream_sequence, missing) = (delivery.stream_sequence, &self.by);
            tracing::warn!(
                workload,
                stream_sequence,
                subject,
                "a message has no key, for {missing} is missing: it waits for none, and none waits for it; other such \
                 messages are not told"
            );
        }
    }

    /// Whether nothing was told before.
    fn is_first(&self) -> bool {
        !self.told.load(Relaxed) && !self.told.swap(true, Relaxed)
    }

    /// The key of a delivery, to be shown.
    pub(crate) fn text<'a>(&self, delivery: &'a Delivery) -> Option<&'a str> {
        text(&self.by, delivery)
    }
}

/// The key of a delivery; `None` if its subject is too short, or the header is not there or empty.
fn text<'a>(by: &OrderKey, delivery: &'a Delivery) -> Option<&'a str> {
    match by {
        OrderKey::Subject => Some(&delivery.subject),
        OrderKey::Token(number) => token(&delivery.subject, *number),
        OrderKey::Header(name) => {
            let found = delivery.headers.iter().find(|(header, _)| header == name);
            found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        }
    }
}

/// The token of this number, from 1. By bytes: a search for a character costs more than most subjects are long.
fn token(subject: &str, number: usize) -> Option<&str> {
    let dot = |rest: &str| rest.as_bytes().iter().position(|byte| *byte == b'.');
    let mut rest = subject;
    for _ in 1..number {
        rest = rest.get(dot(rest)? + 1..)?;
    }
    rest.get(..dot(rest).unwrap_or(rest.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_a_token_the_subject_or_the_first_value_of_a_header() {
        let headers =
            vec![("Order-Id".into(), "7".into()), ("Order-Id".into(), "8".into()), ("Empty".into(), "".into())];
        let delivery = Delivery { subject: "shop.orders.eu.42".into(), headers, ..Delivery::default() };
        let key = |by: OrderKey| text(&by, &delivery);
        assert_eq!(key(OrderKey::Token(1)), Some("shop"));
        assert_eq!(key(OrderKey::Token(4)), Some("42"));
        assert_eq!(key(OrderKey::Token(5)), None);
        assert_eq!(key(OrderKey::Subject), Some("shop.orders.eu.42"));
        assert_eq!(key(OrderKey::Header("Order-Id".into())), Some("7"));
        assert_eq!(key(OrderKey::Header("order-id".into())), None);
        assert_eq!(key(OrderKey::Header("Empty".into())), None);
    }

    proptest! {
        #[test]
        fn a_token_is_what_stands_between_dots(subject in "[a.é]{0,12}", number in 1_usize..8) {
            prop_assert_eq!(token(&subject, number), subject.split('.').nth(number - 1));
        }
    }

    #[test]
    fn messages_without_the_key_have_each_its_own() {
        let hasher = KeyHasher::new(OrderKey::Header("Order-Id".into()), "orders".into());
        let hash = |stream_sequence| hasher.hash(&Delivery { stream_sequence, ..Delivery::default() });
        assert_ne!(hash(1), hash(2));
        assert_eq!(hash(1), hash(1));
        assert!(!hasher.is_first(), "it was told");
    }

    #[test]
    fn only_a_message_without_the_key_is_told_and_only_the_first() {
        let hasher = KeyHasher::new(OrderKey::Token(3), "orders".into());
        hasher.hash(&Delivery { subject: "shop.orders.7".into(), ..Delivery::default() });
        assert!(hasher.is_first() && !hasher.is_first());
    }
}
