//! How wasmtime compiles and runs each kind of guest.
//!
//! Two engines, because fuel is a setting of an engine: handlers run under a wall clock, since counting instructions
//! would slow them; policies run under fuel, so that the same call ends in the same place on every machine. Handlers of
//! the asynchronous form have an engine of their own, because all calls of an engine that can run them cost more.

use wasmtime::{Cache, Config, WasmBacktraceDetails};

use crate::plugin::limits::instance::STACK;

/// Address space reserved for each memory. A load or store then needs no bounds check; only what is touched is used.
pub(crate) const RESERVATION: u64 = 4 << 30;
/// The size up to which this process holds an image of a memory's first contents even if its data are far apart. With a
/// large size, a component of a few bytes could make this process hold a large image for each memory.
const IMAGE: u64 = 64 << 10;
/// Bytes of the async stack. The part that guest code may not use is for the host's functions.
const ASYNC_STACK: usize = 2 << 20;

/// How handlers are compiled and run.
pub(crate) fn handlers(cache: Option<Cache>) -> Config {
    common(cache)
}

/// How handlers of the asynchronous form are compiled and run. Functions of that form without a callback are left out:
/// each call that waits would keep a stack.
pub(crate) fn async_handlers(cache: Option<Cache>) -> Config {
    let mut config = common(cache);
    config.concurrency_support(true).wasm_component_model_async(true);
    config
}

/// How policies are compiled and run.
pub(crate) fn policies(cache: Option<Cache>) -> Config {
    let mut config = common(cache);
    config.consume_fuel(true).cranelift_nan_canonicalization(true);
    config
}

fn common(cache: Option<Cache>) -> Config {
    let mut config = Config::new();
    config
        .cache(cache)
        .epoch_interruption(true)
        .memory_reservation(RESERVATION)
        .memory_guaranteed_dense_image_size(IMAGE)
        .max_wasm_stack(STACK)
        .async_stack_size(ASYNC_STACK)
        // Otherwise a variable of the environment could switch it on: see `source_lines`, which takes its place.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // Each of these features is surface that no guest of this contract needs.
        .concurrency_support(false)
        .wasm_memory64(false)
        .shared_memory(false)
        .relaxed_simd_deterministic(true);
    config
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use wasmtime::Engine;
    use wasmtime::component::Component;

    use super::*;

    #[test]
    fn data_that_lies_far_apart_makes_no_large_image() {
        let module = r#"(core module (memory 256) (data (i32.const 0) "a") (data (i32.const 16000000) "b"))"#;
        let bytes = wat::parse_str(format!("(component {})", module.repeat(20))).unwrap();
        let engine = Engine::new(&handlers(None)).unwrap();
        let compiled = Component::from_binary(&engine, &bytes).unwrap().serialize().unwrap();
        assert!(compiled.len() < 4 << 20, "{} bytes of {}", compiled.len(), bytes.len());
    }
}
