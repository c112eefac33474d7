//! How wasmtime compiles and runs each kind of guest.
//!
//! Two engines, because fuel is a setting of an engine: handlers run under a wall clock, since counting instructions
//! would slow them; policies run under fuel, so that the same call ends in the same place on every machine. Handlers of
//! the asynchronous form have an engine of their own, because all calls of an engine that can run them cost more.

use wasmtime::{Cache, Config, Enabled, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::plugin::limits::instance::STACK;

/// Address space reserved for each memory. A load or store then needs no bounds check; only what is touched is used.
pub(crate) const RESERVATION: u64 = 4 << 30;
/// The size up to which this process holds an image of a memory's first contents even if its data are far apart. With a
/// large size, a component of a few bytes could make this process hold a large image for each memory.
const IMAGE: u64 = 64 << 10;
/// How many instances a pool has. What does not fit is made as without one. Each stack takes two mappings of the
/// process from the start, and each memory its reservation.
const POOL: u32 = 256;
/// How many core instances, and tables, a pool has for each instance of a component.
const CORE_INSTANCES: u32 = 16;
const TABLES: u32 = 8;
/// The largest table in a pool.
pub(crate) const POOL_ELEMENTS: usize = 100_000;
/// The most bytes of what wasmtime keeps of an instance beside its memories, taken when they are needed.
const CONTEXT: usize = 16 << 20;
/// Bytes of a memory or a table that stay with their place in the pool from one instance to the next.
const KEPT: usize = 64 << 10;
/// Bytes of the async stack. The part that guest code may not use is for the host's functions.
const ASYNC_STACK: usize = 2 << 20;

/// How handlers are compiled and run.
pub(crate) fn handlers(cache: Option<Cache>) -> Config {
    common(cache)
}

/// The same for handlers of which each message gets an instance of its own: memories, tables and stacks come from a
/// pool. What is compiled is the same, since that does not depend on where instances are.
pub(crate) fn pooled_handlers(cache: Option<Cache>) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(POOL)
        .total_stacks(POOL)
        .total_memories(POOL)
        .max_memory_size(RESERVATION as usize)
        .total_core_instances(POOL * CORE_INSTANCES)
        .total_tables(POOL * TABLES)
        .table_elements(POOL_ELEMENTS)
        .max_core_instance_size(CONTEXT)
        .max_component_instance_size(CONTEXT)
        .max_unused_warm_slots(POOL)
        // What was written is made zero again there where it is little, and given back to the system otherwise.
        .linear_memory_keep_resident(KEPT)
        .table_keep_resident(KEPT)
        .pagemap_scan(Enabled::Auto);
    let mut config = common(cache);
    config.allocation_strategy(pool);
    config
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
