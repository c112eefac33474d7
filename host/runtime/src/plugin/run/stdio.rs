//! Logs what a guest prints, in lines that carry the worker and the message.
//!
//! A guest can print without end: [`super::log_rate`] keeps that within limits.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::log_rate::{Admission, Dropped, LineBuffer, RateCap, remember};
use super::told_text::{cut, is_advice};
use crate::digest::Digest;
use crate::plugin::limits::instance::{LINE, WRITE};

/// The level of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The guest that a line is from.
#[derive(Debug, Clone)]
pub(crate) struct Speaker {
    pub(crate) workload: Arc<str>,
    pub(crate) plugin: Arc<str>,
    pub(crate) generation: Digest,
}

/// Limits how much all instances of one plugin may log for one workload, in bytes a second. After a pause the bytes of
/// one second may come at once.
#[derive(Debug)]
pub struct LogMeter {
    rate: usize,
    cap: Mutex<RateCap>,
    dropped: Arc<AtomicU64>,
}

impl LogMeter {
    /// Allows `rate` bytes a second.
    pub(crate) fn new(rate: usize) -> Arc<Self> {
        Arc::new(Self { rate, cap: Mutex::new(RateCap::new(rate, Instant::now())), dropped: Arc::default() })
    }

    /// Counts the lines that were dropped.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }

    fn admit(&self, bytes: usize) -> Admission {
        let admission = self.cap.lock().admit(bytes, Instant::now());
        if admission == Admission::Drop {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        admission
    }

    fn take_dropped(&self) -> Option<Dropped> {
        self.cap.lock().take_dropped(Instant::now())
    }
}

/// The log of one instance.
#[derive(Debug)]
pub(crate) struct GuestLog {
    speaker: Speaker,
    meter: Arc<LogMeter>,
    /// The worker's number; 0 for a policy, and for an instance that no worker owns yet.
    worker: AtomicU64,
    stream_sequence: AtomicU64,
    /// Whether anything was printed since the last [`GuestLog::end_call`]. Most calls print nothing, and then take no
    /// lock.
    printed: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    stdout: LineBuffer,
    stderr: LineBuffer,
    last_words: Vec<u8>,
}

impl GuestLog {
    pub(crate) fn new(speaker: Speaker, worker: u64, meter: Arc<LogMeter>) -> Arc<Self> {
        Arc::new(Self {
            speaker,
            meter,
            worker: AtomicU64::new(worker),
            stream_sequence: AtomicU64::new(0),
            printed: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                stdout: LineBuffer::default(),
                stderr: LineBuffer::default(),
                last_words: Vec::new(),
            }),
        })
    }

    /// From now on lines carry this worker's number.
    pub(crate) fn assign(&self, worker: u64) {
        self.worker.store(worker, Ordering::Relaxed);
    }

    /// From now on lines carry this message's sequence.
    pub(crate) fn begin_call(&self, stream_sequence: u64) {
        self.stream_sequence.store(stream_sequence, Ordering::Relaxed);
    }

    /// Logs a last line without an end. Returns what the call wrote to standard error, or the end of it.
    pub(crate) fn end_call(&self) -> String {
        if !self.printed.swap(false, Ordering::Relaxed) {
            return String::new();
        }
        let mut inner = self.inner.lock();
        let Inner { stdout, stderr, last_words } = &mut *inner;
        stdout.flush(|line| self.emit(Level::Info, "", line));
        stderr.flush(|line| self.emit(Level::Warn, "", line));
        if let Some(dropped) = self.meter.take_dropped() {
            self.told_dropped(dropped);
        }
        String::from_utf8_lossy(&std::mem::take(last_words)).into_owned()
    }

    /// Logs one line of `wasi:logging`.
    pub(crate) fn line(&self, level: Level, context: &str, message: &str) {
        self.printed.store(true, Ordering::Relaxed);
        self.emit(level, cut(context, 256), cut(message.trim_end(), LINE));
    }

    fn print(&self, stderr: bool, bytes: &[u8]) {
        self.printed.store(true, Ordering::Relaxed);
        let mut inner = self.inner.lock();
        let Inner { stdout, stderr: errors, last_words } = &mut *inner;
        if stderr {
            remember(last_words, bytes);
            errors.push(bytes, |line| {
                if !is_advice(line) {
                    self.emit(Level::Warn, "", line);
                }
            });
        } else {
            stdout.push(bytes, |line| self.emit(Level::Info, "", line));
        }
    }

    fn emit(&self, level: Level, context: &str, message: &str) {
        // A line of a level that is not logged must not use up the rate.
        if message.is_empty() || !is_logged(level) {
            return;
        }
        match self.meter.admit(message.len()) {
            Admission::Log => {}
            Admission::LogAfter(dropped) => self.told_dropped(dropped),
            Admission::Drop => return,
        }
        let Speaker { workload, plugin, generation } = &self.speaker;
        let worker = self.worker.load(Ordering::Relaxed);
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
        let Speaker { workload, plugin, generation } = &self.speaker;
        tracing::warn!(
            target: "tidegate::guest",
            %workload, %plugin, %generation, lines = dropped.lines, bytes = dropped.bytes,
            "dropped log lines: the plugin logs more than the {} bytes a second that limits.log-rate allows",
            self.meter.rate
        );
    }
}

/// Whether lines of this level are logged.
fn is_logged(level: Level) -> bool {
    macro_rules! wanted {
        ($level:ident) => {
            tracing::event_enabled!(target: "tidegate::guest", tracing::Level::$level)
        };
    }
    match level {
        Level::Trace => wanted!(TRACE),
        Level::Debug => wanted!(DEBUG),
        Level::Info => wanted!(INFO),
        Level::Warn => wanted!(WARN),
        Level::Error => wanted!(ERROR),
    }
}

/// Standard output or standard error of one instance.
#[derive(Debug, Clone)]
pub(crate) struct GuestOutput {
    pub(crate) log: Arc<GuestLog>,
    pub(crate) stderr: bool,
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

/// As WASI 0.3 writes. It takes all there is, as [`OutputStream`] does.
impl tokio::io::AsyncWrite for GuestOutput {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = bytes.get(..WRITE).unwrap_or(bytes);
        self.log.print(self.stderr, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
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
        // A line is logged when it ends. A flush does not end it.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE)
    }
}
