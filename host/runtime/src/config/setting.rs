//! A handler's settings: what is written in the configuration, and what is read elsewhere because it is secret.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::Wrong;

/// The value of a setting, or where a handler's instance gets it when it starts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd)]
pub enum Setting {
    /// As it is written.
    Text(String),
    /// In this variable of the host's environment.
    Env(String),
    /// In this file.
    File(PathBuf),
}

impl Setting {
    /// The text, if it is written in the configuration.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Reads `{ env = "NAME" }` or `{ file = "PATH" }`. A path is relative to `directory`, that of the configuration.
    pub(super) fn elsewhere(table: &DeTable<'_>, directory: Option<&Path>) -> Result<Self, Wrong> {
        let mut entries = table.iter().map(|(key, value)| (key.get_ref().as_ref(), value.get_ref()));
        let wrong = |problem: &str| {
            let remedy = "write a string, { env = \"NAME\" } or { file = \"/run/secrets/name\" }";
            Err(Wrong::new(problem, remedy))
        };
        match (entries.next(), entries.next()) {
            (Some(("env", DeValue::String(name))), None) => {
                if name.is_empty() || name.contains(['=', '\0']) {
                    return wrong("this cannot be the name of a variable");
                }
                Ok(Self::Env(name.to_string()))
            }
            (Some(("file", DeValue::String(path))), None) => {
                if path.is_empty() {
                    return wrong("the path is empty");
                }
                let path = Path::new(path.as_ref());
                Ok(Self::File(directory.map_or_else(|| path.to_owned(), |directory| directory.join(path))))
            }
            _ if ["env", "file"].iter().all(|name| table.iter().any(|(key, _)| key.get_ref() == name)) => {
                wrong("this says both a variable and a file, and it can be one of them")
            }
            _ => wrong("this says neither a variable nor a file"),
        }
    }
}

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
