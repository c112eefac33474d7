//! Configurations as users write them. By topic: what is decided, what is refused, what wins, what always holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod decided;
mod layers;
mod properties;
mod refused;

use clap::Parser;

use super::*;

/// The least that runs.
const LEAST: &str = "[workload.orders]\nstream = \"ORDERS\"\nhandler = \"receipts\"\npolicy = \"backlog\"\n";

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
}

fn flags(line: &str) -> Flags {
    Cli::try_parse_from(std::iter::once("tidegate").chain(line.split_whitespace())).unwrap().flags
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
