//! What becomes of a delivery's death: the headers of its dead letter, cut to what the server takes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{Headers, block, headers, lines, name};
use crate::contract::Author;
use crate::contract::{Death, Delivery};
use crate::delivery::MAX_HEADERS;

/// The most characters of a reason that are kept.
const REASON: usize = 1000;

/// A dead letter that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The headers that the original was published with first.
    original: Headers,
    /// The original's header block instead, if it cannot be read.
    unreadable: Option<Vec<u8>>,
    /// What the host says.
    own: Headers,
}

/// How a letter is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// As one message with these headers and the original's payload.
    Whole(Headers),
    /// As two. The first has no headers, and as its payload this block and then the original's payload; that is as much
    /// as the original was, so the server takes it. The second has these headers and no payload, and names the first.
    Apart {
        /// The original's headers as a block.
        block: Vec<u8>,
        /// The headers of the second, but for the name of the first.
        headers: Headers,
    },
}

/// Which delivery died where.
#[derive(Debug, Clone, Copy)]
pub struct LetterOrigin<'a> {
    /// The workload.
    pub workload: &'a str,
    /// The stream.
    pub stream: &'a str,
    /// The host.
    pub host: &'a str,
}

/// The message id of a letter about a message: the same each time, so that the letter is stored once within the
/// duplicate window, however often its term is lost. Another workload on the same stream keeps its own, and so does a
/// stream that was deleted and made anew.
fn letter_id(place: LetterOrigin<'_>, delivery: &Delivery) -> String {
    let Delivery { stream_sequence, published_at_ms, .. } = delivery;
    format!("dead:{}:{}:{stream_sequence}:{published_at_ms}", place.workload, place.stream)
}

/// Whether a message with these headers is a letter about that message.
pub(crate) fn is_letter_about(headers: &Headers, place: LetterOrigin<'_>, delivery: &Delivery) -> bool {
    let wanted = letter_id(place, delivery);
    let ids = headers.iter().filter(|(name, _)| name == headers::MESSAGE_ID);
    ids.filter_map(|(_, id)| id.strip_prefix(wanted.as_str())).any(|rest| rest.is_empty() || rest.starts_with(':'))
}

impl Draft {
    /// A letter about a delivery that its handler, or the host, gave up.
    pub fn new(place: LetterOrigin<'_>, delivery: &Delivery, death: &Death, author: &Author) -> Self {
        let (original, redriven) = headers::origin(&delivery.headers);
        let mut own = about(place, delivery, death);
        let mut say = |name: &str, value: String| own.push((name.to_owned(), value));
        if !death.stderr.is_empty() {
            say(name::STDERR, lines::to_value(&death.stderr));
        }
        say(name::ATTEMPTS, delivery.attempt.to_string());
        say(name::PLUGIN, author.plugin.to_string());
        say(name::GENERATION, author.generation.whole().to_owned());
        if let Some(redriven) = redriven {
            say(headers::REDRIVES, redriven.times.to_string());
            say(name::FIRST, format!("{}:{}", redriven.stream, redriven.sequence));
        }
        Self { original, unreadable: None, own }
    }

    /// A letter about a message whose header block no client of this kind can read.
    pub(crate) fn unreadable(place: LetterOrigin<'_>, delivery: &Delivery, death: &Death, block: &[u8]) -> Self {
        Self { original: Headers::new(), unreadable: Some(block.to_owned()), own: about(place, delivery, death) }
    }

    /// The same letter where the stream remembers the id of an earlier one, at this position, that is not there any
    /// more. It is the same each time for that one.
    #[must_use]
    pub(crate) fn after(mut self, gone: u64) -> Self {
        let ids = self.own.iter_mut().filter(|(name, _)| name == headers::MESSAGE_ID);
        ids.for_each(|(_, id)| id.push_str(&format!(":{gone}")));
        self
    }

    /// How it is published with a payload of so many bytes to a server that takes `limit` bytes of both. What the
    /// handler wrote gives way first, then the reason, before two messages are made. The second of two has room for
    /// both again, for it has no payload.
    pub fn shape(mut self, payload: usize, limit: usize) -> Shape {
        let mut kept = headers::keep(&self.original);
        if let Some(block) = &self.unreadable {
            kept.push((name::UNREADABLE.to_owned(), BASE64_STANDARD.encode(block)));
        }
        let mut whole = self.own.clone();
        if cut(&mut whole, &kept, limit.saturating_sub(payload)) && payload <= limit {
            return Shape::Whole(kept.into_iter().chain(whole).collect());
        }
        let block = match self.unreadable {
            Some(block) => block,
            None if self.original.is_empty() => Vec::new(),
            None => block::write(&self.original),
        };
        self.own.push((name::CONTENT_HEADERS.to_owned(), block.len().to_string()));
        let to_come = vec![(name::CONTENT.to_owned(), u64::MAX.to_string())];
        cut(&mut self.own, &to_come, limit);
        Shape::Apart { block, headers: self.own }
    }
}

