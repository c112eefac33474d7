//! The limits of guests, in one list.
//!
//! The limits that a workload sets for itself are in [`Limits`]: `time`, `memory`, `table_elements`, `instances`,
//! `response` and `log_rate` hold for both kinds of guest, `publications` and `respawns` for handlers, `fuel` for
//! policies. The limits in this file hold for all workloads. The code that enforces a limit names it in the error or
//! the [`Fault`](crate::contract::Fault).

use crate::config::Limits;

/// Limits of a component. A component beyond them is refused before it is compiled: it would cost the host, or the
/// compiler, memory that no limit of a guest covers.
pub(super) mod component {
    /// Functions of all modules. The compiler takes some 7 KiB of memory for each. A Python interpreter has a tenth of
    /// this number.
    pub(crate) const FUNCTIONS: u32 = 100_000;
    /// Bytes of code of all modules.
    pub(crate) const CODE_BYTES: usize = 64 << 20;
    /// Bytes of one function. Its compile time grows faster than its size.
    pub(crate) const FUNCTION_BYTES: usize = 1 << 20;
    /// Imports, functions, tables, memories, globals, exports and segments of all modules.
    pub(crate) const ITEMS: u32 = 1 << 18;
    /// Bytes of the sections that declare these items, with their names. Code and data are not counted.
    pub(crate) const ITEM_BYTES: usize = 16 << 20;
    /// Items that are declared outside of modules. A component that imports all of WASI has a tenth of this number.
    pub(crate) const OUTER_ITEMS: u32 = 1 << 16;
    /// Bytes of the sections that declare those items.
    pub(crate) const OUTER_BYTES: usize = 1 << 20;
    /// Modules and components in a file.
    pub(crate) const PARTS: u32 = 2_000;
    /// How deep a module or component may be within others.
    pub(crate) const DEPTH: usize = 16;
    /// Items that the modules of one instance declare together, each module counted as often as it is instantiated.
    pub(crate) const INSTANTIATED: u64 = 1 << 20;
    /// Instances of modules and components in one instance: as many as `limits.instances` can allow.
    pub(crate) const INSTANCES: u64 = 10_000;
    /// Imports, and exports, of the component itself. A component that imports all of WASI has some 60.
    pub(crate) const NAMES: usize = 1_000;
    /// Bytes of the name of an import or export.
    pub(crate) const NAME_BYTES: usize = 1_000;
}

/// Limits of a component's lines of source, which faults tell. A component beyond them is used without.
pub(super) mod lines {
    /// Bytes of the line tables of all modules. A handler in C with its library has 140 KiB.
    pub(crate) const TABLE_BYTES: usize = 4 << 20;
    /// Bytes of the header of one unit's table, with the names of its files.
    pub(crate) const HEADER_BYTES: usize = 256 << 10;
    /// Rows that are kept, of 12 bytes each.
    pub(crate) const ROWS: usize = 1 << 19;
    /// Files that are kept.
    pub(crate) const FILES: u32 = 1 << 14;
    /// Bytes of the path of a file. Of a longer one the end is kept.
    pub(crate) const PATH_BYTES: usize = 100;
}

/// Limits of an instance of either kind.
pub(super) mod instance {
    /// Resources (streams, pollables) at once.
    pub(crate) const RESOURCES: usize = 1_000;
    /// As many more for each call that may run at once. A call that waits for an HTTP response has four.
    pub(crate) const CALL_RESOURCES: usize = 8;
    /// Handles, and tasks, streams and futures of the component model, for each call that may run at once, beside
    /// [`RESOURCES`]. A call that waits for an HTTP response has some twenty.
    pub(crate) const CALL_HANDLES: usize = 64;
    /// Random bytes that one call to the host gives.
    pub(crate) const RANDOM_BYTES: u64 = 1 << 20;
    /// Bytes of its stack.
    pub(crate) const STACK: usize = 512 << 10;
    /// Bytes of an instance, beside its memories, that do not count as memory. An instance compiled from Rust takes a
    /// tenth of this.
    pub(crate) const UNCOUNTED: usize = 1 << 20;
    /// Bytes that a guest may print in one call of a stream.
    pub(crate) const WRITE: usize = 64 << 10;
    /// Bytes of a line that a guest prints. A longer line is broken into several.
    pub(crate) const LINE: usize = 8 << 10;
    /// Bytes of the headers of one HTTP request, as they are kept.
    pub(crate) const HTTP_HEADERS: usize = 32 << 10;
    /// Bytes of an HTTP request's body that the host keeps until the connection takes them.
    pub(crate) const HTTP_CHUNK: usize = 16 << 10;
}

/// Limits of what a handler is given, and of what it says.
pub(super) mod handler {
    /// Bytes of what it says about a failure; a letter keeps 1,000 characters of that. A longer one is cut.
    pub(crate) const REASON: usize = 4 << 10;
    /// Requests by core NATS of one call that wait for their answers at once, where it can have several.
    pub(crate) const REQUESTS_AT_ONCE: usize = 8;
}

/// Limits of what a policy answers.
pub(super) mod policy {
    /// Bytes of its state.
    pub(crate) const STATE: usize = 64 << 10;
    /// Bytes of a reason. A longer one is cut.
    pub(crate) const REASON: usize = 1 << 10;
}

/// The wider of two workloads' limits, each by itself.
pub(super) fn wider(a: &Limits, b: &Limits) -> Limits {
    Limits {
        time: a.time.max(b.time),
        memory: a.memory.max(b.memory),
        table_elements: a.table_elements.max(b.table_elements),
        instances: a.instances.max(b.instances),
        fuel: a.fuel.max(b.fuel),
        response: a.response.max(b.response),
        publications: a.publications.max(b.publications),
        log_rate: a.log_rate.max(b.log_rate),
        respawns: a.respawns.max(b.respawns),
        http_requests: a.http_requests.max(b.http_requests),
        http_at_once: a.http_at_once.max(b.http_at_once),
        http_request_body: a.http_request_body.max(b.http_request_body),
        http_response_body: a.http_response_body.max(b.http_response_body),
        http_connect: a.http_connect.max(b.http_connect),
        http_first_byte: a.http_first_byte.max(b.http_first_byte),
        kv_value: a.kv_value.max(b.kv_value),
        kv_operations: a.kv_operations.max(b.kv_operations),
        kv_handles: a.kv_handles.max(b.kv_handles),
        requests: a.requests.max(b.requests),
    }
}
