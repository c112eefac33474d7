//! What a guest prints becomes log lines that carry the worker and the message.
//!
//! A guest can print without end, so lines are cut, and what exceeds a rate is counted instead of logged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::fault::cut;

/// The longest line in bytes; what is longer is broken into several.
const LINE: usize = 8 * 1024;
/// Bytes one instance may log in a second, and at once after a pause.
const RATE: usize = 64 * 1024;
/// Bytes a guest may write in one call of the stream.
const PERMIT: usize = 64 * 1024;
/// Bytes of standard error kept for the fault that may follow.
const LAST_WORDS: usize = 1024;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Who speaks.
#[derive(Debug, Clone)]
pub(super) struct Speaker {
    pub(super) workload: Arc<str>,
    /// 0 for a policy, which no worker owns.
    pub(super) worker: u64,
    pub(super) plugin: Arc<str>,
    pub(super) generation: Arc<str>,
}

/// The log of one instance.
#[derive(Debug)]
pub(super) struct GuestLog {
    speaker: Speaker,
    stream_sequence: AtomicU64,
    /// Whether anything was printed since the last [`GuestLog::end_call`]: most calls print nothing and take no lock.
    printed: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    stdout: LineBuffer,
    stderr: LineBuffer,
    last_words: Vec<u8>,
    rate: RateCap,
}

impl GuestLog {
    pub(super) fn new(speaker: Speaker) -> Arc<Self> {
        Arc::new(Self {
            speaker,
            stream_sequence: AtomicU64::new(0),
            printed: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                stdout: LineBuffer::default(),
                stderr: LineBuffer::default(),
                last_words: Vec::new(),
                rate: RateCap::new(RATE, Instant::now()),
            }),
        })
    }

    /// Lines from now on belong to this message.
    pub(super) fn begin_call(&self, stream_sequence: u64) {
        self.stream_sequence.store(stream_sequence, Ordering::Relaxed);
    }

    /// Logs what has no line end yet. Returns what was written to standard error, or its end.
    pub(super) fn end_call(&self) -> String {
        if !self.printed.swap(false, Ordering::Relaxed) {
            return String::new();
        }
        let mut inner = self.lock();
        let Inner { stdout, stderr, last_words, rate } = &mut *inner;
        stdout.flush(|line| self.emit(rate, Level::Info, "", line));
        stderr.flush(|line| self.emit(rate, Level::Warn, "", line));
        if let Some(dropped) = rate.take_dropped() {
            self.told_dropped(dropped);
        }
        String::from_utf8_lossy(&std::mem::take(last_words)).into_owned()
    }

    /// One line of `wasi:logging`.
    pub(super) fn line(&self, level: Level, context: &str, message: &str) {
        self.printed.store(true, Ordering::Relaxed);
        let mut inner = self.lock();
        self.emit(&mut inner.rate, level, cut(context, 256), cut(message.trim_end(), LINE));
    }

    fn print(&self, stderr: bool, bytes: &[u8]) {
        self.printed.store(true, Ordering::Relaxed);
        let mut inner = self.lock();
        let Inner { stdout, stderr: errors, last_words, rate } = &mut *inner;
        if stderr {
            remember(last_words, bytes);
            errors.push(bytes, |line| self.emit(rate, Level::Warn, "", line));
        } else {
            stdout.push(bytes, |line| self.emit(rate, Level::Info, "", line));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, rate: &mut RateCap, level: Level, context: &str, message: &str) {
        if message.is_empty() {
            return;
        }
        match rate.admit(message.len(), Instant::now()) {
            Admission::Log => {}
            Admission::LogAfter(dropped) => self.told_dropped(dropped),
            Admission::Drop => return,
        }
        let Speaker { workload, worker, plugin, generation } = &self.speaker;
        let stream_sequence = self.stream_sequence.load(Ordering::Relaxed);
        macro_rules! line {
            ($level:ident) => {
                tracing::event!(
                    target: "tidegate::guest", tracing::Level::$level,
                    %workload, worker, %plugin, %generation, stream_sequence,
                    context = (!context.is_empty()).then_some(context),
                    "{message}"
                )
            };
        }
        match level {
            Level::Trace => line!(TRACE),
            Level::Debug => line!(DEBUG),
            Level::Info => line!(INFO),
            Level::Warn => line!(WARN),
            Level::Error => line!(ERROR),
        }
    }

    fn told_dropped(&self, dropped: Dropped) {
        let Speaker { workload, worker, plugin, generation } = &self.speaker;
        tracing::warn!(
            target: "tidegate::guest",
            %workload, worker, %plugin, %generation, lines = dropped.lines, bytes = dropped.bytes,
            "dropped log lines: this instance logs more than {RATE} bytes a second"
        );
    }
}

