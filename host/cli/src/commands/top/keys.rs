//! The keys of a terminal.

use std::io::{self, Read as _, stdin};
use std::thread;

use tokio::sync::mpsc::Sender;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Open,
    Back,
    End,
}

/// Reads keys on a thread of its own until nobody wants them or the terminal is gone: a read cannot be called off, and
/// ends with the process.
pub(super) fn listen(to: Sender<Key>) -> io::Result<()> {
    let read = move || {
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = stdin().lock().read(&mut bytes) {
            for key in keys(bytes.get(..count).unwrap_or_default()) {
                if to.blocking_send(key).is_err() {
                    return;
                }
            }
        }
    };
    thread::Builder::new().name("tidegate-keys".into()).spawn(read).map(drop)
}

/// The keys of what a terminal sent at once. What means nothing is passed over.
fn keys(mut bytes: &[u8]) -> Vec<Key> {
    let mut found = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        let (key, left) = match (first, rest) {
            (0x1b, [b'[' | b'O', rest @ ..]) => sequence(rest),
            (0x1b, []) => (Some(Key::Back), rest),
            // With Alt.
            (0x1b, [_, rest @ ..]) => (None, rest),
            (letter, _) => (letter_key(*letter), rest),
        };
        found.extend(key);
        bytes = left;
    }
    found
}

fn letter_key(letter: u8) -> Option<Key> {
    match letter {
        b'q' | 3 => Some(Key::End),
        b'k' => Some(Key::Up),
        b'j' => Some(Key::Down),
        b'g' => Some(Key::First),
        b'G' => Some(Key::Last),
        b'l' | b'\r' | b'\n' => Some(Key::Open),
        b'h' | 0x7f => Some(Key::Back),
        b' ' => Some(Key::PageDown),
        _ => None,
    }
}

/// A control sequence without its beginning, and what comes after it.
fn sequence(bytes: &[u8]) -> (Option<Key>, &[u8]) {
    let end = bytes.iter().position(|byte| matches!(byte, 0x40..=0x7e));
    let (own, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end.saturating_add(1)));
    let key = match own {
        b"A" => Some(Key::Up),
        b"B" => Some(Key::Down),
        b"C" => Some(Key::Open),
        b"D" => Some(Key::Back),
        b"H" | b"1~" | b"7~" => Some(Key::First),
        b"F" | b"4~" | b"8~" => Some(Key::Last),
        b"5~" => Some(Key::PageUp),
        b"6~" => Some(Key::PageDown),
        _ => None,
    };
    (key, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_and_what_means_nothing_is_passed_over() {
        let all = keys(b"\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[H\x1b[4~x\x1b[1;5Cq\x1bq\r\x03\x1b");
        use Key::*;
        assert_eq!(all, [Up, Down, PageUp, PageDown, First, Last, End, Open, End, Back]);
        assert_eq!(keys(b"\x1b[12"), []);
    }
}
