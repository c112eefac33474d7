//! Reads a TOML document by the table of keys, and notes every value that is wrong, with its place.
//!
//! Serde would stop at the first; a user who has three mistakes wants to hear of three.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{At, ConfigError, SourcePosition, Wrong};
use super::keys::{HOST, Key, WORKLOAD};
use super::layer::Layer;
use super::names::nearest;
use super::setting::Setting;
use super::value::{Value, ValueType, setting_value, type_of};

/// The table of the workloads by their names.
const WORKLOADS: &str = "workload";

/// What a file says.
#[derive(Default)]
pub(super) struct Document {
    pub(super) host: Layer,
    /// In the order of the file.
    pub(super) workloads: Vec<(At<String>, Layer)>,
}

impl Document {
    /// Reads the text of a file. What could be read comes even where something else is wrong.
    pub(super) fn parse(text: &str, file: Option<&Path>, problems: &mut Vec<ConfigError>) -> Self {
        let text = FileText { text, file };
        let Some(document) = text.document(problems) else { return Self::default() };
        let root = Section { text, table: document.get_ref(), path: String::new() };
        let host = Keys { rows: HOST, prefix: String::new() }.read(&root, problems);
        Self { host, workloads: workloads(&root, problems) }
    }

    /// Reads the text of a fragment, which has workloads and nothing else.
    pub(super) fn fragment(text: &str, file: &Path, problems: &mut Vec<ConfigError>) -> Vec<(At<String>, Layer)> {
        let text = FileText { text, file: Some(file) };
        let Some(document) = text.document(problems) else { return Vec::new() };
        let root = Section { text, table: document.get_ref(), path: String::new() };
        for (_, place, _) in root.entries().filter(|(name, ..)| name != WORKLOADS) {
            let problem = "a file of workloads.d has workloads and nothing else";
            problems.push(
                place.error(problem, "write [workload.NAME] above it, or move it to the file beside workloads.d"),
            );
        }
        workloads(&root, problems)
    }

    /// Adds the workloads of a fragment. One that is there already is told with both places.
    pub(super) fn add(&mut self, workloads: Vec<(At<String>, Layer)>, problems: &mut Vec<ConfigError>) {
        for (name, layer) in workloads {
            match self.workloads.iter().find(|(known, _)| known.value == name.value) {
                None => self.workloads.push((name, layer)),
                Some((known, _)) => {
                    let problem =
                        format!("there is a workload of this name already: {}", known.place.beside(&name.place));
                    problems.push(name.error(problem, "keep one of them, or give it another name"));
                }
            }
        }
    }
}

/// The workloads of a file, in the order of the file.
fn workloads(root: &Section<'_>, problems: &mut Vec<ConfigError>) -> Vec<(At<String>, Layer)> {
    let tables = root.table(WORKLOADS, problems).map(|section| section.tables(problems)).unwrap_or_default();
    let read = |(name, table): (At<String>, Section<'_>)| {
        empty_connection(&table, problems);
        (name, Keys { rows: WORKLOAD, prefix: String::new() }.read(&table, problems))
    };
    tables.into_iter().map(read).collect()
}

/// A workload's table of a connection that says nothing: who wrote it wants another account than the host's.
fn empty_connection(workload: &Section<'_>, problems: &mut Vec<ConfigError>) {
    let Some(section) = workload.table("nats", &mut Vec::new()).filter(|section| section.table.is_empty()) else {
        return;
    };
    let place = section.text.place(section.path.clone(), workload.table.get_key_value("nats").map(|(at, _)| at.span()));
    problems.push(place.error("the table is empty", "give url or context, or remove it to use [nats]"));
}

/// The keys that a table of the document may have: those of `rows` whose path begins with `prefix`.
struct Keys {
    rows: &'static [Key],
    prefix: String,
}

impl Keys {
    fn read(&self, section: &Section<'_>, problems: &mut Vec<ConfigError>) -> Layer {
        let mut layer = Layer::default();
        self.read_into(&mut layer, section, problems);
        layer
    }

    fn read_into(&self, layer: &mut Layer, section: &Section<'_>, problems: &mut Vec<ConfigError>) {
        let known = self.known(section);
        for (name, place, value) in section.entries() {
            let path = format!("{}{name}", self.prefix);
            match self.rows.iter().find(|key| key.path == path) {
                _ if !known.contains(&name.as_str()) => {
                    problems.push(place.error("unknown key", self.remedy(&name, &known, section)));
                }
                Some(key) => {
                    let value = match key.kind {
                        ValueType::Table => {
                            section.table(&name, problems).map(|table| Value::Table(table.settings(key, problems)))
                        }
                        kind => kind.read(value).map_err(|wrong| problems.push(wrong.at(&place))).ok(),
                    };
                    if let Some(value) = value {
                        layer.put(key, At { value, place });
                    }
                }
                None if name == WORKLOADS => {}
                None => {
                    if let Some(section) = section.table(&name, problems) {
                        Self { rows: self.rows, prefix: format!("{path}.") }.read_into(layer, &section, problems);
                    }
                }
            }
        }
    }

