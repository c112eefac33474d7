//! Generated bindings of the worlds of `wit/`, and what the host puts behind their imports.
//!
//! Parameters are lowered from borrowed data, so a payload is copied once: into the guest's memory.

use wasmtime::component::{HasSelf, Linker};

use super::guest::Guest;
use crate::plugin::capability::key_value::{self, KeyValueView};
use crate::plugin::capability::{http, messaging};

/// The interfaces that a handler may export, in the newest version. An export of any version since 0.1.0 is found by
/// this name.
pub(crate) const HANDLER: &str = "tidegate:plugin/handler@0.1.3";
pub(crate) const ASYNC_HANDLER: &str = "tidegate:plugin/async-handler@0.1.3";
pub(crate) const BATCH_HANDLER: &str = "tidegate:plugin/batch-handler@0.1.3";

#[allow(missing_docs, clippy::pedantic)]
pub(crate) mod worker {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "worker",
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

#[allow(missing_docs, clippy::pedantic)]
pub(crate) mod policy {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "policy",
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: false },
        with: { "wasi:logging/logging": super::worker::wasi::logging::logging },
    });
}

use policy::tidegate::plugin::signals;
use worker::wasi::{config::store, logging::logging};

impl store::Host for Guest {
    fn get(&mut self, key: String) -> Result<Option<String>, store::Error> {
        Ok(self.settings.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone()))
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, store::Error> {
        Ok(self.settings.to_vec())
    }
}

impl logging::Host for Guest {
    fn log(&mut self, level: logging::Level, context: String, message: String) {
        use super::stdio::Level;
        let level = match level {
            logging::Level::Trace => Level::Trace,
            logging::Level::Debug => Level::Debug,
            logging::Level::Info => Level::Info,
            logging::Level::Warn => Level::Warn,
            logging::Level::Error | logging::Level::Critical => Level::Error,
        };
        self.log.line(level, &context, &message);
    }
}

impl signals::Host for Guest {
    fn limited(&mut self) -> bool {
        self.signals.limited
    }

    fn keys_waiting(&mut self) -> Option<u32> {
        self.signals.keys_waiting
    }
}

/// Links what a handler may import: WASI 0.2's command interfaces with nothing in them, capabilities, settings and
/// logging.
pub(crate) fn link_worker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    http::bound(linker)?;
    key_value::link(linker, |guest| KeyValueView { state: &mut guest.key_value, resources: &mut guest.resources })?;
    messaging::link(linker, Guest::messaging)?;
    worker::Worker::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    // The worlds `batch-worker` and `async-worker` import this interface for its types, and some languages import
    // everything of a world.
    linker.instance(HANDLER)?.func_new("handle", |_, _, _, _| {
        wasmtime::bail!("a handler cannot call {HANDLER}, which is there for its types alone")
    })
}

/// Links what a handler of the asynchronous form may import: the same, and WASI 0.3.
pub(crate) fn link_async_worker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    link_worker(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)?;
    http::bound_async(linker)?;
    messaging::link_streamed(linker, Guest::messaging)
}

/// Links what a policy may import: the same without capabilities, and without settings, which `init` gets.
pub(crate) fn link_policy(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    policy::Policy::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

/// The pairs as generated functions take them.
pub(crate) fn borrow(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
