//! `tidegate plugin export`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Serialize;
use tidegate_artifacts::{policies, workers};

use crate::commands::output::Output;
use crate::commands::plugin::put::put;
use tidegate_runtime::config::nearest;

const EXAMPLES: &str = "\
Examples:
  tidegate plugin export plugins
  tidegate plugin export plugins receipts backlog
  tidegate plugin export plugins --force        after an upgrade; a host that runs there swaps them at once";

/// Writes the handlers and policies that this program carries into a directory of plugins.
///
/// Each is a file of its name with .wasm behind it. A file of that name with something else in it is not touched
/// without --force. Exit code 0: they are there. 1: they are not; if files are in the way, none was written. 2: wrong
/// usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// The directory, which is made if it is not there
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Which of them [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Replace files that have something else in them
    #[arg(long)]
    pub force: bool,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

/// One that is carried.
#[derive(Debug, Clone, Copy)]
struct Carried {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

/// What became of the file of one.
#[derive(Debug, Serialize)]
struct Exported {
    plugin: &'static str,
    kind: &'static str,
    file: PathBuf,
    /// False: it was there already, as it is.
    written: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    plugins: Vec<Exported>,
}

/// Does it, and prints to `out` what was done.
///
/// # Errors
/// If there is no plugin of a name, files are in the way, or one cannot be written.
pub(super) fn run(args: &ExportArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let answer = Answer { plugins: export(args)? };
    args.output.write(out, &answer, |out| {
        answer.plugins.iter().try_for_each(|one| {
            let done = if one.written { "wrote" } else { "is there already:" };
            writeln!(out, "{done} {} ({})", one.file.display(), one.kind)
        })
    })?;
    Ok(ExitCode::SUCCESS)
}

fn export(args: &ExportArgs) -> anyhow::Result<Vec<Exported>> {
    let dir = &args.dir;
    let mut exported = Vec::new();
    let mut in_the_way = Vec::new();
    for one in chosen(&args.names)? {
        let file = dir.join(format!("{}.wasm", one.name));
        let there = read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let written = there.as_deref() != Some(one.bytes);
        if written && there.is_some() && !args.force {
            in_the_way.push(file.display().to_string());
        }
        exported.push((one, Exported { plugin: one.name, kind: one.kind, file, written }));
    }
    if !in_the_way.is_empty() {
        bail!(
            "not what this program carries, and not touched: {}\n  Nothing was written. Give --force to replace them, \
             or the names of those that you want.",
            in_the_way.join(", ")
        );
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the directory {}", dir.display()))?;
    for (one, exported) in exported.iter().filter(|(_, exported)| exported.written) {
        put(&exported.file, one.bytes).with_context(|| format!("cannot write {}", exported.file.display()))?;
    }
    Ok(exported.into_iter().map(|(_, exported)| exported).collect())
}

/// All that are carried, or those of these names, each once.
fn chosen(names: &[String]) -> anyhow::Result<Vec<Carried>> {
    let of = |kind| move |(name, bytes): &(&'static str, &'static [u8])| Carried { name, kind, bytes };
    let policies = policies::ALL.iter().map(of("policy"));
    let all: Vec<Carried> = workers::ALL.iter().map(of("handler")).chain(policies).collect();
    if let Some(name) = names.iter().find(|name| all.iter().all(|one| one.name != **name)) {
        let known = || all.iter().map(|one| one.name);
        let meant = nearest(name, known()).map(|name| format!("; did you mean {name}?"));
        let there_are = || format!("; it carries {}", known().collect::<Vec<_>>().join(", "));
        bail!("this program carries no plugin {name:?}{}", meant.unwrap_or_else(there_are));
    }
    Ok(all.into_iter().filter(|one| names.is_empty() || names.iter().any(|name| name == one.name)).collect())
}

/// What is in a file, if it is there.
fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
