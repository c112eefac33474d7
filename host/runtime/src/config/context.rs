//! Contexts as the `nats` command keeps them: `~/.config/nats/context/NAME.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{At, ConfigErrors, SourcePosition};
use super::files::LARGEST;
use super::keys::HOST;
use super::layer::Layer;
use super::value::{Value, ValueType};
use crate::bounded_file;

/// What a context may ask for that this program cannot do. Connecting without it would connect to the wrong place or as
/// the wrong user, so it is refused.
const UNSUPPORTED: [&str; 4] = ["nsc", "socks_proxy", "user_jwt", "user_seed"];

/// Where the context `name` is kept.
///
/// # Errors
/// The name cannot be that of a context, or neither `XDG_CONFIG_HOME` nor `HOME` is set.
pub(super) fn path(name: &At<String>, environment: &BTreeMap<String, String>) -> Result<PathBuf, ConfigErrors> {
    let plain = !name.value.is_empty() && !name.value.contains("..") && !name.value.contains(['/', '\\']);
    if !plain {
        return Err(name
            .error(
                format!("{:?} cannot be the name of a context", name.value),
                "`nats context ls` shows the names there are",
            )
            .into());
    }
    let set = |key: &str| environment.get(key).filter(|value| !value.is_empty());
    let parent = match (set("XDG_CONFIG_HOME"), set("HOME")) {
        (Some(config), _) => PathBuf::from(config),
        (None, Some(home)) => Path::new(home).join(".config"),
        (None, None) => {
            return Err(name.error("no directory holds contexts", "set HOME or XDG_CONFIG_HOME").into());
        }
    };
    Ok(parent.join("nats").join("context").join(format!("{}.json", name.value)))
}

/// Reads the context `name`. The only IO here.
pub(super) fn read(name: &At<String>, environment: &BTreeMap<String, String>) -> Result<Layer, ConfigErrors> {
    let path = path(name, environment)?;
    let refused = |error: &dyn std::fmt::Display| {
        name.error(
            format!("the context {:?} cannot be read from {}: {error}", name.value, path.display()),
            "`nats context ls` shows the names there are, `nats context add` makes one",
        )
    };
    let bytes = bounded_file::read(&path, LARGEST).map_err(|error| refused(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| refused(&"it is not UTF-8"))?;
    parse(&text, &path)
}

/// Reads the text of a context file.
fn parse(text: &str, path: &Path) -> Result<Layer, ConfigErrors> {
    let place =
        |key: &str| SourcePosition { file: Some(path.to_owned()), key: key.to_owned(), ..SourcePosition::default() };
    let fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).map_err(|error| {
        let place = SourcePosition { line: Some(error.line().max(1)), ..place("") };
        place.error("this is not the JSON object of a context", "`nats context edit` mends it")
    })?;
    let mut problems = Vec::new();
    for key in UNSUPPORTED {
        let set = fields.get(key).is_some_and(|value| !matches!(value.as_str(), Some("")) && !is_nothing(value));
        if set {
            let remedy = "use a context without it; credentials can be given as `creds`, a .creds file";
            problems.push(place(key).error("tidegate cannot connect in this way", remedy));
        }
    }
    let mut layer = Layer::default();
    for row in HOST {
        // A context has the names of the table `nats`, and names no other context.
        let Some(key) = row.path.strip_prefix("nats.").filter(|key| *key != "context") else { continue };
        let key = if key == "api-prefix" { "jetstream_api_prefix".to_owned() } else { key.replace('-', "_") };
        match fields.get(&key) {
            None | Some(serde_json::Value::Null) => {}
            Some(serde_json::Value::Bool(set)) if matches!(row.kind, ValueType::Boolean) => {
                layer.put(row, At { value: Value::Boolean(*set), place: place(&key) });
            }
            Some(serde_json::Value::String(text)) if text.is_empty() => {}
            Some(serde_json::Value::String(text)) => match row.parse(text) {
                Ok(value) => layer.put(row, At { value, place: place(&key) }),
                Err(wrong) => problems.push(wrong.at(&place(&key))),
            },
            Some(_) => problems.push(place(&key).error("expected a string", "`nats context edit` mends it")),
        }
    }
    if problems.is_empty() { Ok(layer) } else { Err(ConfigErrors(problems)) }
}

fn is_nothing(value: &serde_json::Value) -> bool {
    value.is_null() || value.as_bool() == Some(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::bounded_file::tests::pipe;

    fn named(name: &str) -> At<String> {
        At::named("--context", name.to_owned())
    }

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn contexts_are_where_the_nats_command_keeps_them() {
        let home = variables(&[("HOME", "/home/ada")]);
        let path_in = |environment| path(&named("prod"), environment).unwrap();
        assert_eq!(path_in(&home), Path::new("/home/ada/.config/nats/context/prod.json"));
        let xdg = variables(&[("HOME", "/home/ada"), ("XDG_CONFIG_HOME", "/etc/xdg")]);
        assert_eq!(path_in(&xdg), Path::new("/etc/xdg/nats/context/prod.json"));
    }

    #[test]
    fn a_context_name_does_not_lead_out_of_the_directory() {
        for name in ["", "../prod", "a/b", "a\\b"] {
            assert!(path(&named(name), &variables(&[("HOME", "/home/ada")])).is_err(), "{name}");
        }
    }

    #[test]
    fn a_context_gives_its_servers_and_credentials() {
        let text =
            r#"{"description":"prod","url":"nats://a:4222,nats://b:4222","creds":"/x.creds","user":"","nsc":""}"#;
        let layer = parse(text, Path::new("prod.json")).unwrap();
        let servers = vec!["nats://a:4222".to_owned(), "nats://b:4222".to_owned()];
        assert_eq!(layer.get("nats.url").unwrap().value, Value::Texts(servers));
        assert_eq!(layer.text("nats.creds").unwrap().value, "/x.creds");
        assert!(!layer.has("nats.user"));
    }

    #[test]
    fn what_a_context_asks_for_in_vain_is_refused_by_key() {
        let text = r#"{"url":"nats://a","nsc":"nsc://o/a/u","tls_first":"yes","token":7}"#;
        let keys: Vec<String> =
            parse(text, Path::new("prod.json")).unwrap_err().0.into_iter().map(|error| error.key).collect();
        assert_eq!(keys, ["nsc", "token", "tls_first"]);
        assert!(parse(r#"{"url":"nats://a","tls_first":false}"#, Path::new("prod.json")).is_ok());
    }

    #[test]
    fn a_context_that_is_not_json_names_its_line() {
        let errors = parse("{\n nonsense", Path::new("prod.json")).unwrap_err().0;
        assert!(errors[0].to_string().starts_with("prod.json:2: "), "{}", errors[0]);
    }

    #[test]
    fn a_missing_context_names_the_file_it_would_be_in() {
        let directory = tempfile::tempdir().unwrap();
        let environment = variables(&[("XDG_CONFIG_HOME", directory.path().to_str().unwrap())]);
        let errors = read(&named("prod"), &environment).unwrap_err().0;
        assert!(errors[0].to_string().contains("nats/context/prod.json"), "{}", errors[0]);
    }

    #[test]
    fn a_context_that_is_a_pipe_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("nats/context")).unwrap();
        pipe(&directory.path().join("nats/context/prod.json"));
        let environment = variables(&[("XDG_CONFIG_HOME", directory.path().to_str().unwrap())]);
        let errors = read(&named("prod"), &environment).unwrap_err().0;
        assert!(errors[0].to_string().contains("nats/context/prod.json: it is not a file"), "{}", errors[0]);
    }
}
