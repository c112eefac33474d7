//! Where a key was written, for what is found out about it after the configuration was read.

use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::document::FileText;
use super::error::{ConfigError, SourcePosition};
use super::flags::Flags;
use super::keys::{HOST, WORKLOAD};
use super::load::file_of;

/// Finds where a key was written: in a file, or by flags alone.
#[derive(Debug, Clone, Default)]
pub struct KeyLocator {
    file: Option<(PathBuf, String)>,
}

impl KeyLocator {
    /// For what a configuration is read from. A file that cannot be read has no places.
    pub fn of(flags: &Flags) -> Self {
        Self { file: file_of(flags).and_then(|path| Some((path.clone(), std::fs::read_to_string(path).ok()?))) }
    }

    /// An error about the key at `path`; where that was not written, about the innermost table of it that was.
    pub fn error(&self, path: &[&str], problem: &str, remedy: &str) -> ConfigError {
        self.place(path).error(problem, remedy)
    }

    fn place(&self, path: &[&str]) -> SourcePosition {
        let Some((file, text)) = &self.file else { return SourcePosition::named(&format!("--{}", flag(path))) };
        let (document, _) = DeTable::parse_recoverable(text);
        let (mut table, mut span) = (document.get_ref(), None);
        for key in path {
            let Some((at, value)) = table.get_key_value(*key) else { break };
            span = Some(at.span());
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        FileText { text, file: Some(file) }.place(path.join("."), span)
    }
}

/// The flag for a key, or else the first for its table.
fn flag(path: &[&str]) -> &'static str {
    let (keys, path) = match path {
        ["workload", _, path @ ..] => (WORKLOAD, path),
        path => (HOST, path),
    };
    let mut flags = keys.iter().filter_map(|key| Some((key, key.flag?)));
    let table = path.first().copied().unwrap_or_default();
    let exact = flags.clone().find(|(key, _)| key.path == path.join("."));
    let beside = || flags.clone().find(|(key, _)| key.path.split('.').next() == Some(table));
    exact.or_else(beside).or_else(|| flags.next()).map_or("config", |(_, flag)| flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_where_it_stands_or_where_it_would_stand() {
        let text = "[nats]\nurl = \"a\"\n[workload.orders]\nstream = \"S\"\ngrants.publish = \"a.>\"\n";
        let written = KeyLocator { file: Some(("tidegate.toml".into(), text.to_owned())) };
        for (path, line) in [
            (&["workload", "orders", "stream"][..], 4),
            (&["workload", "orders", "grants", "publish"], 5),
            (&["workload", "orders", "consumer"], 3),
            (&["nats"], 1),
        ] {
            let shown = written.error(path, "problem", "remedy").to_string();
            assert_eq!(shown, format!("tidegate.toml:{line}: {}: problem; remedy", path.join(".")));
        }
        let nowhere = written.error(&["dead-letters", "stream"], "problem", "remedy").to_string();
        assert_eq!(nowhere, "tidegate.toml: dead-letters.stream: problem; remedy");
    }

    #[test]
    fn without_a_file_the_flag_is_named() {
        let shown = |path: &[&str]| KeyLocator::default().error(path, "problem", "remedy").to_string();
        assert_eq!(shown(&["workload", "orders", "grants", "publish"]), "--grant-publish: problem; remedy");
        assert_eq!(shown(&["workload", "orders", "consumer"]), "--consumer: problem; remedy");
        assert_eq!(shown(&["nats"]), "--server: problem; remedy");
    }
}
