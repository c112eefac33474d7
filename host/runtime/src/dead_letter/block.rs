//! Header blocks as they go over the wire: `NATS/1.0`, then a line for each header.
//!
//! The client library reads and writes them by itself. This is for what it does not do: to read a block without a
//! connection that breaks if the block is no good, and in its own order.

use super::Headers;

/// What every block begins with.
const VERSION: &str = "NATS/1.0";

/// Why a header block cannot be read. The client library gives up its connection over such a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is no `NATS/1.0` at the start, or more after it than a status.
    #[error("its first line is not `NATS/1.0`")]
    Version,
    /// Some bytes are not UTF-8.
    #[error("they are not UTF-8")]
    Text,
    /// A line has no colon.
    #[error("the line `{0}` has no colon")]
    Line(String),
    /// A name has bytes that no name may have.
    #[error("`{0}` cannot be the name of a header")]
    Name(String),
    /// A carriage return stands inside a value.
    #[error("the value of `{0}` has a line break")]
    Value(String),
}

/// Reads a block. An empty one has no headers. White space around values is not part of them.
///
/// # Errors
/// [`Unreadable`], for every block that the client library cannot read, and for no other.
pub fn read(block: &[u8]) -> Result<Headers, Unreadable> {
    let text = std::str::from_utf8(block).map_err(|_| Unreadable::Text)?;
    let mut lines = text.lines().peekable();
    let Some(first) = lines.next() else { return Ok(Headers::new()) };
    let status = first.strip_prefix(VERSION).ok_or(Unreadable::Version)?.trim();
    let status = status.split_once(' ').map_or(status, |(code, _)| code.trim());
    if !status.is_empty() && !is_status(status) {
        return Err(Unreadable::Version);
    }
    let mut headers = Headers::new();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let shown = || line.chars().take(60).collect::<String>().escape_debug().to_string();
        let (name, value) = line.split_once(':').ok_or_else(|| Unreadable::Line(shown()))?;
        if name.contains(|c: char| !c.is_ascii_graphic()) {
            return Err(Unreadable::Name(name.escape_debug().to_string()));
        }
        let mut value = value.trim_start().to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(more);
        }
        value.truncate(value.trim_end().len());
        if value.contains('\r') {
            return Err(Unreadable::Value(name.to_owned()));
        }
        headers.push((name.to_owned(), value));
    }
    Ok(headers)
}

fn is_status(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()) && !code.starts_with('0')
}

/// Writes headers as a block, as short as it can be: never longer than the block that they came in.
pub fn write(headers: &Headers) -> Vec<u8> {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
    format!("{VERSION}\r\n{lines}\r\n").into_bytes()
}

/// The bytes that the client library makes of headers, of which none take none.
pub fn size<'a>(headers: impl IntoIterator<Item = &'a (String, String)>) -> usize {
    let lines: usize = headers.into_iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    if lines == 0 { 0 } else { VERSION.len() + 4 + lines }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::dead_letter::tests::headers;

    #[test]
    fn a_block_is_read_in_its_own_order() {
        let block = b"NATS/1.0\r\nb: 2 \r\nA:1:1\r\nb:\r\n\r\n";
        let expected = [("b", "2"), ("A", "1:1"), ("b", "")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(read(block).unwrap(), expected);
        assert_eq!(read(b"").unwrap(), []);
        assert_eq!(read(b"NATS/1.0 503 No responders\r\n\r\n").unwrap(), []);
    }

    #[test]
    fn what_breaks_a_connection_is_told_apart() {
        for (block, why) in [
            (&b"NATS/1.0\r\nA: \xff\r\n\r\n"[..], Unreadable::Text),
            (b"NATS/1.0\r\nA: a\rb\r\n\r\n", Unreadable::Value("A".to_owned())),
            (b"NATS/1.0\r\nA b: c\r\n\r\n", Unreadable::Name("A b".to_owned())),
            (b"NATS/1.0\r\nnothing\r\n\r\n", Unreadable::Line("nothing".to_owned())),
            (b"NATS/1.0 odd\r\n\r\n", Unreadable::Version),
            (b"HTTP/1.0\r\n\r\n", Unreadable::Version),
        ] {
            assert_eq!(read(block).unwrap_err(), why);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_as_it_was(headers in headers()) {
            let block = write(&headers);
            prop_assert_eq!(read(&block).unwrap(), headers.clone());
            if !headers.is_empty() {
                prop_assert_eq!(size(&headers), block.len() + headers.len());
            }
        }

        #[test]
        fn no_block_makes_reading_panic(block in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&block);
            let _ = read(&[b"NATS/1.0\r\n", &block[..]].concat());
        }
    }
}
