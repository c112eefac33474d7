//! Configurations as users write them. By topic: what is decided, what is refused, what wins, what always holds; and
//! the documents about them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod decided;
mod layers;
mod own_account;
mod own_streams;
mod properties;
mod reference;
mod refused;

use std::path::PathBuf;
use std::time::Duration;

use super::keys::{HOST, WORKLOAD};
use super::*;

/// The least that runs.
const LEAST: &str = "[workload.orders]\nstream = \"ORDERS\"\nhandler = \"receipts\"\npolicy = \"backlog\"\n";

/// The flags of a line, which the command line reads in the same way but for its own checks.
fn flags(line: &str) -> Flags {
    let (mut flags, mut words) = (Flags::default(), line.split_whitespace());
    while let Some(word) = words.next() {
        let name = word.strip_prefix("--").unwrap();
        if let Some(key) = HOST.iter().find(|key| key.switch.is_some_and(|(switch, ..)| switch == name)) {
            flags.host.add(key, word, Value::Text(key.switch.unwrap().1.to_owned()));
            continue;
        }
        let text = words.next().unwrap();
        let of = |keys: &'static [keys::Key]| keys.iter().find(|key| key.flag == Some(name));
        match (name, of(HOST), of(WORKLOAD)) {
            ("config", ..) => flags.file = Some(text.into()),
            ("workload", ..) => flags.workload_name = Some(text.to_owned()),
            (_, Some(key), _) => flags.host.add(key, word, key.parse(text).unwrap()),
            (_, _, Some(key)) => flags.workload.add(key, word, key.parse(text).unwrap()),
            _ => panic!("{word} is no flag"),
        }
    }
    flags
}

fn variables(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A directory with `text` as tidegate.toml, and the flag that names it.
fn written(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.toml");
    std::fs::write(&path, text).unwrap();
    let flag = format!("--config {}", path.display());
    (directory, flag)
}

fn errors(text: &str) -> Vec<String> {
    Config::from_toml(text).unwrap_err().0.iter().map(ToString::to_string).collect()
}
