//! The progress bar, and log lines that do not tear it.

use std::io::{self, Write};
use std::sync::Arc;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use crate::log_output;

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
        Bar(Arc::new(ClearedBar(bar)))
    }
}

/// A progress bar. It disappears with its last clone, however the work ends.
#[derive(Debug, Clone)]
pub struct Bar(Arc<ClearedBar>);

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
struct ClearedBar(ProgressBar);

impl Drop for ClearedBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl<'a> MakeWriter<'a> for Terminal {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine { terminal: self.0.clone(), bytes: Vec::new() }
    }
}

/// One log line. It is sent when it is complete, and written with the bars out of the way.
#[derive(Debug)]
pub struct LogLine {
    terminal: MultiProgress,
    bytes: Vec<u8>,
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        log_output::send(Some(self.terminal.clone()), bytes);
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        // A log line that cannot be written has nowhere to be reported.
        self.flush().ok();
    }
}
