//! `tidegate dead purge`.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use serde::Serialize;

use super::args::{AskArgs, SelectionArgs, USAGE, count};
use super::filter::{Found, find, not_there, nothing_found};
use super::turns::turns;
use crate::commands::error_output;
use tidegate_lab::terminal::Terminal;
use tidegate_runtime::dead_letter::filter::Filter;
use tidegate_runtime::dead_letter::{Content, Letter};
use tidegate_runtime::jetstream::{Letters, LettersError};

const EXAMPLES: &str = "\
Examples:
  tidegate dead purge 42 43
  tidegate dead purge --workload orders --until 720h --yes
  tidegate dead purge --all --dry-run";

/// Deletes dead letters for good.
///
/// It asks before it deletes, unless it is told --yes. Letters that are kept meanwhile stay, and what is said to be
/// deleted is what the server says it has deleted. Exit code 0: those that matched are gone. 1: some are not, or the
/// answer was no, or it was interrupted, or they cannot be read. 2: wrong usage: nothing says which letters, or there
/// is no terminal to ask on and no --yes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct PurgeArgs {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Only say how many would be deleted
    #[arg(long)]
    pub dry_run: bool,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub ask: AskArgs,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct PurgeCounts {
    stream: String,
    dry_run: bool,
    /// Letters that match.
    matched: usize,
    /// Those that the server has deleted.
    purged: usize,
    /// Those that were gone when their turn came.
    gone: usize,
    /// Sequences that are no letters.
    missing: Vec<u64>,
    /// Messages of the stream that are no letters and stay, as they are somebody else's.
    foreign: usize,
    /// Whether it ended before all had their turn.
    interrupted: bool,
}

pub(super) async fn run<F: Future<Output = ()>>(
    args: &PurgeArgs,
    terminal: &Terminal,
    out: &mut impl Write,
    interrupted: impl FnOnce() -> std::io::Result<F>,
) -> anyhow::Result<ExitCode> {
    let filter = args.ask.filter.filter();
    if let Some(problem) = problem(args, &filter) {
        error_output::write(&problem);
        return Ok(ExitCode::from(USAGE));
    }
    let letters = args.ask.place.open(args.ask.filter.workload.as_deref()).await?;
    let mut matched = Vec::new();
    let found = find(&letters, &filter, &args.selection.sequences, |letter, _| matched.push(letter)).await?;
    let mut counts = PurgeCounts {
        stream: letters.stream().to_owned(),
        dry_run: args.dry_run,
        matched: matched.len(),
        foreign: found.foreign,
        ..PurgeCounts::default()
    };
    let whole = whole(args, &filter, &matched, &found);
    // What a host left half-way goes with the letters where all of them go.
    let orphans = if whole { found.strays } else { 0 };
    let some = counts.matched + orphans > 0;
    if counts.matched == 0 && found.missing.is_empty() {
        error_output::write(&nothing_found(&letters, &filter).await?);
    }
    if !args.dry_run && !args.yes && some && !confirmed(counts.matched, letters.stream())? {
        error_output::write("nothing is deleted");
        return Ok(ExitCode::FAILURE);
    }
    let mut error = None;
    if !args.dry_run && some {
        let purged = match whole {
            true => all(&letters, &filter, orphans, &mut counts).await,
            false => one_by_one(&letters, &matched, &mut counts, terminal, interrupted()?).await,
        };
        error = purged.err();
    }
    if let Some(missing) = not_there(&found.missing, &letters) {
        error_output::write(&missing);
    }
    counts.missing = found.missing;
    args.ask.output.write(out, &counts, |out| writeln!(out, "{}", told(&counts)))?;
    if let Some(error) = error {
        return Err(error.into());
    }
    let done = counts.missing.is_empty() && (args.dry_run || counts.purged + counts.gone == counts.matched);
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong with the arguments, before anything is done.
fn problem(args: &PurgeArgs, filter: &Filter) -> Option<String> {
    let asks = !args.yes && !args.dry_run;
    args.selection.problem("delete", filter).or_else(|| {
        (asks && !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()))
            .then(|| "this is no terminal to ask on; --yes deletes without asking, --dry-run only counts".to_owned())
    })
}

/// Whether one request deletes exactly what was found: all that was there on its subjects, and a message for each
/// letter.
fn whole(args: &PurgeArgs, filter: &Filter, matched: &[Letter], found: &Found) -> bool {
    let apart = |letter: &Letter| matches!(letter.content, Content::Apart { .. });
    args.selection.sequences.is_empty() && filter.is_by_workload() && found.foreign == 0 && !matched.iter().any(apart)
}

fn confirmed(total: usize, stream: &str) -> std::io::Result<bool> {
    write!(std::io::stderr(), "Delete {} from {stream} for good? [y/N] ", count(total))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn told(counts: &PurgeCounts) -> String {
    if counts.dry_run {
        return format!("would delete {}", count(counts.matched));
    }
    let mut text = format!("deleted {} of {}", counts.purged, count(counts.matched));
    if counts.gone > 0 {
        text.push_str(&format!("; {} were gone when their turn came", counts.gone));
    }
    if counts.foreign > 0 {
        text.push_str(&format!("; {} messages that are no dead letters stay", counts.foreign));
    }
    if counts.interrupted {
        text.push_str("; ended before all had their turn");
    }
    text
}

/// Deletes all letters, or all of a workload, with one request. So many messages beside them are no letters.
async fn all(letters: &Letters, filter: &Filter, orphans: usize, counts: &mut PurgeCounts) -> Result<(), LettersError> {
    let purged = letters.purge(filter.workload.as_deref()).await?;
    let purged = usize::try_from(purged).unwrap_or(usize::MAX);
    counts.purged = purged.saturating_sub(orphans).min(counts.matched);
    counts.gone = counts.matched - counts.purged;
    Ok(())
}

/// Deletes letter by letter, and ends at the first that the server refuses.
async fn one_by_one(
    letters: &Letters,
    matched: &[Letter],
    counts: &mut PurgeCounts,
    terminal: &Terminal,
    interrupted: impl Future<Output = ()>,
) -> Result<(), LettersError> {
    let bar = terminal.bar(u64::try_from(matched.len()).unwrap_or(u64::MAX));
    let mut refused = Ok(());
    let done = |deleted: Result<bool, LettersError>| {
        bar.advance();
        match deleted {
            Ok(true) => counts.purged += 1,
            Ok(false) => counts.gone += 1,
            Err(error) => {
                refused = Err(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    let left = turns(matched, None, interrupted, |letter: &Letter| letters.delete(letter), done).await;
    counts.interrupted = left > 0 && refused.is_ok();
    refused
}
