//! What a directory builds, by what is in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Brings what a project names, once.
const NPM: &str = "test -d node_modules || npm install --no-audit --no-fund && npm run build";
/// With a line for a program about each file that it makes, and what it says of the code as ever.
const CARGO: &str = "cargo build --release --target wasm32-wasip2 --message-format json-render-diagnostics";

/// A project that builds a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Project {
    /// Its name, which is that of the plugin where nobody says otherwise.
    pub(super) name: String,
    /// The command that builds it, for `sh`.
    pub(super) command: String,
    /// The component that this makes. `None` where cargo says it.
    pub(super) component: Option<PathBuf>,
}

impl Project {
    /// Looks what is in `dir`; `command` and `component` are what the user says of it.
    pub(super) fn find(dir: &Path, command: Option<String>, component: Option<PathBuf>) -> anyhow::Result<Self> {
        let has = |file: &str| dir.join(file).is_file();
        let directory = dir.file_name().map(|name| name.to_string_lossy().into_owned());
        let (name, own) = if has("Cargo.toml") {
            (name_in(&dir.join("Cargo.toml"), cargo_name)?, Some(CARGO))
        } else if has("package.json") {
            (name_in(&dir.join("package.json"), npm_name)?, Some(NPM))
        } else {
            let is_made = ["Makefile", "makefile", "GNUmakefile"].into_iter().any(has);
            (None, is_made.then_some("make"))
        };
        let is_cargo = command.is_none() && own == Some(CARGO);
        let Some(command) = command.or_else(|| own.map(str::to_owned)) else {
            bail!("{} has no Cargo.toml, package.json or Makefile; say how to build it by --build", dir.display());
        };
        if is_cargo && name.is_none() {
            bail!(
                "{} has no [package]; give the directory of the handler's own crate",
                dir.join("Cargo.toml").display()
            );
        }
        let Some(name) = name.or(directory) else { bail!("{} has no name; give --handler", dir.display()) };
        let component = component.or_else(|| (!is_cargo).then(|| Path::new("plugins").join(format!("{name}.wasm"))));
        Ok(Self { name, command, component })
    }
}

fn name_in(file: &Path, name: fn(&str) -> anyhow::Result<Option<String>>) -> anyhow::Result<Option<String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    name(&text).with_context(|| format!("cannot read {}", file.display()))
}

fn cargo_name(text: &str) -> anyhow::Result<Option<String>> {
    let manifest: toml::Table = text.parse()?;
    Ok(manifest.get("package").and_then(|package| Some(package.get("name")?.as_str()?.to_owned())))
}

/// Without the scope that npm's names may have.
fn npm_name(text: &str) -> anyhow::Result<Option<String>> {
    let manifest: serde_json::Value = serde_json::from_str(text)?;
    let name = manifest.get("name").and_then(serde_json::Value::as_str);
    Ok(name.map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()))
}

/// The component among what cargo says on its standard output.
pub(super) fn cargo_component(said: &str) -> Option<PathBuf> {
    let files = said.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut made = files.filter(|line| line.get("reason").is_some_and(|reason| reason == "compiler-artifact"));
    made.find_map(|line| {
        let files = line.get("filenames")?.as_array()?.iter().filter_map(serde_json::Value::as_str);
        files.map(PathBuf::from).find(|file| file.extension().is_some_and(|ext| ext == "wasm"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn found(files: &[(&str, &str)]) -> anyhow::Result<Project> {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("tide");
        std::fs::create_dir(&project).unwrap();
        for (name, text) in files {
            std::fs::write(project.join(name), text).unwrap();
        }
        Project::find(&project, None, None)
    }

    #[test]
    fn a_project_is_known_by_the_file_that_it_has() {
        let cargo = found(&[("Cargo.toml", "[package]\nname = \"shout\""), ("Makefile", "")]).unwrap();
        assert_eq!((cargo.name.as_str(), cargo.command.as_str(), &cargo.component), ("shout", CARGO, &None));
        let npm = found(&[("package.json", r#"{"name": "@mine/shout"}"#), ("Makefile", "")]).unwrap();
        let component = Some(PathBuf::from("plugins/shout.wasm"));
        assert_eq!((npm.name.as_str(), npm.command.as_str(), npm.component), ("shout", NPM, component));
        let made = found(&[("Makefile", "")]).unwrap();
        let component = Some(PathBuf::from("plugins/tide.wasm"));
        assert_eq!((made.name.as_str(), made.command.as_str(), made.component), ("tide", "make", component));
    }

    #[test]
    fn what_cannot_be_built_is_told_with_what_to_do() {
        let told = |files: &[(&str, &str)]| format!("{:#}", found(files).unwrap_err());
        assert!(told(&[]).ends_with("say how to build it by --build"));
        assert!(told(&[("Cargo.toml", "[workspace]")]).ends_with("give the directory of the handler's own crate"));
        assert!(told(&[("package.json", "{")]).starts_with("cannot read "));
    }

    #[test]
    fn what_the_user_says_wins() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Cargo.toml"), "[package]\nname = \"shout\"").unwrap();
        let project = Project::find(dir.path(), Some("just".to_owned()), None).unwrap();
        assert_eq!((project.command.as_str(), project.component), ("just", Some("plugins/shout.wasm".into())));
        let project = Project::find(dir.path(), None, Some("a.wasm".into())).unwrap();
        assert_eq!((project.command.as_str(), project.component), (CARGO, Some("a.wasm".into())));
    }

    #[test]
    fn the_component_is_the_last_that_cargo_names() {
        let said = r#"{"reason":"compiler-artifact","filenames":["/t/libtidegate_guest.rlib"]}
not JSON
{"reason":"compiler-artifact","filenames":["/t/other.wasm"]}
{"reason":"compiler-artifact","filenames":["/t/shout.d","/t/shout.wasm"]}
{"reason":"build-finished","success":true}"#;
        assert_eq!(cargo_component(said), Some("/t/shout.wasm".into()));
        assert_eq!(cargo_component(""), None);
    }
}
