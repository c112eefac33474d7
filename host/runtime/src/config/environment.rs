//! Environment variables.

use std::collections::BTreeMap;

use super::error::{ConfigError, SourcePosition};
use super::keys::HOST;
use super::layer::Layer;

/// Variables by name, as in [`process_environment`].
pub type Environment = BTreeMap<String, String>;

/// The variables of this process that are text.
pub fn process_environment() -> Environment {
    let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((key.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// What the variables say. An empty one counts as not set, as for the `nats` command.
pub(super) fn read(variables: &Environment, problems: &mut Vec<ConfigError>) -> Layer {
    let mut layer = Layer::default();
    for key in HOST {
        let Some(name) = key.variable else { continue };
        let Some(text) = variables.get(name).filter(|text| !text.is_empty()) else { continue };
        match key.parse(text) {
            Ok(value) => layer.add(key, name, value),
            Err(wrong) => problems.push(wrong.at(&SourcePosition::named(name))),
        }
    }
    layer
}