/// Keeps the end of what was written.
fn remember(last_words: &mut Vec<u8>, bytes: &[u8]) {
    let tail = bytes.get(bytes.len().saturating_sub(LAST_WORDS)..).unwrap_or(bytes);
    let surplus = (last_words.len() + tail.len()).saturating_sub(LAST_WORDS);
    last_words.drain(..surplus.min(last_words.len()));
    last_words.extend_from_slice(tail);
}

/// Cuts a stream of bytes into lines of at most [`LINE`] bytes.
#[derive(Debug, Default)]
struct LineBuffer {
    partial: Vec<u8>,
}

impl LineBuffer {
    fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut rest = piece;
            while self.partial.len() + rest.len() > LINE {
                let (head, tail) = rest.split_at(LINE.saturating_sub(self.partial.len()).min(rest.len()));
                self.partial.extend_from_slice(head);
                rest = tail;
                self.flush(&mut line);
            }
            self.partial.extend_from_slice(rest);
            if piece.ends_with(b"\n") {
                self.flush(&mut line);
            }
        }
    }

    fn flush(&mut self, mut line: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            line(String::from_utf8_lossy(&self.partial).trim_end());
            self.partial.clear();
        }
    }
}

/// A token bucket in bytes.
#[derive(Debug)]
struct RateCap {
    rate: usize,
    left: usize,
    since: Instant,
    dropped: Dropped,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Dropped {
    lines: u64,
    bytes: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Log,
    /// Log it, and first that lines before it were dropped.
    LogAfter(Dropped),
    Drop,
}

impl RateCap {
    fn new(rate: usize, now: Instant) -> Self {
        Self { rate, left: rate, since: now, dropped: Dropped::default() }
    }

    fn admit(&mut self, bytes: usize, now: Instant) -> Admission {
        // Refilled by the whole second: a flood is then told once a second and not line by line.
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.left = self.rate;
        }
        if bytes > self.left {
            // Nothing more in this second, or short lines would slip through between the dropped ones.
            self.left = 0;
            self.dropped.lines += 1;
            self.dropped.bytes = self.dropped.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            return Admission::Drop;
        }
        self.left -= bytes;
        match self.take_dropped() {
            Some(dropped) => Admission::LogAfter(dropped),
            None => Admission::Log,
        }
    }

    fn take_dropped(&mut self) -> Option<Dropped> {
        let dropped = std::mem::take(&mut self.dropped);
        (dropped.lines > 0).then_some(dropped)
    }
}

/// Standard output or standard error of one instance.
#[derive(Debug, Clone)]
pub(super) struct GuestOutput {
    pub(super) log: Arc<GuestLog>,
    pub(super) stderr: bool,
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // For WASI 0.3, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.log.print(self.stderr, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Lines are logged as they end; a flush in the middle of one does not end it.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(writes: &[&[u8]]) -> Vec<String> {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for write in writes {
            buffer.push(write, |line| lines.push(line.to_owned()));
        }
        buffer.flush(|line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        assert_eq!(lines(&[b"one", b" line\r\ntwo", b"\nthree"]), ["one line", "two", "three"]);
    }

    #[test]
    fn a_long_line_is_broken() {
        let long = vec![b'x'; LINE * 2 + 5];
        assert_eq!(lines(&[&long]).iter().map(String::len).collect::<Vec<_>>(), [LINE, LINE, 5]);
    }

    #[test]
    fn a_flood_is_counted_and_told_once() {
        let start = Instant::now();
        let mut rate = RateCap::new(10, start);
        assert_eq!(rate.admit(8, start), Admission::Log);
        assert_eq!(rate.admit(3, start), Admission::Drop);
        assert_eq!(rate.admit(1, start), Admission::Drop);
        let later = start + Duration::from_secs(1);
        assert_eq!(rate.admit(10, later), Admission::LogAfter(Dropped { lines: 2, bytes: 4 }));
        assert_eq!(rate.admit(1, later), Admission::Drop);
    }

    #[test]
    fn the_end_of_standard_error_is_remembered() {
        let mut last_words = Vec::new();
        remember(&mut last_words, &[b'a'; LAST_WORDS]);
        remember(&mut last_words, b"end");
        assert_eq!(last_words.len(), LAST_WORDS);
        assert!(last_words.ends_with(b"aend"));
        remember(&mut last_words, &[b'b'; 3 * LAST_WORDS]);
        assert_eq!(last_words, [b'b'; LAST_WORDS]);
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_and_no_line_is_too_long(writes in proptest::collection::vec(proptest::collection::vec(0x20u8..0x7f, 0..9000), 0..6)) {
            let all = writes.concat();
            let got = lines(&writes.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert!(got.iter().all(|line| line.len() <= LINE));
            // Spaces at the end of a line are trimmed.
            let squeeze = |text: &str| text.replace(' ', "");
            prop_assert_eq!(squeeze(&got.concat()), squeeze(&String::from_utf8(all).unwrap_or_default()));
        }
    }
}
