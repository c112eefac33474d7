//! `tidegate dead redrive`.

use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

use serde::Serialize;

use super::args::{AskArgs, SelectionArgs, USAGE, count};
use super::filter::{find, not_there, nothing_found};
use super::turns::turns;
use crate::commands::error_output;
use crate::commands::whole_number;
use tidegate_lab::terminal::Terminal;
use tidegate_runtime::jetstream::{Letters, Redriven, SendError};

/// How many errors are told one by one.
const TOLD: usize = 20;

const EXAMPLES: &str = "\
Examples:
  tidegate dead redrive 42 43
  tidegate dead redrive --workload orders --cause time --since 2h --rate 100
  tidegate dead redrive --all --dry-run --output json";

/// Publishes dead letters again, each on its original subject, and removes those that are stored.
///
/// Payload and headers are the original's. The message id is a new one that names the original and is always the same
/// for the same letter: a redrive that was cut can be run again. What dies meanwhile is not redriven. A letter goes
/// back into the stream that its message died in, or one that this takes its messages from: where another stream takes
/// the subject now, the letter stays. Exit code 0: all that matched are stored again, if any did. 1: some are not and
/// stay, or it was interrupted, or they cannot be read. 2: wrong usage: nothing says which letters.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RedriveArgs {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Into this stream, whichever they died in
    #[arg(long, value_name = "STREAM")]
    pub into: Option<String>,
    /// Leave the letters where they are
    #[arg(long)]
    pub keep: bool,
    /// Only say how many would be published
    #[arg(long)]
    pub dry_run: bool,
    /// At most so many a second
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(1..=1_000_000))]
    pub rate: Option<u32>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub ask: AskArgs,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct RedriveCounts {
    stream: String,
    dry_run: bool,
    /// Letters that match.
    matched: usize,
    /// Those that a stream has stored again.
    redriven: usize,
    /// Of these, those that the stream had already, from a redrive before this one.
    duplicates: usize,
    /// Of these, those that were removed.
    removed: usize,
    /// Those that were gone when their turn came, as by another redrive.
    gone: usize,
    /// Those that could not be published or removed, and stay.
    failed: usize,
    /// Sequences that are no letters.
    missing: Vec<u64>,
    /// Whether it ended before all had their turn.
    interrupted: bool,
    errors: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    sequence: u64,
    error: String,
}

/// What became of one letter.
type Became = Result<Redriven, SendError>;

pub(super) async fn run<F: Future<Output = ()>>(
    args: &RedriveArgs,
    terminal: &Terminal,
    out: &mut impl Write,
    interrupted: impl FnOnce() -> std::io::Result<F>,
) -> anyhow::Result<ExitCode> {
    let filter = args.ask.filter.filter();
    if let Some(problem) = args.selection.problem("send back", &filter) {
        error_output::write(&problem);
        return Ok(ExitCode::from(USAGE));
    }
    let letters = args.ask.place.open(args.ask.filter.workload.as_deref()).await?;
    let mut sequences = Vec::new();
    let found = find(&letters, &filter, &args.selection.sequences, |letter, _| sequences.push(letter.sequence)).await?;
    let mut counts = RedriveCounts {
        stream: letters.stream().to_owned(),
        dry_run: args.dry_run,
        matched: sequences.len(),
        missing: found.missing,
        ..RedriveCounts::default()
    };
    if !args.dry_run && !sequences.is_empty() {
        if !args.keep {
            // Or letters that are stored again would stay, to be stored once more by the next redrive.
            letters.may_delete().await?;
        }
        redrive(&letters, args, &sequences, &mut counts, terminal, interrupted()?).await;
    }
    for Failed { sequence, error } in counts.errors.iter().take(TOLD) {
        error_output::write(&format!("dead letter {sequence} stays: {error}"));
    }
    if counts.errors.len() > TOLD {
        error_output::write(&format!("{} more stay", counts.errors.len() - TOLD));
    }
    if let Some(missing) = not_there(&counts.missing, &letters) {
        error_output::write(&missing);
    }
    if sequences.is_empty() && counts.missing.is_empty() {
        error_output::write(&nothing_found(&letters, &filter).await?);
    }
    args.ask.output.write(out, &counts, |out| writeln!(out, "{}", told(&counts, args.keep)))?;
    let whole = counts.failed == 0 && counts.missing.is_empty() && !counts.interrupted;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(counts: &RedriveCounts, keep: bool) -> String {
    if counts.dry_run {
        return format!("would redrive {}", count(counts.matched));
    }
    let mut text = format!("redrove {} of {}", counts.redriven, count(counts.matched));
    for (number, what) in [
        (counts.duplicates, "had been stored again before"),
        (counts.gone, "were gone when their turn came"),
        (counts.failed, "failed and stay"),
    ] {
        if number > 0 {
            text.push_str(&format!("; {number} {what}"));
        }
    }
    if keep {
        text.push_str("; all are kept");
    }
    if counts.interrupted {
        text.push_str("; ended before all had their turn, and can be run again");
    }
    text
}

async fn redrive(
    letters: &Letters,
    args: &RedriveArgs,
    sequences: &[u64],
    counts: &mut RedriveCounts,
    terminal: &Terminal,
    interrupted: impl Future<Output = ()>,
) {
    let bar = terminal.bar(u64::try_from(sequences.len()).unwrap_or(u64::MAX));
    let work = |sequence: &u64| one(letters, *sequence, args);
    let done = |(sequence, became): (u64, Became)| {
        bar.advance();
        let end = matches!(&became, Err(SendError::Server(_)));
        add(counts, sequence, became);
        bar.say(format!("{} redriven, {} failed", counts.redriven, counts.failed));
        if end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let left = turns(sequences, args.rate, interrupted, work, done).await;
    counts.interrupted = left > 0;
}

fn add(counts: &mut RedriveCounts, sequence: u64, became: Became) {
    match became {
        Ok(Redriven::Stored { duplicate, removed }) => {
            counts.redriven += 1;
            counts.duplicates += usize::from(duplicate);
            counts.removed += usize::from(removed);
        }
        Ok(Redriven::Gone) => counts.gone += 1,
        Err(error) => {
            counts.failed += 1;
            counts.errors.push(Failed { sequence, error: error.to_string() });
        }
    }
}

async fn one(letters: &Letters, sequence: u64, args: &RedriveArgs) -> (u64, Became) {
    (sequence, letters.redrive(sequence, args.into.as_deref(), args.keep).await)
}
