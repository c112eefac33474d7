//! A crate to begin with: what `tidegate new` writes.
//!
//! The crate is one of `host/templates/`, where its files can be read as they are, under a new name, with the crate
//! that guests are written with and a plugin that ships beside it, so that it builds with nothing but crates.io and
//! runs at once.

mod contract_digest;
mod language;
mod name;
mod place;

use std::path::{Path, PathBuf};

use tidegate_artifacts::{policies, workers};

pub use language::Language;
pub use name::{CrateName, NameError};
pub use place::{PlaceError, place, place_config};

/// What is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrateKind {
    /// A component that decides how many workers run.
    Policy,
    /// A component that handles one message.
    Handler,
}

/// A file of the new crate: its path within, and what is in it.
pub type ScaffoldFile = (PathBuf, Vec<u8>);

/// The crate that it is written with, whole, with the contract in it.
const SDK: &[(&str, &str)] = &[
    ("tidegate-guest/Cargo.toml", include_str!("../../sdk/Cargo.toml.in")),
    ("tidegate-guest/README.md", include_str!("../../sdk/README.md")),
    ("tidegate-guest/src/asynchronous.rs", include_str!("../../sdk/src/asynchronous.rs")),
    ("tidegate-guest/src/batch.rs", include_str!("../../sdk/src/batch.rs")),
    ("tidegate-guest/src/duration.rs", include_str!("../../sdk/src/duration.rs")),
    ("tidegate-guest/src/handler.rs", include_str!("../../sdk/src/handler.rs")),
    ("tidegate-guest/src/key_value.rs", include_str!("../../sdk/src/key_value.rs")),
    ("tidegate-guest/src/lib.rs", include_str!("../../sdk/src/lib.rs")),
    ("tidegate-guest/src/logger.rs", include_str!("../../sdk/src/logger.rs")),
    ("tidegate-guest/src/policy.rs", include_str!("../../sdk/src/policy.rs")),
    ("tidegate-guest/src/settings.rs", include_str!("../../sdk/src/settings.rs")),
    ("tidegate-guest/src/state.rs", include_str!("../../sdk/src/state.rs")),
    ("tidegate-guest/src/test_signals.rs", include_str!("../../sdk/src/test_signals.rs")),
    ("tidegate-guest/src/testing.rs", include_str!("../../sdk/src/testing.rs")),
    ("tidegate-guest/wit/README.md", include_str!("../../sdk/wit/README.md")),
    ("tidegate-guest/wit/world.wit", include_str!("../../sdk/wit/world.wit")),
    ("tidegate-guest/wit/async.wit", include_str!("../../sdk/wit/async.wit")),
    ("tidegate-guest/wit/batch.wit", include_str!("../../sdk/wit/batch.wit")),
    ("tidegate-guest/wit/handler.wit", include_str!("../../sdk/wit/handler.wit")),
    ("tidegate-guest/wit/scaling.wit", include_str!("../../sdk/wit/scaling.wit")),
    ("tidegate-guest/wit/signals.wit", include_str!("../../sdk/wit/signals.wit")),
    ("tidegate-guest/wit/deps/config/store.wit", include_str!("../../sdk/wit/deps/config/store.wit")),
    ("tidegate-guest/wit/deps/keyvalue/keyvalue.wit", include_str!("../../sdk/wit/deps/keyvalue/keyvalue.wit")),
    ("tidegate-guest/wit/deps/logging/logging.wit", include_str!("../../sdk/wit/deps/logging/logging.wit")),
    ("tidegate-guest/wit/deps/messaging/messaging.wit", include_str!("../../sdk/wit/deps/messaging/messaging.wit")),
];

/// What both kinds have.
const COMMON: &[(&str, &str)] = &[(".gitignore", include_str!("../../templates/gitignore"))];

const POLICY: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../templates/policy/Cargo.toml.in")),
    ("README.md", include_str!("../../templates/policy/README.md")),
    ("src/lib.rs", include_str!("../../templates/policy/src/lib.rs")),
    ("src/rule.rs", include_str!("../../templates/policy/src/rule.rs")),
];

/// A configuration to begin with.
const CONFIG: &str = include_str!("../../templates/tidegate.toml");

const HANDLER: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../templates/handler/Cargo.toml.in")),
    ("README.md", include_str!("../../templates/handler/README.md")),
    ("src/lib.rs", include_str!("../../templates/handler/src/lib.rs")),
];

