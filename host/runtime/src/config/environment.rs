//! Environment variables.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::error::{ConfigError, SourcePosition};
use super::keys::HOST;
use super::layer::Layer;

/// Variables by name, as in [`process_environment`].
pub type Environment = BTreeMap<String, String>;

/// What stands for the value of a key's variable that is no text: what no variable of a process can have.
const NO_TEXT: &str = "\0";

/// The variables of this process that are text. That one of a key is none is told when the keys are read: whoever set
/// it did not mean that the key keeps what stands elsewhere.
pub fn process_environment() -> Environment {
    texts(std::env::vars_os())
}

fn texts(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
    let text = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok()?;
        let is_of_key = || HOST.iter().any(|key| key.variable == Some(name.as_str()));
        let value = value.into_string().ok().or_else(|| is_of_key().then(|| NO_TEXT.to_owned()))?;
        Some((name, value))
    };
    variables.into_iter().filter_map(text).collect()
}

/// What the variables say. An empty one counts as not set, as for the `nats` command.
pub(super) fn read(variables: &Environment, problems: &mut Vec<ConfigError>) -> Layer {
    let mut layer = Layer::default();
    for key in HOST {
        let Some(name) = key.variable else { continue };
        let Some(text) = variables.get(name).filter(|text| !text.is_empty()) else { continue };
        if text == NO_TEXT {
            problems.push(SourcePosition::named(name).error("the variable is not UTF-8", "write text in it"));
            continue;
        }
        match key.parse(text) {
            Ok(value) => layer.add(key, name, value),
            Err(wrong) => problems.push(wrong.at(&SourcePosition::named(name))),
        }
    }
    layer
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn a_variable_of_a_key_that_is_no_text_is_an_error_and_another_is_left_out() {
        let pair = |name: &str, value: &[u8]| (OsString::from(name), OsString::from_vec(value.to_vec()));
        let variables = texts([
            pair("NATS_URL", b"nats://127.0.0.1:1\xff"),
            pair("NATS_USER", b"ada"),
            pair("HOME", b"/home/\xff"),
            pair("PATH", b"/bin"),
        ]);
        assert_eq!(variables.get("HOME"), None);
        let mut problems = Vec::new();
        let layer = read(&variables, &mut problems);
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(matches!(told.as_slice(), [one] if one.contains("NATS_URL") && one.contains("not UTF-8")), "{told:?}");
        assert!(layer.has("nats.user") && !layer.has("nats.url"));
    }
}
