//! Reads values out of a TOML document and notes every one that is wrong, with its place.
//!
//! Serde would stop at the first; a user who has three mistakes wants to hear of three.

use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::{At, ConfigError, Place, Wrong};
use super::names::nearest;
use super::value::Value;

/// A document's text, for the places in it.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) file: Option<&'a Path>,
}

impl Source<'_> {
    /// The place of `key`, which stands at the bytes `span`.
    pub(super) fn place(&self, key: String, span: Option<Range<usize>>) -> Place {
        let before = span.and_then(|span| self.text.get(..span.start));
        Place {
            file: self.file.map(Path::to_owned),
            line: before.map(|text| text.matches('\n').count() + 1),
            column: before.map(|text| text.rsplit('\n').next().unwrap_or(text).chars().count() + 1),
            key,
        }
    }
}

/// One table of a document.
#[derive(Clone)]
pub(super) struct Section<'a> {
    source: Source<'a>,
    table: &'a DeTable<'a>,
    /// Dotted; empty for the document itself.
    path: String,
}

/// A field of a configuration table: a value, or a table of its own.
pub(super) trait Field: Sized + Default {
    /// The keys of the table, if it is one.
    const KEYS: &'static [&'static str] = &[];

    /// Reads `key` of `section`, if it is there.
    fn take(section: &Section<'_>, key: &str, problems: &mut Vec<ConfigError>) -> Self;

    /// What is set here, and the rest from `below`.
    fn over(self, below: Self) -> Self;
}

impl<T: Value> Field for Option<At<T>> {
    fn take(section: &Section<'_>, key: &str, problems: &mut Vec<ConfigError>) -> Self {
        let (place, value) = section.get(key)?;
        match T::read(value) {
            Ok(value) => Some(At { value, place }),
            Err(wrong) => {
                problems.push(wrong.at(&place));
                None
            }
        }
    }

    fn over(self, below: Self) -> Self {
        self.or(below)
    }
}

impl<'a> Section<'a> {
    /// The whole document, unless it is not TOML.
    pub(super) fn document(source: Source<'a>, table: &'a DeTable<'a>) -> Self {
        Self { source, table, path: String::new() }
    }

    /// For a line of its own, whatever the key has in it.
    fn path_of(&self, key: &str) -> String {
        let key = key.escape_debug();
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }

    fn get(&self, key: &str) -> Option<(Place, &'a DeValue<'a>)> {
        let (at, value) = self.table.get_key_value(key)?;
        Some((self.source.place(self.path_of(key), Some(at.span())), value.get_ref()))
    }

    /// The table `key`, if it is there and one.
    pub(super) fn table(&self, key: &str, problems: &mut Vec<ConfigError>) -> Option<Self> {
        let (place, value) = self.get(key)?;
        match value {
            DeValue::Table(table) => Some(Self { source: self.source, table, path: place.key }),
            other => {
                let problem = format!("expected a table, found {}", article(other.type_str()));
                problems
                    .push(place.error(problem, format!("write [{}] on a line of its own, its keys below", place.key)));
                None
            }
        }
    }

    /// The tables in this one, whatever their keys, in the order of the document.
    pub(super) fn tables(&self, problems: &mut Vec<ConfigError>) -> Vec<(At<String>, Self)> {
        let mut keys: Vec<_> = self.table.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        keys.into_iter()
            .filter_map(|key| {
                let section = self.table(key.get_ref(), problems)?;
                let place = self.source.place(section.path.clone(), Some(key.span()));
                Some((At { value: key.get_ref().to_string(), place }, section))
            })
            .collect()
    }

    /// The keys and values of a table that may hold any keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = (String, Place, &'a DeValue<'a>)> {
        self.table.iter().map(|(key, value)| {
            let place = self.source.place(self.path_of(key.get_ref()), Some(key.span()));
            (key.get_ref().to_string(), place, value.get_ref())
        })
    }

    /// Notes keys that are not among `known`. `nested` are the tables that belong in this one, with their keys.
    pub(super) fn refuse_others(
        &self,
        known: &[&str],
        nested: &[(&str, &'static [&'static str])],
        problems: &mut Vec<ConfigError>,
    ) {
        for (key, place, _) in self.entries() {
            if known.contains(&key.as_str()) {
                continue;
            }
            let home = nested.iter().find(|(_, keys)| keys.contains(&key.as_str()));
            let remedy = if let Some((table, _)) = home {
                format!("it belongs in [{}]", self.path_of(table))
            } else if let Some(near) = nearest(&key, known.iter().copied()) {
                format!("did you mean {near}?")
            } else {
                let table = if self.path.is_empty() { "the file".to_owned() } else { format!("[{}]", self.path) };
                format!("{table} may hold {}", known.join(", "))
            };
            problems.push(place.error("unknown key", remedy));
        }
    }
}

/// What is wrong with a value of another type than `expected`.
pub(super) fn wrong_type(expected: &str, found: &DeValue<'_>, remedy: &str) -> Wrong {
    Wrong::new(format!("expected {expected}, found {}", article(found.type_str())), remedy)
}

fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}