impl CrateKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Handler => "handler",
        }
    }

    /// The name that the templates have for the crate.
    fn stand_in(self) -> &'static str {
        match self {
            Self::Policy => "new-policy",
            Self::Handler => "new-handler",
        }
    }

    fn templates(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Policy => POLICY,
            Self::Handler => HANDLER,
        }
    }

    /// The plugin that it is tried with.
    fn companion(self) -> (&'static str, &'static [u8]) {
        match self {
            Self::Policy => ("plugins/echo.wasm", workers::ECHO),
            Self::Handler => ("plugins/step.wasm", policies::STEP),
        }
    }
}

/// The files of a new crate.
///
/// # Errors
/// If the plugin that it is tried with has that name.
pub fn files(kind: CrateKind, language: Language, name: &CrateName) -> Result<Vec<ScaffoldFile>, NameError> {
    let (plugin, bytes) = kind.companion();
    if Path::new(plugin).file_stem().is_some_and(|stem| stem == name.as_str()) {
        return Err(NameError::Companion(name.as_str().to_owned()));
    }
    let stand_in = kind.stand_in();
    let library = stand_in.replace('-', "_");
    let names = [(stand_in, name.as_str()), (library.as_str(), &name.library())];
    let named = |text: &str| replace(text, &names).into_bytes();
    if let Some(templates) = language.templates() {
        let own = templates.iter().map(|(path, text)| (PathBuf::from(path), named(text)));
        let binaries = language.binaries().iter().map(|(path, bytes)| (PathBuf::from(path), bytes.to_vec()));
        return Ok(own
            .chain(binaries)
            .chain(contract().into_iter().map(|(path, bytes)| (Path::new("wit").join(path), bytes)))
            .chain([(Path::new(plugin).to_owned(), bytes.to_vec())])
            .collect());
    }
    let own = kind.templates().iter().chain(COMMON).map(|(path, text)| (PathBuf::from(path), named(text)));
    let sdk = SDK.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec()));
    Ok(own.chain(sdk).chain([(Path::new(plugin).to_owned(), bytes.to_vec())]).collect())
}

/// The contract alone, for those who have a project already.
pub fn contract() -> Vec<ScaffoldFile> {
    let within = |(path, text): &(&str, &str)| {
        Some((PathBuf::from(path.strip_prefix("tidegate-guest/wit/")?), text.as_bytes().to_vec()))
    };
    SDK.iter().filter_map(within).collect()
}

