//! Where a host is asked, and what was.

use super::question::Endpoint;
use crate::status::http::View;

/// The most characters of an error that is told again.
const SHORT: usize = 200;

/// Where a host is asked.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) view: &'a View,
    pub(super) prefix: &'a str,
    pub(super) admin: bool,
}

impl Place<'_> {
    pub(super) fn subject(&self, endpoint: Endpoint) -> String {
        let of = if endpoint.is_of_a_workload() { ".*" } else { "" };
        format!("{}.{}.{}{of}", self.prefix, self.view.id, endpoint.as_str())
    }
}

/// What was asked of an endpoint so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) last_error: String,
    pub(super) spent_ns: u64,
}

/// Not endless.
pub(super) fn short(text: &str) -> String {
    text.chars().take(SHORT).collect()
}