    /// The names of the keys and of the tables here, each once.
    fn known(&self, section: &Section<'_>) -> Vec<&'static str> {
        let here = self.rows.iter().filter_map(|key| key.path.strip_prefix(self.prefix.as_str()));
        let mut known: Vec<_> = here.map(|path| path.split_once('.').map_or(path, |(table, _)| table)).collect();
        known.dedup();
        if section.path.is_empty() {
            known.push(WORKLOADS);
        }
        known
    }

    /// What may have been meant by a key that is not known.
    fn remedy(&self, name: &str, known: &[&str], section: &Section<'_>) -> String {
        let here = self.rows.iter().filter_map(|key| key.path.strip_prefix(self.prefix.as_str()));
        let home = here.filter_map(|path| path.split_once('.')).find(|(_, key)| *key == name);
        let home = home.map(|(table, _)| format!("it belongs in [{}]", section.path_of(table)));
        let is_root = section.path.is_empty();
        // What is written at the end of a file is in its last table.
        let is_of_host = !is_root && HOST.iter().any(|key| key.path == name);
        match (home, nearest(name, known.iter().copied())) {
            (Some(home), _) if is_of_host => format!("{home}, or, for the host, above the first table"),
            (Some(home), _) => home,
            _ if is_of_host => "it belongs above the first table".to_owned(),
            _ if is_root && is_of_workload(name) => "it belongs in [workload.NAME]".to_owned(),
            (None, Some(near)) => format!("did you mean {near}?"),
            (None, None) => {
                let table = if is_root { "the file".to_owned() } else { format!("[{}]", section.path) };
                format!("{table} may hold {}", known.join(", "))
            }
        }
    }
}

/// Whether a workload has a key or a table of this name.
fn is_of_workload(name: &str) -> bool {
    WORKLOAD.iter().any(|key| key.path.split('.').next() == Some(name))
}

/// A document's text, for the places in it.
#[derive(Clone, Copy)]
pub(super) struct FileText<'a> {
    pub(super) text: &'a str,
    pub(super) file: Option<&'a Path>,
}

impl<'a> FileText<'a> {
    /// Its tables, if it is TOML.
    fn document(&self, problems: &mut Vec<ConfigError>) -> Option<Spanned<DeTable<'a>>> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        let told = errors.into_iter().map(|error| {
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            let place = self.place(String::new(), error.span());
            place.error(format!("this is not TOML: {message}"), "see https://toml.io for how TOML is written")
        });
        let before = problems.len();
        problems.extend(told);
        (problems.len() == before).then_some(document)
    }

    /// The place of `key`, which stands at the bytes `span`.
    pub(super) fn place(&self, key: String, span: Option<Range<usize>>) -> SourcePosition {
        let before = span.and_then(|span| self.text.get(..span.start));
        SourcePosition {
            file: self.file.map(Path::to_owned),
            line: before.map(|text| text.matches('\n').count() + 1),
            column: before.map(|text| text.rsplit('\n').next().unwrap_or(text).chars().count() + 1),
            key,
        }
    }
}

/// One table of a document.
struct Section<'a> {
    text: FileText<'a>,
    table: &'a DeTable<'a>,
    /// Dotted; empty for the document itself.
    path: String,
}

impl<'a> Section<'a> {
    /// For a line of its own, whatever the key has in it.
    fn path_of(&self, key: &str) -> String {
        let key = key.escape_debug();
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }

    /// The table `name`, if it is there and one.
    fn table(&self, name: &str, problems: &mut Vec<ConfigError>) -> Option<Self> {
        let (at, value) = self.table.get_key_value(name)?;
        let place = self.text.place(self.path_of(name), Some(at.span()));
        match value.get_ref() {
            DeValue::Table(table) => Some(Self { text: self.text, table, path: place.key }),
            other => {
                let problem = format!("expected a table, found {}", type_of(other));
                let remedy = format!("write [{}] on a line of its own, its keys below", place.key);
                problems.push(place.error(problem, remedy));
                None
            }
        }
    }

    /// The tables in this one, whatever their keys, in the order of the document.
    fn tables(&self, problems: &mut Vec<ConfigError>) -> Vec<(At<String>, Self)> {
        let mut keys: Vec<_> = self.table.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        keys.into_iter()
            .filter_map(|key| {
                let section = self.table(key.get_ref(), problems)?;
                let place = self.text.place(section.path.clone(), Some(key.span()));
                Some((At { value: key.get_ref().to_string(), place }, section))
            })
            .collect()
    }

    fn entries(&self) -> impl Iterator<Item = (String, SourcePosition, &'a DeValue<'a>)> {
        self.table.iter().map(|(key, value)| {
            let place = self.text.place(self.path_of(key.get_ref()), Some(key.span()));
            (key.get_ref().to_string(), place, value.get_ref())
        })
    }

    /// The settings of a table that may have any keys.
    fn settings(&self, key: &Key, problems: &mut Vec<ConfigError>) -> BTreeMap<String, Setting> {
        let mut settings = BTreeMap::new();
        for (name, place, value) in self.entries() {
            let setting = match value {
                DeValue::Table(table) if key.secrets => {
                    Setting::elsewhere(table, self.text.file.and_then(Path::parent))
                }
                DeValue::Table(_) => Err(Wrong::new(
                    "what a policy is told cannot be a secret, for the journal keeps it",
                    "write it as a string",
                )),
                value => setting_value(value).map(Setting::Text),
            };
            match setting {
                Ok(setting) => drop(settings.insert(name, setting)),
                Err(wrong) => problems.push(wrong.at(&place)),
            }
        }
        settings
    }
}