/// The text with each of the words replaced, all of them at once: what takes the place of one may contain another.
fn replace(text: &str, words: &[(&str, &str)]) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, word, by)) =
        words.iter().filter_map(|(word, by)| Some((rest.find(word)?, word, by))).min_by_key(|(at, ..)| *at)
    {
        let (before, after) = rest.split_at(at);
        replaced.push_str(before);
        replaced.push_str(by);
        rest = after.strip_prefix(word).unwrap_or_default();
    }
    replaced.push_str(rest);
    replaced
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const KINDS: [CrateKind; 2] = [CrateKind::Policy, CrateKind::Handler];

    fn named(kind: CrateKind, name: &str) -> Vec<ScaffoldFile> {
        files(kind, Language::Rust, &name.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_name_that_contains_a_stand_in_is_put_in_once() {
        for (kind, name) in [
            (CrateKind::Policy, "new_policy2"),
            (CrateKind::Policy, "my-new-policy"),
            (CrateKind::Handler, "new_handler"),
        ] {
            for (path, bytes) in named(kind, name) {
                let text = String::from_utf8_lossy(&bytes).replace(name, "x").replace(&name.replace('-', "_"), "x");
                for word in [kind.stand_in(), &kind.stand_in().replace('-', "_")] {
                    assert!(!text.contains(word), "{word} is left for {name} in {}", path.display());
                }
                assert!(!text.contains("x2") && !text.contains("my-x"), "{}: {text}", path.display());
            }
            let files = named(kind, name);
            let (_, manifest) = files.iter().find(|(path, _)| path == Path::new("Cargo.toml")).unwrap();
            let manifest: toml::Table = std::str::from_utf8(manifest).unwrap().parse().unwrap();
            assert_eq!(manifest["package"]["name"].as_str(), Some(name));
        }
    }

    #[test]
    fn the_plugin_that_a_crate_is_tried_with_keeps_its_name() {
        let refused = files(CrateKind::Policy, Language::Rust, &"echo".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(
            refused,
            "\"echo\" is the plugin that the new one is tried with; choose another name, such as my-echo"
        );
        assert!(files(CrateKind::Handler, Language::Rust, &"step".parse().unwrap()).is_err());
        assert!(files(CrateKind::Handler, Language::Rust, &"echo".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_project_in_another_language_has_its_name_the_contract_and_a_policy_to_be_tried_with() {
        for language in [Language::JavaScript, Language::Python, Language::C] {
            let files = files(CrateKind::Handler, language, &"queue-age".parse().unwrap()).unwrap();
            for (path, bytes) in &files {
                assert!(!String::from_utf8_lossy(bytes).contains("new-handler"), "{}", path.display());
            }
            for needed in
                ["README.md", ".gitignore", "wit/handler.wit", "wit/deps/config/store.wit", "plugins/step.wasm"]
            {
                assert!(files.iter().any(|(path, _)| path == Path::new(needed)), "{language:?}: {needed}");
            }
        }
    }

    #[test]
    fn no_stand_in_is_left() {
        for kind in KINDS {
            for (path, bytes) in named(kind, "queue-age") {
                let text = String::from_utf8_lossy(&bytes);
                for word in ["new-policy", "new_policy", "new-handler", "new_handler"] {
                    assert!(!text.contains(word), "{word} in {}", path.display());
                }
            }
        }
    }

    #[test]
    fn the_crate_has_its_name_and_the_file_that_cargo_makes_of_it_is_copied_to_that_of_the_plugin() {
        for kind in KINDS {
            let files = named(kind, "queue-age");
            let text = |path: &str| {
                let (_, bytes) = files.iter().find(|(name, _)| name == Path::new(path)).unwrap();
                String::from_utf8(bytes.clone()).unwrap()
            };
            let manifest: toml::Table = text("Cargo.toml").parse().unwrap();
            assert_eq!(manifest["package"]["name"].as_str(), Some("queue-age"));
            assert!(text("README.md").contains("release/queue_age.wasm plugins/queue-age.wasm"));
            assert!(text("README.md").contains("--policy "));
        }
    }

    #[test]
    fn the_crate_has_all_of_the_one_that_it_is_written_with() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk");
        let mut there = 0;
        let mut left = vec![sdk.clone()];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            there += 1;
            let within = Path::new("tidegate-guest").join(path.strip_prefix(&sdk).unwrap());
            for kind in KINDS {
                let files = named(kind, "a");
                let (_, bytes) = files.iter().find(|(name, _)| *name == within).unwrap();
                assert_eq!(bytes, &std::fs::read(&path).unwrap(), "{}", within.display());
            }
        }
        assert_eq!(there, SDK.len());
    }

    /// Code without its layout.
    fn bare(code: &str) -> String {
        let words: String = code.split_whitespace().collect();
        words.replace(",}", "}").replace(",)", ")")
    }

    #[test]
    fn what_the_readme_shows_of_the_crates_is_in_them() {
        let readme = include_str!("../../../../README.md");
        let shown: Vec<&str> =
            readme.split("```rust").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
        let sources: String = HANDLER.iter().chain(POLICY).map(|(_, text)| bare(text)).collect();
        assert_eq!(shown.len(), 2);
        for code in shown {
            assert!(sources.contains(&bare(code)), "{code}");
        }
    }

    #[test]
    fn each_line_that_is_shown_of_a_language_is_in_its_handler() {
        let page = include_str!("../../../../docs/languages.md");
        for (word, language) in
            [("rust", Language::Rust), ("js", Language::JavaScript), ("python", Language::Python), ("c", Language::C)]
        {
            let shown = page.split(&format!("```{word}\n")).nth(1).unwrap().split("```").next().unwrap();
            let files = files(CrateKind::Handler, language, &"shout".parse().unwrap()).unwrap();
            let all: Vec<String> = files.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
            for line in shown.lines() {
                // What is shown may lie deeper there.
                let shown_there = |text: &String| text.lines().any(|own| own.trim() == line.trim());
                assert!(all.iter().any(shown_there), "{word}: {line}");
            }
        }
    }

    #[test]
    fn the_crate_that_guests_are_written_with_has_the_versions_of_the_workspace() {
        let root: toml::Table = include_str!("../../../../Cargo.toml").parse().unwrap();
        let (_, sdk) = SDK[0];
        let sdk: toml::Table = sdk.parse().unwrap();
        for name in ["humantime", "wit-bindgen"] {
            assert_eq!(sdk["dependencies"][name], root["workspace"]["dependencies"][name], "{name}");
        }
        assert_eq!(sdk["dev-dependencies"]["proptest"], root["workspace"]["dependencies"]["proptest"]);
        for key in ["version", "edition", "rust-version", "license"] {
            assert_eq!(sdk["package"][key], root["workspace"]["package"][key], "{key}");
        }
    }
}
