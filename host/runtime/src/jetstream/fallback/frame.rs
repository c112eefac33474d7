//! Reads what a server sends, as bytes. No content of a message makes this fail.

use async_nats::header::HeaderMap;
use async_nats::{StatusCode, Subject};
use bytes::{Buf, Bytes, BytesMut};

use crate::dead_letter::block;

/// The longest line that a server sends. A server takes shorter lines from its clients, but may map a subject to a
/// longer one.
const LONGEST_LINE: usize = 1 << 20;

/// One protocol message of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Info(Bytes),
    Ping,
    Pong,
    /// An error, in the server's words.
    Error(String),
    /// A message, with the number of its subscription.
    Message(usize, Raw),
    /// A protocol message that does not matter here.
    Other,
}

/// A message as it came, unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::jetstream) struct Raw {
    pub(in crate::jetstream) subject: Bytes,
    reply: Option<Bytes>,
    /// The header block; `None` if the message has none.
    pub(in crate::jetstream) block: Option<Bytes>,
    pub(in crate::jetstream) payload: Bytes,
}

/// The server does not speak the protocol.
#[derive(Debug, thiserror::Error)]
#[error("the server sent what is not understood: `{0}`")]
pub(super) struct Garbled(String);

/// Takes the next frame out of the bytes that have come. `None` if it has not come whole yet.
pub(super) fn next(buffer: &mut BytesMut) -> Result<Option<Frame>, Garbled> {
    let Some(end) = buffer.windows(2).position(|two| two == b"\r\n") else {
        return if buffer.len() > LONGEST_LINE { Err(garbled(buffer)) } else { Ok(None) };
    };
    let line = buffer.get(..end).unwrap_or_default();
    let (verb, rest) = line.split_at(line.iter().position(|byte| *byte == b' ').unwrap_or(line.len()));
    let frame = match verb {
        b"MSG" | b"HMSG" => return message(buffer, end),
        b"PING" => Frame::Ping,
        b"PONG" => Frame::Pong,
        b"INFO" => Frame::Info(Bytes::copy_from_slice(rest)),
        b"-ERR" => Frame::Error(String::from_utf8_lossy(rest).trim().trim_matches('\'').to_owned()),
        b"+OK" => Frame::Other,
        _ => return Err(garbled(line)),
    };
    buffer.advance(end + 2);
    Ok(Some(frame))
}

/// Reads `MSG <subject> <sid> [reply] <size>` with the payload, or `HMSG <subject> <sid> [reply] <block> <size>` with
/// header block and payload.
fn message(buffer: &mut BytesMut, end: usize) -> Result<Option<Frame>, Garbled> {
    let line = Bytes::copy_from_slice(buffer.get(..end).unwrap_or_default());
    let parts: Vec<_> = line.split(|byte| *byte == b' ').filter(|part| !part.is_empty()).collect();
    let (subject, subscription, reply, block, size) = match (line.starts_with(b"HMSG"), parts.as_slice()) {
        (false, [_, subject, id, size]) => (subject, id, None, None, size),
        (false, [_, subject, id, reply, size]) => (subject, id, Some(reply), None, size),
        (true, [_, subject, id, block, size]) => (subject, id, None, Some(block), size),
        (true, [_, subject, id, reply, block, size]) => (subject, id, Some(reply), Some(block), size),
        _ => return Err(garbled(&line)),
    };
    let number = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<usize>().ok());
    let size = number(size).ok_or_else(|| garbled(&line))?;
    let subscription = number(subscription).ok_or_else(|| garbled(&line))?;
    let block = match block {
        None => None,
        Some(block) => Some(number(block).filter(|block| *block <= size).ok_or_else(|| garbled(&line))?),
    };
    if buffer.len() < end + 2 + size + 2 {
        buffer.reserve(end + 2 + size + 2 - buffer.len());
        return Ok(None);
    }
    let (subject, reply) = (line.slice_ref(subject), reply.map(|reply| line.slice_ref(reply)));
    buffer.advance(end + 2);
    let block = block.map(|block| buffer.split_to(block).freeze());
    let payload = buffer.split_to(size - block.as_ref().map_or(0, Bytes::len)).freeze();
    buffer.advance(2);
    Ok(Some(Frame::Message(subscription, Raw { subject, reply, block, payload })))
}

fn garbled(bytes: &[u8]) -> Garbled {
    Garbled(bytes.escape_ascii().to_string().chars().take(80).collect())
}

impl Raw {
    /// The message as the client library reads it.
    ///
    /// # Errors
    /// Why the client library cannot read it.
    pub(in crate::jetstream) fn read(&self) -> Result<async_nats::Message, String> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec());
        let subject = text(&self.subject).map_err(|_| "its subject is not UTF-8".to_owned())?;
        let reply =
            self.reply.as_ref().map(text).transpose().map_err(|_| "its reply subject is not UTF-8".to_owned())?;
        if self.block.is_some() && subject.contains(char::is_whitespace) {
            return Err("its subject has white space in it, and it has headers".to_owned());
        }
        let (headers, status, description) = match &self.block {
            None => (None, None, None),
            Some(block) => {
                let list = block::read(block).map_err(|why| format!("its headers cannot be read: {why}"))?;
                let (status, description) = status(block);
                (Some(map(list)?), status, description)
            }
        };
        let length = self.block.as_ref().map_or(0, Bytes::len) + self.payload.len();
        Ok(async_nats::Message {
            subject: Subject::from(subject),
            reply: reply.map(Subject::from),
            payload: self.payload.clone(),
            headers,
            status,
            description,
            length,
        })
    }

    /// The subject on which a delivery is settled.
    pub(in crate::jetstream) fn reply(&self) -> Option<&str> {
        std::str::from_utf8(self.reply.as_ref()?).ok()
    }

    /// The subject as text. Bytes that cannot be shown or published are escaped.
    pub(in crate::jetstream) fn shown_subject(&self) -> String {
        let mut shown = String::new();
        for chunk in self.subject.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_whitespace() || c.is_control() {
                    shown.extend(c.escape_unicode());
                } else {
                    shown.push(c);
                }
            }
            shown.push_str(&chunk.invalid().escape_ascii().to_string());
        }
        shown
    }
}

