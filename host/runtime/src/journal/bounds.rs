//! What bounds a policy's call, as a journal has it.

use serde::{Deserialize, Serialize};

use crate::config::Limits;

/// What bounds a policy's call. Another bound can end a call elsewhere, so a replay needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyBounds {
    /// Instructions, as fuel.
    pub fuel: u64,
    /// Bytes of memory.
    pub memory: usize,
    /// Elements of tables.
    pub table_elements: usize,
    /// Core instances, memories and tables, each.
    pub instances: usize,
    /// Bytes handed over at once.
    pub response: usize,
}

impl PolicyBounds {
    /// Those of a workload.
    pub(crate) fn of(limits: &Limits) -> Self {
        let Limits { fuel, memory, table_elements, instances, response, .. } = *limits;
        Self { fuel, memory, table_elements, instances, response }
    }

    /// The limits of a replay.
    pub fn limits(self) -> Limits {
        let Self { fuel, memory, table_elements, instances, response } = self;
        Limits { fuel, memory, table_elements, instances, response, ..Limits::default() }
    }
}