/// Takes away of a letter's own headers what it can do without, as far as that is needed beside `others` where the
/// server takes `limit` bytes. Gives whether all fit then.
fn cut(own: &mut Headers, others: &Headers, limit: usize) -> bool {
    let room = MAX_HEADERS.min(limit);
    let over = |own: &Headers| block::size(others.iter().chain(own)).saturating_sub(room);
    if over(own) > 0 {
        own.retain(|(name, _)| name != name::STDERR);
    }
    let over_now = over(own);
    if let Some((_, reason)) = own.iter_mut().find(|(name, _)| name == name::REASON).filter(|_| over_now > 0) {
        let end = (0..=reason.len().saturating_sub(over_now)).rev().find(|end| reason.is_char_boundary(*end));
        reason.truncate(end.unwrap_or_default());
    }
    over(own) == 0
}

fn about(place: LetterOrigin<'_>, delivery: &Delivery, death: &Death) -> Headers {
    // A reason is a guest's text and may have anything in it; one line of it is enough.
    let reason = death.reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON).collect();
    let sequence = delivery.stream_sequence;
    let published = delivery.published_at_ms;
    let own = [
        (name::SUBJECT, delivery.subject.clone()),
        (name::STREAM, place.stream.to_owned()),
        (name::SEQUENCE, sequence.to_string()),
        (name::PUBLISHED, published.to_string()),
        (name::CAUSE, death.cause.as_str().to_owned()),
        (name::REASON, reason),
        (name::HOST, place.host.to_owned()),
        (headers::MESSAGE_ID, letter_id(place, delivery)),
    ];
    own.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use std::time::SystemTime;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::contract::Cause;
    use crate::dead_letter::tests::headers;
    use crate::dead_letter::{Content, Letter, StoredMessage};

    const PLACE: LetterOrigin<'_> = LetterOrigin { workload: "orders", stream: "ORDERS", host: "here:1" };

    fn draft(headers: Headers, reason: &str) -> Draft {
        written(headers, reason, "")
    }

    fn written(headers: Headers, reason: &str, stderr: &str) -> Draft {
        let delivery =
            Delivery { subject: "a.b".into(), headers, stream_sequence: 7, attempt: 3, ..Delivery::default() };
        let author = Author { plugin: "receipts".into(), generation: "2ea2".into() };
        let death = Death { cause: Cause::Rejected, reason: reason.to_owned(), stderr: stderr.to_owned() };
        Draft::new(PLACE, &delivery, &death, &author)
    }

    fn read(headers: Headers) -> Letter {
        let (subject, time) = ("orders.dead".to_owned(), SystemTime::UNIX_EPOCH);
        Letter::read(&StoredMessage {
            sequence: 1,
            subject,
            headers,
            is_readable: true,
            payload: Bytes::new(),
            size: 0,
            time,
        })
        .unwrap()
    }

    #[test]
    fn a_reason_gives_way_before_a_letter_is_split() {
        let whole = |limit| match draft(vec![], &"é".repeat(100)).shape(1000, limit) {
            Shape::Whole(headers) => Some(read(headers).reason.chars().count()),
            Shape::Apart { .. } => None,
        };
        let full = (1000..3000).find(|limit| whole(*limit) == Some(100)).unwrap();
        assert_eq!(whole(full - 1), Some(99));
        assert_eq!(whole(full - 200), Some(0));
        assert_eq!(whole(full - 201), None);
    }

    #[test]
    fn what_the_handler_wrote_gives_way_before_the_reason_does() {
        let whole = |limit| match written(vec![], "no", "Traceback\n\tat app.py").shape(1000, limit) {
            Shape::Whole(headers) => Some(read(headers)).map(|letter| (letter.reason, letter.stderr)),
            Shape::Apart { .. } => None,
        };
        let full = Some(("no".to_owned(), "Traceback\n\tat app.py".to_owned()));
        let fits = (1000..3000).find(|limit| whole(*limit) == full).unwrap();
        assert_eq!(whole(fits - 1), Some(("no".to_owned(), String::new())));
    }

    #[test]
    fn headers_as_large_as_a_stream_stores_do_not_keep_a_letter_from_being_stored() {
        let large = vec![("Long".to_owned(), "x".repeat(MAX_HEADERS - 100))];
        match draft(large, "no").shape(10, 1 << 20) {
            Shape::Apart { headers, .. } => assert!(block::size(&headers) < 1000),
            Shape::Whole(_) => panic!("the server refuses it"),
        }
    }

    #[test]
    fn a_letter_in_two_messages_has_reason_and_standard_error_whole() {
        let second = |limit| match written(vec![], "no", "Traceback\n\tat app.py").shape(limit - 10, limit) {
            Shape::Apart { mut headers, .. } => {
                headers.push((name::CONTENT.to_owned(), "9".to_owned()));
                assert!(block::size(&headers) <= limit);
                read(headers)
            }
            Shape::Whole(_) => panic!("there is no room for it"),
        };
        let letter = second(1 << 20);
        assert_eq!((letter.reason.as_str(), letter.stderr.as_str()), ("no", "Traceback\n\tat app.py"));
        // A server may take less than that.
        assert_eq!((second(380).reason.as_str(), second(380).stderr.as_str()), ("no", ""));
    }

    #[test]
    fn a_letter_that_takes_the_place_of_one_that_is_gone_has_an_id_of_its_own_and_is_about_the_same_message() {
        let delivery = |stream_sequence| Delivery { stream_sequence, published_at_ms: 9, ..Delivery::default() };
        let (death, author) = (
            Death::new(Cause::Rejected, "no".to_owned()),
            Author { plugin: "receipts".into(), generation: "2ea2".into() },
        );
        let letter = |gone: Option<u64>| {
            let draft = Draft::new(PLACE, &delivery(7), &death, &author);
            let draft = gone.into_iter().fold(draft, Draft::after);
            match draft.shape(0, 9999) {
                Shape::Whole(headers) => headers,
                Shape::Apart { .. } => panic!("it is small"),
            }
        };
        let id = |headers: &Headers| {
            headers.iter().find(|(name, _)| name == headers::MESSAGE_ID).map(|(_, id)| id.clone()).unwrap()
        };
        let letters = [letter(None), letter(Some(4)), letter(Some(5))];
        assert_eq!(
            letters.each_ref().map(id),
            ["dead:orders:ORDERS:7:9", "dead:orders:ORDERS:7:9:4", "dead:orders:ORDERS:7:9:5"]
        );
        for headers in &letters {
            assert!(is_letter_about(headers, PLACE, &delivery(7)));
            assert!(!is_letter_about(headers, PLACE, &delivery(70)));
            assert!(!is_letter_about(headers, LetterOrigin { workload: "other", ..PLACE }, &delivery(7)));
        }
        let longer = Delivery { published_at_ms: 91, ..delivery(7) };
        assert!(!is_letter_about(&letters[0], PLACE, &longer));
    }

    #[test]
    fn a_second_death_says_where_the_message_died_first() {
        let first = read(match draft(vec![], "no").shape(0, 9999) {
            Shape::Whole(headers) => headers,
            Shape::Apart { .. } => panic!("it is small"),
        });
        let mut again = draft(first.redriven(&vec![], Some("ORDERS")), "no");
        again.own.iter_mut().find(|(name, _)| name == name::SEQUENCE).unwrap().1 = "90".into();
        let second = match again.shape(0, 9999) {
            Shape::Whole(headers) => read(headers),
            Shape::Apart { .. } => panic!("it is small"),
        };
        assert_eq!((second.redrives, second.stream_sequence), (1, 90));
        assert_eq!(second.first, ("ORDERS".to_owned(), 7));
        assert_eq!(second.content, Content::Here(vec![]));
    }

    proptest! {
        #[test]
        fn a_letter_is_never_larger_than_the_server_takes(
            original in headers(), reason in ".{0,50}", stderr in "(?s).{0,50}", payload in 0usize..4000,
        ) {
            let came_in = block::size(&original) + payload;
            // A published message was not larger than the server takes.
            let limit = came_in.max(1000);
            match written(original.clone(), &reason, &stderr).shape(payload, limit) {
                Shape::Whole(headers) => {
                    prop_assert!(block::size(&headers) + payload <= limit);
                    prop_assert_eq!(read(headers).content, Content::Here(original));
                }
                Shape::Apart { block, mut headers } => {
                    prop_assert!(block.len() + payload <= limit);
                    prop_assert!(block::size(&headers) < limit);
                    prop_assert_eq!(block::read(&block).unwrap(), original);
                    headers.push((name::CONTENT.to_owned(), "9".to_owned()));
                    prop_assert_eq!(read(headers).content, Content::Apart { sequence: 9, headers: block.len() });
                }
            }
        }
    }
}