fn map(list: Vec<(String, String)>) -> Result<HeaderMap, String> {
    super::super::header_map::headers(list).map_err(|error| error.to_string())
}

/// The status of a header block that can be read, and its words.
fn status(block: &[u8]) -> (Option<StatusCode>, Option<String>) {
    let text = std::str::from_utf8(block).unwrap_or_default();
    let line = text.lines().next().and_then(|line| line.strip_prefix("NATS/1.0")).map_or("", str::trim);
    let (code, words) = line.split_once(' ').unwrap_or((line, ""));
    let words = Some(words.trim().to_owned()).filter(|words| !words.is_empty());
    (code.trim().parse().ok(), words)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Vec<Frame> {
        let mut buffer = BytesMut::from(bytes);
        std::iter::from_fn(|| next(&mut buffer).unwrap()).collect()
    }

    fn one(subject: &[u8], reply: &str, block: &[u8], payload: &[u8]) -> Raw {
        let size = block.len() + payload.len();
        let (verb, sizes) = match block.len() {
            0 => ("MSG", size.to_string()),
            block => ("HMSG", format!("{block} {size}")),
        };
        let line = [verb.as_bytes(), b" ", subject, format!(" 1 {reply} {sizes}\r\n").as_bytes()].concat();
        match all(&[&line, block, payload, b"\r\n"].concat()).pop() {
            Some(Frame::Message(1, raw)) => raw,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_server_sends_is_told_apart() {
        assert_eq!(all(b"PING\r\nPONG\r\n+OK\r\n"), [Frame::Ping, Frame::Pong, Frame::Other]);
        assert_eq!(all(b"-ERR 'Stale Connection'\r\n"), [Frame::Error("Stale Connection".to_owned())]);
        assert_eq!(all(b"INFO {}\r\n"), [Frame::Info(Bytes::from_static(b" {}"))]);
        assert!(next(&mut BytesMut::from(&b"HTTP/1.1 200\r\n"[..])).is_err());
    }

    #[test]
    fn a_message_is_read_as_the_client_library_reads_it() {
        let ack = "$JS.ACK.S.c.1.2.3.4.5";
        let message = one(b"a.b", ack, b"NATS/1.0\r\nA: b \r\n\r\n", b"abcd").read().unwrap();
        assert_eq!(message.reply.unwrap().as_str(), ack);
        assert_eq!(message.headers.unwrap().get("A").unwrap().as_str(), "b");
        assert_eq!((message.subject.as_str(), &message.payload[..]), ("a.b", &b"abcd"[..]));
        let status = one(b"_INBOX.x.1", "", b"NATS/1.0 408 Request Gone\r\n\r\n", b"").read().unwrap();
        assert_eq!((status.status.unwrap().as_u16(), status.description.as_deref()), (408, Some("Request Gone")));
        assert_eq!(one(b"a\xc2\xa0b", "", b"", b"").read().unwrap().subject.as_str(), "a\u{a0}b");
    }

    #[test]
    fn a_message_that_the_client_library_cannot_read_says_why_and_is_shown() {
        for (subject, block, why, shown) in [
            (&b"a.\xff"[..], &b""[..], "not UTF-8", "a.\\xff"),
            (b"a\xc2\xa0b", b"NATS/1.0\r\n\r\n", "white space", "a\\u{a0}b"),
            (b"a", b"NATS/1.0\r\n\xff\r\n\r\n", "cannot be read", "a"),
            (b"a", b"NATS/1.0\r\nA: a\rb\r\n\r\n", "line break", "a"),
        ] {
            let raw = one(subject, "$JS.ACK.S.c.1.2.3.4.5", block, b"");
            let error = raw.read().unwrap_err();
            assert!(error.contains(why), "{error}");
            assert_eq!(raw.shown_subject(), shown);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_message_holds_breaks_what_follows(
            subject in prop::collection::vec(any::<u8>().prop_filter("no", |b| !b" \t\r\n".contains(b)), 1..20),
            block in prop::collection::vec(any::<u8>(), 0..60),
            payload in prop::collection::vec(any::<u8>(), 0..60),
            cut in 0usize..100,
        ) {
            let mut bytes = b"HMSG ".to_vec();
            bytes.extend(&subject);
            bytes.extend(format!(" 1 r {} {}\r\n", block.len(), block.len() + payload.len()).into_bytes());
            bytes.extend(block.iter().chain(&payload));
            bytes.extend(b"\r\nPING\r\n");
            let mut buffer = BytesMut::from(bytes.get(..cut.min(bytes.len())).unwrap());
            let mut frames = Vec::new();
            frames.extend(next(&mut buffer).unwrap());
            buffer.extend_from_slice(bytes.get(cut.min(bytes.len())..).unwrap());
            frames.extend(std::iter::from_fn(|| next(&mut buffer).unwrap()));
            prop_assert_eq!(frames.len(), 2);
            let Some(Frame::Message(1, raw)) = frames.first() else { panic!() };
            prop_assert_eq!((&raw.subject[..], &raw.payload[..]), (&subject[..], &payload[..]));
            let _ = raw.read();
            let _ = raw.shown_subject();
        }
    }
}
