//! The terminal while it is ours.

use std::io::{self, Write, stdin};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::lines::{Line, Look};

/// The alternate screen without a cursor and with keys as they are pressed. The terminal is as before when it is
/// dropped.
pub(super) struct Screen<'a, W: Write> {
    out: &'a mut W,
    before: Termios,
}

impl<'a, W: Write> Screen<'a, W> {
    pub(super) fn open(out: &'a mut W) -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Flush, &raw)?;
        let screen = Self { out, before };
        screen.out.write_all(b"\x1b[?1049h\x1b[?25l")?;
        Ok(screen)
    }

    /// Shows these lines, the first at the top.
    pub(super) fn show(&mut self, lines: &[Line]) -> io::Result<()> {
        self.out.write_all(painted(lines).as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Screen<'_, W> {
    fn drop(&mut self) {
        // Who has no terminal any more needs none of it.
        let _ = self.out.write_all(b"\x1b[?25h\x1b[?1049l").and_then(|()| self.out.flush());
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// What a terminal is sent: each line is written over the one before, so that nothing flickers.
fn painted(lines: &[Line]) -> String {
    let mut text = "\x1b[H".to_owned();
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            text.push_str("\r\n");
        }
        let (on, off) = match line.look {
            Look::Plain => ("", ""),
            Look::Bold => ("\x1b[1m", "\x1b[0m"),
            Look::Chosen => ("\x1b[7m", "\x1b[0m"),
        };
        text.extend([on, &line.text, off, "\x1b[K"]);
    }
    text.push_str("\x1b[J");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_written_over_what_was_there() {
        let line = |text: &str, look| Line { text: text.to_owned(), look };
        let text = painted(&[line("a", Look::Bold), line("b", Look::Chosen), line("c", Look::Plain)]);
        assert_eq!(text, "\x1b[H\x1b[1ma\x1b[0m\x1b[K\r\n\x1b[7mb\x1b[0m\x1b[K\r\nc\x1b[K\x1b[J");
    }
}
