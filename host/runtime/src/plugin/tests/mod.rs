//! Real guests in a real engine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod adapter;
mod async_limits;
mod batch;
mod concurrent;
mod directory;
mod handler;
mod http;
mod load;
mod pins;
mod policy;
mod pool;
mod signatures;
mod wasi;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Once};
use std::time::Duration;

use parking_lot::Mutex;

use super::PluginHost;
use crate::config::Limits;
use crate::contract::Delivery;

/// One host for all tests, for each compiles its guests only once.
static HOST: LazyLock<(tempfile::TempDir, PluginHost)> = LazyLock::new(|| {
    let cache = tempfile::tempdir().unwrap();
    let host = PluginHost::new(Some(cache.path())).unwrap();
    (cache, host)
});

fn host() -> PluginHost {
    HOST.1.clone()
}

fn limits() -> Limits {
    Limits {
        time: Duration::from_secs(60),
        memory: 16 << 20,
        table_elements: 10_000,
        instances: 20,
        ..Limits::default()
    }
}

/// A plugin file in a directory that removes itself.
fn file(bytes: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("probe.wasm");
    std::fs::write(&file, bytes).unwrap();
    (dir, file)
}

fn delivery(script: &str) -> Delivery {
    Delivery {
        subject: "orders.new".into(),
        payload: script.as_bytes().to_vec().into(),
        stream_sequence: 7,
        attempt: 1,
        published_at_ms: 1_700_000_000_000,
        ..Delivery::default()
    }
}

/// A component in the text format that has the shape of a handler: `core` is the text of its core module, which has
/// to export `memory`, `realloc` and `handle`.
fn handler_text(version: &str, core: &str) -> Vec<u8> {
    let text = include_str!("../../../../../tests/guests/handler.wat");
    let text = text.replace("CORE", core).replace("IMPORTS", "").replace("WITH", "").replace("VERSION", version);
    wat::parse_str(text).unwrap()
}

/// A handler of the contract's own version. The three exports of a core module; `handle` returns a pointer to a result.
fn core(memory: &str, handle: &str, rest: &str) -> Vec<u8> {
    core_at("0.1.0", memory, handle, rest)
}

fn core_at(version: &str, memory: &str, handle: &str, rest: &str) -> Vec<u8> {
    handler_text(version, &core_text(memory, handle, rest))
}

fn core_text(memory: &str, handle: &str, rest: &str) -> String {
    format!(
        r#"(memory (export "memory") {memory})
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
           (func (export "handle") (param i32 i32 i32 i32 i32 i32 i64 i32 i64 i32) (result i32) {handle})
           {rest}"#
    )
}

/// What was logged while this lives, by this thread.
struct Logged {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Logged {
    fn start() -> Self {
        every_event_counts();
        let text = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&text);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || SharedBuffer(Arc::clone(&writer)))
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines that contain a text.
    fn with(&self, part: &str) -> Vec<String> {
        let text = String::from_utf8(self.text.lock().clone()).unwrap();
        text.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }
}

/// Keeps `tracing` from remembering, for a moment in which no test of another thread listens, that an event is of
/// interest to nobody.
fn every_event_counts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let nowhere = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(io::sink).finish();
        tracing::subscriber::set_global_default(nowhere).unwrap();
    });
}

struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
