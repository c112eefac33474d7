//! What hosts are given to do.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What handles the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Native code, in the same worker.
    Native,
    /// A component.
    Component,
}

impl Code {
    /// Both, in the order in which they are measured.
    pub(crate) const BOTH: [Self; 2] = [Self::Native, Self::Component];
}

/// What hosts are given to do, and how it comes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Load {
    /// Processes, which share the consumers.
    pub(crate) hosts: u32,
    pub(crate) workloads: u32,
    /// Of each workload, in each host.
    pub(crate) workers: u32,
    /// Messages, of all workloads together.
    pub(crate) messages: usize,
    /// Bytes of a message.
    pub(crate) payload: usize,
    pub(crate) headers: usize,
    /// Publications of the handler for each message.
    pub(crate) publications: u32,
    /// How many keys an order has; `None` is no order.
    pub(crate) keys: Option<u32>,
    /// Messages a second; `None` is as fast as the server takes them.
    pub(crate) rate: Option<f64>,
    /// Replicas of the streams.
    pub(crate) replicas: usize,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            hosts: 1,
            workloads: 1,
            workers: 4,
            messages: 100_000,
            payload: 128,
            headers: 0,
            publications: 0,
            keys: None,
            rate: None,
            replicas: 1,
        }
    }
}

impl Load {
    /// The subject of the message of this number, from 0: its workload, and its key.
    pub(crate) fn subject(&self, stream: &str, number: usize) -> String {
        let workloads = usize::try_from(self.workloads.max(1)).unwrap_or(1);
        let keys = self.keys.and_then(|keys| usize::try_from(keys.max(1)).ok()).unwrap_or(1);
        format!("{stream}.{}.{}", number % workloads, number / workloads % keys)
    }
}

/// What one process of a host does: all that it has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostTask {
    /// What handles the messages.
    pub code: Code,
    /// The server.
    pub url: String,
    /// The stream; the subjects of a workload begin with it and the workload's number.
    pub stream: String,
    /// Where the handler's publications go.
    pub target: String,
    /// Where the plugins are.
    pub plugins: PathBuf,
    /// Where compiled code is kept.
    pub cache: PathBuf,
    /// Workloads.
    pub workloads: u32,
    /// Workers of each.
    pub workers: u32,
    /// Publications of the handler for each message.
    pub publications: u32,
    /// Bytes of each publication of native code; a component publishes what it was given.
    pub payload: usize,
    /// Whether there is an order of keys.
    pub ordered: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_take_turns_between_workloads_and_then_between_keys() {
        let load = Load { workloads: 2, keys: Some(2), ..Load::default() };
        let subjects: Vec<_> = (0..5).map(|number| load.subject("s", number)).collect();
        assert_eq!(subjects, ["s.0.0", "s.1.0", "s.0.1", "s.1.1", "s.0.0"]);
        assert_eq!(Load::default().subject("s", 7), "s.0.0");
    }
}
