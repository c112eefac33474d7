//! Which worlds of the contract a component can be used for.

use crate::config::{Isolation, Workload};
use crate::digest::Digest;

/// What a workload can use a plugin as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The component exports `handler`, `batch-handler` or `async-handler`.
    Handler,
    /// The component exports `scaling`.
    Policy,
    /// The component exports both, and serves as either.
    Both,
}

impl Kind {
    /// Whether a plugin of this kind can be used as `wanted`.
    pub fn serves(self, wanted: Kind) -> bool {
        self == Kind::Both || self == wanted
    }
}

/// Which form of handler a workload needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WantedForm {
    /// Any of them.
    #[default]
    Any,
    /// `batch-handler`, because the workload is configured to have batches.
    Batches,
    /// `async-handler`, because the workload is configured to have several deliveries in an instance at once.
    Concurrent,
}

impl WantedForm {
    /// What this workload asks of its handler.
    pub fn of(workload: &Workload) -> Self {
        // The configuration has not both.
        match workload.concurrency {
            _ if workload.batching.wanted => Self::Batches,
            2.. => Self::Concurrent,
            _ => Self::Any,
        }
    }
}

/// What a workload asks of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The form of a handler.
    pub form: WantedForm,
    /// Whether each message gets an instance of its own.
    pub isolated: bool,
    /// The digest of the only file that it takes; any if there is none.
    pub pin: Option<Digest>,
}

impl Wanted {
    /// What this workload asks of its handler.
    pub fn handler(workload: &Workload) -> Self {
        let isolated = workload.isolation == Isolation::Message;
        Self { form: WantedForm::of(workload), isolated, pin: workload.handler_pin.clone() }
    }

    /// A policy, pinned to a digest if there is one.
    pub fn policy(pin: Option<&Digest>) -> Self {
        Self { pin: pin.cloned(), ..Self::default() }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Handler => "a handler",
            Self::Policy => "a policy",
            Self::Both => "a handler and a policy",
        })
    }
}
