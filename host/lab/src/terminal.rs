//! The progress bar, and log lines that do not tear it.

use std::io::{self, Write};
use std::sync::Arc;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use crate::stderr;

/// A text from outside, without what a terminal would act upon.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if plain_char(c) { c } else { '\u{fffd}' }).collect()
}

/// A text from outside as a part of one line: what would end the line, or act upon a terminal, is shown and not done.
pub(crate) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if plain_char(c) => shown.push(c),
            '\n' | '\r' => shown.extend(c.escape_default()),
            _ => shown.extend(c.escape_unicode()),
        }
    }
    shown
}

fn plain_char(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Standard error, shared by log lines and progress bars. Clones share it. Where standard error is not a terminal
/// there are only log lines.
#[derive(Debug, Clone, Default)]
pub struct Terminal(MultiProgress);

impl Terminal {
    /// Standard error without a bar yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A bar that counts to `length` and shows a message beside it.
    pub fn bar(&self, length: u64) -> Bar {
        let template = "{bar:30.cyan/dim} {human_pos}/{human_len}  {elapsed}  {msg}";
        // The template is a constant, so the default style only ever stands in for a mistake in it.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.0.add(ProgressBar::new(length).with_style(style));
        Bar(Arc::new(Shown(bar)))
    }
}

/// A progress bar. It disappears with its last clone, however the work ends.
#[derive(Debug, Clone)]
pub struct Bar(Arc<Shown>);

impl Bar {
    /// One more is done.
    pub fn advance(&self) {
        self.0.0.inc(1);
    }

    /// Shows this beside the bar.
    pub fn say(&self, message: String) {
        self.0.0.set_message(message);
    }
}

#[derive(Debug)]
struct Shown(ProgressBar);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl<'a> MakeWriter<'a> for Terminal {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { terminal: self.0.clone(), bytes: Vec::new() }
    }
}

/// One log line. It is sent when it is complete, and written with the bars out of the way.
#[derive(Debug)]
pub struct Line {
    terminal: MultiProgress,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        stderr::send(Some(self.terminal.clone()), bytes);
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // A log line that cannot be written has nowhere to be reported.
        self.flush().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_line_or_acts_upon_a_terminal() {
        let forged = "a\nINFO b\r\u{1b}[2J\u{9b}\u{85}\u{2028}\u{202e}\tend";
        let shown = escaped(forged);
        assert!(shown.starts_with("a\\nINFO b\\r\\u{1b}[2J"), "{shown}");
        assert!(shown.chars().all(plain_char) && shown.lines().count() == 1, "{shown}");
        assert_eq!(escaped("tide, Überfluß \u{1f30a}"), "tide, Überfluß \u{1f30a}");
    }
}
