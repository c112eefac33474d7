//! What all hosts of this process have logged, to await what nothing else tells.

use std::io::{self, Write};
use std::sync::Once;

use parking_lot::Mutex;

use super::eventually;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Begins to collect, for all tests at once: what one looks for has to name something that is its own.
pub(crate) fn collect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let log = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::INFO);
        log.with_writer(|| Sink).init();
    });
}

/// Awaits a line that has all of `parts`.
pub(crate) async fn logged(parts: &[&str]) {
    eventually(&format!("a log line with {parts:?}"), async || count(parts) > 0).await;
}

/// How many lines have all of `parts`.
pub(crate) fn count(parts: &[&str]) -> usize {
    let lines = LINES.lock();
    lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
}

struct Sink;

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LINES.lock().push(String::from_utf8_lossy(line).into_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
