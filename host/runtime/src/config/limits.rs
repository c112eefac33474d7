//! What a guest may spend.

use std::time::Duration;

use super::keys::WORKLOAD;
use super::reader::Reader;

/// What a guest may spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Wall-clock time of one handler call.
    pub time: Duration,
    /// Bytes of memory of one instance, all its memories together.
    pub memory: usize,
    /// Elements of one instance's tables, all together.
    pub table_elements: usize,
    /// Core instances, memories and tables, each, that one component may have.
    pub instances: usize,
    /// Instructions of one policy call, as wasmtime counts fuel.
    pub fuel: u64,
    /// Bytes that a guest may hand the host at once, as in a response with all its publications.
    pub response: usize,
    /// Publications of one response.
    pub publications: usize,
    /// Bytes that all instances of a workload's handler, or of its policy, may log in a second.
    pub log_rate: usize,
    /// Handler instances made anew in a second after a call that did not end well.
    pub respawns: u32,
    /// HTTP requests of one call.
    pub http_requests: usize,
    /// HTTP requests at once of all instances of a workload's handler.
    pub http_at_once: usize,
    /// Bytes of the body of one HTTP request.
    pub http_request_body: usize,
    /// Bytes of the body of one HTTP response.
    pub http_response_body: usize,
    /// How long an HTTP request waits for its turn, and then for a connection.
    pub http_connect: Duration,
    /// How long an HTTP request may take from then until its response begins.
    pub http_first_byte: Duration,
    /// Bytes of one value in a key-value bucket.
    pub kv_value: usize,
    /// Key-value operations of one handler call.
    pub kv_operations: u32,
    /// Buckets and compare-and-swap handles of one instance at once.
    pub kv_handles: u32,
    /// Requests by core NATS of one handler call.
    pub requests: u32,
}

impl Limits {
    pub(super) fn read(keys: &mut Reader<'_>) -> Self {
        Self {
            time: keys.get("limits.time"),
            memory: keys.get("limits.memory"),
            table_elements: keys.get("limits.table-elements"),
            instances: keys.get("limits.instances"),
            fuel: keys.get("limits.fuel"),
            response: keys.get("limits.response"),
            publications: keys.get("limits.publications"),
            log_rate: keys.get("limits.log-rate"),
            respawns: keys.get("limits.respawns"),
            http_requests: keys.get("limits.http-requests"),
            http_at_once: keys.get("limits.http-at-once"),
            http_request_body: keys.get("limits.http-request-body"),
            http_response_body: keys.get("limits.http-response-body"),
            http_connect: keys.get("limits.http-connect"),
            http_first_byte: keys.get("limits.http-first-byte"),
            kv_value: keys.get("limits.kv-value"),
            kv_operations: keys.get("limits.kv-operations"),
            kv_handles: keys.get("limits.kv-handles"),
            requests: keys.get("limits.requests"),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Reader::of_nothing(WORKLOAD, Self::read)
    }
}
