//! The message id of a publication, by which a stream stores it once within its duplicate window. Pure.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::contract::{Delivery, Publication};

/// Hexadecimal digits of the content's SHA-256 that are in an id.
const DIGITS: usize = 32;

/// The id of a publication of this delivery's response. Other consumers, and a stream that was deleted and made anew,
/// give other ids; so does other content, where that is given.
pub(super) fn publication_id(
    stream: &str,
    consumer: &str,
    delivery: &Delivery,
    index: usize,
    content: Option<&Publication>,
) -> String {
    let Delivery { stream_sequence, published_at_ms, .. } = delivery;
    let mut id = format!("{stream}:{consumer}:{stream_sequence}:{published_at_ms}:{index}");
    if let Some(content) = content {
        id.push(':');
        id.push_str(&digest(content));
    }
    id
}

/// The bytes of the longest id.
pub(super) fn longest_publication_id(stream: &str, consumer: &str) -> usize {
    let last = Delivery { stream_sequence: u64::MAX, published_at_ms: u64::MAX, ..Delivery::default() };
    publication_id(stream, consumer, &last, usize::MAX, None).len() + ":".len() + DIGITS
}

/// The beginning of the SHA-256 of what the guest gave. Each part stands after its length, so that other parts never
/// make the same bytes.
fn digest(Publication { subject, headers, payload }: &Publication) -> String {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(subject.as_bytes());
    part(&(headers.len() as u64).to_le_bytes());
    for (name, value) in headers {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    part(payload);
    let mut digits = HEXLOWER.encode(&hasher.finalize());
    digits.truncate(DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn publication(subject: &str, headers: &[(&str, &str)], payload: &str) -> Publication {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Publication { subject: subject.to_owned(), headers, payload: payload.into() }
    }

    fn delivery(stream_sequence: u64, published_at_ms: u64) -> Delivery {
        Delivery { stream_sequence, published_at_ms, ..Delivery::default() }
    }

    #[test]
    fn the_id_of_a_place_names_the_message_and_the_index() {
        assert_eq!(publication_id("S", "c", &delivery(7, 1_600), 2, None), "S:c:7:1600:2");
    }

    #[test]
    fn equal_content_has_the_same_id_and_other_content_another() {
        let id = |content: &Publication| publication_id("S", "c", &delivery(7, 1_600), 0, Some(content));
        let all = [
            publication("a", &[], ""),
            publication("a", &[], "b"),
            publication("ab", &[], ""),
            publication("a", &[("b", "")], ""),
            publication("a", &[("", "b")], ""),
            publication("a", &[("b", "c")], ""),
            publication("a", &[("b", "c"), ("d", "e")], ""),
            publication("a", &[("d", "e"), ("b", "c")], ""),
            publication("a", &[("b", "c")], "de"),
        ];
        let ids: BTreeSet<String> = all.iter().map(id).collect();
        assert_eq!(ids.len(), all.len());
        assert!(all.iter().all(|content| id(content) == id(&content.clone())));
        for id in ids {
            let digits = id.strip_prefix("S:c:7:1600:0:").unwrap_or_default();
            assert!(digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        }
    }

    #[test]
    fn the_same_content_of_another_message_or_index_has_another_id() {
        let content = publication("a", &[], "b");
        let id = |delivery: &Delivery, index| publication_id("S", "c", delivery, index, Some(&content));
        let first = id(&delivery(7, 1_600), 0);
        assert_ne!(first, id(&delivery(8, 1_600), 0));
        assert_ne!(first, id(&delivery(7, 1_601), 0));
        assert_ne!(first, id(&delivery(7, 1_600), 1));
    }

    #[test]
    fn no_id_is_longer_than_the_longest() {
        let content = publication("a", &[("b", "c")], "d");
        let longest = longest_publication_id("S", "c");
        for content in [None, Some(&content)] {
            let id = publication_id("S", "c", &delivery(u64::MAX, u64::MAX), usize::MAX, content);
            assert!(id.len() <= longest, "{id}");
        }
    }
}
