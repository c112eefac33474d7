//! `tidegate dead purge`.

use std::io::{IsTerminal, Write};
use std::pin::pin;
use std::process::ExitCode;

use futures_util::stream::{self, StreamExt};
use serde_json::json;

use super::filter::{find, hint, not_there};
use super::{AskArgs, USAGE, count};
use crate::cli::{Output, last_word};
use crate::jetstream::{Letters, LettersError};
use crate::letter::Letter;
use crate::letter::filter::Filter;
use crate::terminal::Terminal;

/// How many deletions are under way at once.
const IN_FLIGHT: usize = 64;

const EXAMPLES: &str = "\
Examples:
  tidegate dead purge 42 43
  tidegate dead purge --workload orders --until 720h --yes
  tidegate dead purge --all --dry-run";

/// Deletes dead letters for good.
///
/// It asks before it deletes, unless it is told --yes. Letters that are kept meanwhile stay. Exit code 0: deleted. 1: some
/// are not, or the answer was no, or they cannot be read. 2: wrong usage: nothing says which letters, or there is no
/// terminal to ask on and no --yes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct PurgeArgs {
    /// The letters, by their sequence in the stream of dead letters
    #[arg(value_name = "SEQUENCE", value_parser = clap::value_parser!(u64).range(1..))]
    pub sequences: Vec<u64>,
    /// All letters; needed where nothing else says which
    #[arg(long)]
    pub all: bool,
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

pub(super) async fn run<F: Future<Output = ()>>(
    args: &PurgeArgs,
    terminal: &Terminal,
    out: &mut impl Write,
    interrupted: impl FnOnce() -> std::io::Result<F>,
) -> anyhow::Result<ExitCode> {
    let filter = args.ask.filter.filter();
    if let Some(problem) = problem(args, &filter) {
        last_word::write(problem);
        return Ok(ExitCode::from(USAGE));
    }
    let letters = args.ask.place.open().await?;
    let mut matched = Vec::new();
    let found = find(&letters, &filter, &args.sequences, |letter, _| matched.push(letter)).await?;
    let total = matched.len();
    if total == 0
        && let Some(hint) = hint(&letters, &filter).await?
    {
        last_word::write(&hint);
    }
    if !args.dry_run && !args.yes && total > 0 && !confirmed(total, letters.stream())? {
        last_word::write("nothing is deleted");
        return Ok(ExitCode::FAILURE);
    }
    let by_workload = args.sequences.is_empty() && filter.is_by_workload();
    let purged = match args.dry_run {
        true => Ok(0),
        false if by_workload => {
            letters.purge(filter.workload.as_deref()).await.map(|_| total).map_err(|error| (0, error))
        }
        false => delete(&letters, matched, terminal, interrupted()?).await,
    };
    let (purged, error) = match purged {
        Ok(purged) => (purged, None),
        Err((purged, error)) => (purged, Some(error)),
    };
    if let Some(missing) = not_there(&found.missing, &letters) {
        last_word::write(&missing);
    }
    match args.ask.output {
        Output::Json => {
            let object = json!({
                "stream": letters.stream(), "dry_run": args.dry_run, "matched": total, "purged": purged, "missing": found.missing
            });
            serde_json::to_writer(&mut *out, &object)?;
            writeln!(out)?;
        }
        Output::Text if args.dry_run => writeln!(out, "would delete {}", count(total))?,
        Output::Text => writeln!(out, "deleted {purged} of {}", count(total))?,
    }
    out.flush()?;
    if let Some(error) = error {
        return Err(error.into());
    }
    let whole = found.missing.is_empty() && (args.dry_run || purged == total);
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong with the arguments, before anything is done.
fn problem(args: &PurgeArgs, filter: &Filter) -> Option<&'static str> {
    let some = !args.sequences.is_empty() || *filter != Filter::default();
    if !some && !args.all {
        return Some("nothing says which dead letters to delete; give a filter or sequences, or --all");
    }
    if some && args.all {
        return Some("--all deletes all dead letters; leave out the filter and the sequences, or --all");
    }
    let asks = !args.yes && !args.dry_run;
    if asks && !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Some("this is no terminal to ask on; --yes deletes without asking, --dry-run only counts");
    }
    None
}

fn confirmed(total: usize, stream: &str) -> std::io::Result<bool> {
    write!(std::io::stderr(), "Delete {} from {stream} for good? [y/N] ", count(total))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Deletes one by one. An error comes with how many were deleted before.
async fn delete(
    letters: &Letters,
    matched: Vec<Letter>,
    terminal: &Terminal,
    interrupted: impl Future<Output = ()>,
) -> Result<usize, (usize, LettersError)> {
    let bar = terminal.bar(u64::try_from(matched.len()).unwrap_or(u64::MAX));
    let deletions = stream::iter(&matched).map(|letter| letters.delete(letter)).buffer_unordered(IN_FLIGHT);
    let (mut deletions, mut interrupted) = (pin!(deletions), pin!(interrupted));
    let mut purged = 0;
    loop {
        tokio::select! {
            deleted = deletions.next() => match deleted {
                Some(Ok(_)) => purged += 1,
                Some(Err(error)) => return Err((purged, error)),
                None => return Ok(purged),
            },
            () = &mut interrupted => return Ok(purged),
        }
        bar.advance();
    }
}
