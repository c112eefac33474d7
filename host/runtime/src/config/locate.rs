//! Where a key was written, for what is found out about it after the configuration was read.

use toml::de::{DeTable, DeValue};

use super::document::FileText;
use super::error::{ConfigError, SourcePosition};
use super::files::{ConfigFiles, ConfigText};
use super::flags::Flags;
use super::keys::{HOST, WORKLOAD};

/// Finds where a key was written: in a file, or by flags alone.
#[derive(Debug, Clone, Default)]
pub struct KeyLocator {
    /// The configuration file, and then its fragments.
    files: Vec<ConfigText>,
}

impl KeyLocator {
    /// For what a configuration is read from. A file that cannot be read has no places.
    pub fn of(flags: &Flags) -> Self {
        let read = ConfigFiles::of(flags).and_then(|files| files.read().ok());
        Self { files: read.map(|(main, fragments)| [main].into_iter().chain(fragments).collect()).unwrap_or_default() }
    }

    /// An error about the key at `path`; where that was not written, about the innermost table of it that was.
    pub fn error(&self, path: &[&str], problem: &str, remedy: &str) -> ConfigError {
        self.place(path).error(problem, remedy)
    }

    fn place(&self, path: &[&str]) -> SourcePosition {
        let found = self.files.iter().find(|file| has_workload(file, path)).or(self.files.first());
        let Some(ConfigText { path: file, text }) = found else {
            return SourcePosition::named(&format!("--{}", flag(path)));
        };
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

/// Whether a file has the workload that a path is of.
fn has_workload(file: &ConfigText, path: &[&str]) -> bool {
    let ["workload", name, ..] = path else { return false };
    let (document, _) = DeTable::parse_recoverable(&file.text);
    let workloads = document.get_ref().get("workload").map(|workloads| workloads.get_ref());
    matches!(workloads, Some(DeValue::Table(workloads)) if workloads.contains_key(*name))
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
        let file = |path: &str, text: &str| ConfigText { path: path.into(), text: text.to_owned() };
        let fragment = file("workloads.d/more.toml", "\n[workload.more]\nstream = \"M\"\n");
        let written = KeyLocator { files: vec![file("tidegate.toml", text), fragment] };
        for (path, line) in [
            (&["workload", "orders", "stream"][..], 4),
            (&["workload", "orders", "grants", "publish"], 5),
            (&["workload", "orders", "consumer"], 3),
            (&["nats"], 1),
        ] {
            let shown = written.error(path, "problem", "remedy").to_string();
            assert_eq!(shown, format!("tidegate.toml:{line}: {}: problem; remedy", path.join(".")));
        }
        let shown = written.error(&["workload", "more", "stream"], "problem", "remedy").to_string();
        assert_eq!(shown, "workloads.d/more.toml:3: workload.more.stream: problem; remedy");
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
