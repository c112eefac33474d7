//! What the flags of the command line say, as plain data.

use std::path::PathBuf;

use super::error::{At, ConfigErrors, SourcePosition};
use super::layer::Layer;
use super::oci_reference::OciReference;

/// What to run, as it was given on the command line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flags {
    /// The configuration file (`--config`).
    pub file: Option<PathBuf>,
    /// What is said of the host and its connection.
    pub host: Layer,
    /// The workload that the rest is about (`--workload`).
    pub workload_name: Option<String>,
    /// What is said of that workload.
    pub workload: Layer,
    /// Whether the host gets a server of its own. What says how to reach another one, variables and files too, then
    /// does not count, and may lead nowhere.
    pub own_server: bool,
}

impl Flags {
    /// Whether something is said of a workload.
    pub(super) fn has_workload(&self) -> bool {
        self.workload_name.is_some() || !self.workload.is_empty()
    }

    /// Changes the workload that the flags are about, or makes it.
    pub(super) fn lay_over(&self, workloads: &mut Vec<(At<String>, Layer)>) -> Result<(), ConfigErrors> {
        if !self.has_workload() {
            return Ok(());
        }
        let target = self.target(workloads)?;
        match workloads.iter_mut().find(|(name, _)| name.value == target.value) {
            Some((_, below)) => *below = self.workload.clone().over(below),
            None => workloads.push((target, self.workload.clone())),
        }
        Ok(())
    }

    /// The workload that these flags are about.
    fn target(&self, workloads: &[(At<String>, Layer)]) -> Result<At<String>, ConfigErrors> {
        let named = |name: &str| At::named("--workload", name.to_owned());
        if let Some(name) = &self.workload_name {
            let known = workloads.iter().any(|(known, _)| known.value == *name);
            if known || workloads.is_empty() {
                return Ok(named(name));
            }
            let all: Vec<&str> = workloads.iter().map(|(name, _)| name.value.as_str()).collect();
            let problem = format!("the file has no workload {name:?}");
            return Err(named(name).error(problem, format!("it has {}", all.join(", "))).into());
        }
        match (workloads, self.workload.text("handler")) {
            ([(only, _)], _) => Ok(named(&only.value)),
            ([], Some(handler)) => {
                let place = OciReference::parse(&handler.value).and_then(Result::ok);
                Ok(named(place.as_ref().map_or(handler.value.as_str(), OciReference::stem)))
            }
            ([], None) => {
                let handler = "give --handler NAME, the name of a plugin that handles a message";
                let policy = ", and --policy NAME, of one that decides the number of workers, such as \"backlog\"";
                let has_policy = self.workload.text("policy").is_some();
                let remedy = format!("{handler}{}", if has_policy { "" } else { policy });
                Err(SourcePosition::named("--handler").error("is missing", remedy).into())
            }
            _ => {
                let problem = "is missing, and the file has several workloads";
                let remedy = "give --workload NAME to say which one the flags are about";
                Err(SourcePosition::named("--workload").error(problem, remedy).into())
            }
        }
    }
}
