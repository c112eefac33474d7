//! A journal against a policy: whether the same code decides the same again, and where other code would have parted.

mod compare;
mod library;
mod same;
mod shadow;

use std::path::Path;

use tidegate_runtime::contract::Fault;
use tidegate_runtime::journal::{JournalError, PolicyBounds, PolicyName};
use tidegate_runtime::plugin::{HostError, LoadError, PluginHost, PolicyContext, PolicyPlugin};
use tidegate_runtime::text::plain;

pub use compare::{DesiredWorkers, DifferingTicks, PolicyComparison, compare};
pub use library::PolicyFiles;
pub use same::{FirstDifference, Replayed, Unverified, same};
pub use shadow::shadow;

/// Why a journal cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The policy cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The component host cannot be set up.
    #[error(transparent)]
    Host(#[from] HostError),
    /// None of the code that decided is there.
    #[error(
        "{found}, and {journal} was written by generation {wants} of {name}\n  Name the file of that generation with \
         --policy. To see where another would have parted, name that with --policy."
    )]
    Generation {
        /// What there is instead.
        found: String,
        /// The policy's plugin name.
        name: String,
        /// The generation that the journal names.
        wants: String,
        /// The journal, and the line.
        journal: String,
    },
    /// The policy refuses the settings.
    #[error(
        "the policy refuses its settings: {0}\n  Give others with --policy-setting KEY=VALUE; without any it gets \
         those in the journal."
    )]
    Refused(String),
    /// The policy's `init` did not answer.
    #[error("the policy's init {0}")]
    Fault(Fault),
}

fn nothing(problem: &str) -> ReplayError {
    // It may name a workload of the journal.
    JournalError::Nothing(plain(problem)).into()
}

/// A policy that decisions are replayed with, within the limits of the call that is replayed.
pub struct ReplayPolicy {
    plugin: PolicyPlugin,
    context: Option<(String, PolicyBounds, PolicyContext)>,
}

impl ReplayPolicy {
    /// Loads a policy from its file.
    ///
    /// # Errors
    /// If it is not a policy that can run.
    pub async fn load(host: &PluginHost, file: &Path) -> Result<Self, LoadError> {
        // What it may spend follows with each line; loading it starts it once, which takes little.
        let plugin: PolicyPlugin = host.load(file, &tidegate_runtime::config::Limits::default()).await?;
        Ok(Self { plugin, context: None })
    }

    /// Its name and its generation.
    pub fn name(&self) -> PolicyName {
        let generation = self.plugin.generation();
        PolicyName { name: generation.plugin.to_string(), generation: generation.digest.whole().to_owned() }
    }

    fn for_workload(&mut self, workload: &str, bounds: PolicyBounds) -> (&PolicyPlugin, &PolicyContext) {
        let known = self.context.take().filter(|(name, of, _)| name == workload && *of == bounds);
        let (.., context) =
            self.context.insert(known.unwrap_or_else(|| {
                (workload.to_owned(), bounds, PolicyContext::new(workload.into(), bounds.limits()))
            }));
        (&self.plugin, context)
    }
}

impl std::fmt::Debug for ReplayPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Asked").field(&self.name()).finish()
    }
}
