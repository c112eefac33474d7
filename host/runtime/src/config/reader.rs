//! From what was written to what is used: a value in its range, or its default, as the type that the program has.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::{At, ConfigError, SourcePosition, Wrong};
use super::keys::{Key, Unset};
use super::layer::Layer;
use super::value::{FromValue, Value};

/// Reads values of one table of keys, and notes everything that is wrong.
pub(super) struct Reader<'a> {
    keys: &'static [Key],
    layer: &'a Layer,
    /// Where the table begins: there a key that is missing is asked for.
    table: &'a SourcePosition,
    /// The environment, for paths.
    pub(super) variables: &'a Environment,
    pub(super) problems: &'a mut Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        keys: &'static [Key],
        layer: &'a Layer,
        table: &'a SourcePosition,
        variables: &'a Environment,
        problems: &'a mut Vec<ConfigError>,
    ) -> Self {
        Self { keys, layer, table, variables, problems }
    }

    /// What `read` makes where nothing is set.
    pub(super) fn of_nothing<T>(keys: &'static [Key], read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        let (layer, place, variables) = (Layer::default(), SourcePosition::default(), Environment::new());
        read(&mut Reader::new(keys, &layer, &place, &variables, &mut Vec::new()))
    }

    /// The value of a key that has a default or is required.
    pub(super) fn get<T: FromValue + Default>(&mut self, path: &str) -> T {
        self.maybe(path).unwrap_or_default()
    }

    /// The value of a key that may be left out.
    pub(super) fn maybe<T: FromValue>(&mut self, path: &str) -> Option<T> {
        let Some(key) = self.keys.iter().find(|key| key.path == path) else {
            self.problems
                .push(SourcePosition::named(path).error("has no row in the table of keys", "this is a bug: add it"));
            return None;
        };
        let value = match (self.layer.get(path), key.unset) {
            (Some(at), _) => self.checked(key, at),
            (None, Unset::Required(what)) => {
                let problem = self.place(path).error("is missing", format!("give {what}"));
                self.note(problem);
                return None;
            }
            (None, _) => key.default_value()?,
        };
        T::from_value(value)
    }

    /// As it was written, or its default where that cannot be.
    fn checked(&mut self, key: &Key, at: &At<Value>) -> Value {
        let wrong = key.check(&at.value);
        let default = if wrong.is_empty() { None } else { key.default_value() };
        self.problems.extend(wrong.into_iter().map(|wrong| wrong.at(&at.place)));
        default.unwrap_or_else(|| at.value.clone())
    }

    /// A string as what `parse` makes of it.
    pub(super) fn parsed<T>(&mut self, path: &str, parse: fn(&str) -> Result<T, Wrong>) -> Option<T> {
        let text = self.maybe::<String>(path)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.problems.push(wrong.at(&self.place(path)));
                None
            }
        }
    }

    /// A path. One in the configuration file is relative to that file's directory; `~/` is the home directory.
    pub(super) fn path(&mut self, path: &str) -> Option<PathBuf> {
        let text = self.maybe::<String>(path)?;
        let written = self.layer.get(path).map(|at| &at.place);
        if let Some(place) = written.filter(|_| text.is_empty()) {
            self.problems.push(place.error("the path is empty", "write a path, or leave the key out"));
        }
        if let (Some(rest), Some(home)) = (text.strip_prefix("~/"), self.variables.get("HOME")) {
            return Some(Path::new(home).join(rest));
        }
        let directory = written.and_then(|place| place.file.as_deref()).and_then(Path::parent);
        Some(directory.map_or_else(|| PathBuf::from(&text), |directory| directory.join(&text)))
    }

    /// Whether the key was written.
    pub(super) fn is_set(&self, path: &str) -> bool {
        self.layer.has(path)
    }

    /// Where the key was written, or would be.
    pub(super) fn place(&self, path: &str) -> SourcePosition {
        place(self.keys, self.layer, self.table, path)
    }

    /// Notes a problem, unless its key has one already: a value of the wrong type is not missing too.
    pub(super) fn note(&mut self, problem: ConfigError) {
        if !self.problems.iter().any(|noted| noted.key == problem.key && noted.file == problem.file) {
            self.problems.push(problem);
        }
    }
}

/// Where the key at `path` was written, or would be: in the table that begins at `table`, or by its flag.
pub(super) fn place(keys: &[Key], layer: &Layer, table: &SourcePosition, path: &str) -> SourcePosition {
    if let Some(at) = layer.get(path) {
        return at.place.clone();
    }
    match keys.iter().find(|key| key.path == path).and_then(|key| key.flag) {
        Some(flag) if table.is_flag() => SourcePosition::named(&format!("--{flag}")),
        _ => table.child(path),
    }
}
