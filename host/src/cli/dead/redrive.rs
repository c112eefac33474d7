//! `tidegate dead redrive`.

use std::io::Write;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::filter::{find, hint, not_there};
use super::show::content_lost;
use super::{AskArgs, count};
use crate::cli::{Output, last_word};
use crate::jetstream::{Letters, SendError};
use crate::letter::Letter;
use crate::terminal::Terminal;

/// How many letters may wait for their PubAck or their deletion at once.
const IN_FLIGHT: usize = 64;
/// How many errors are told one by one.
const TOLD: usize = 20;

const EXAMPLES: &str = "\
Examples:
  tidegate dead redrive 42 43
  tidegate dead redrive --workload orders --cause time --since 2h --rate 100
  tidegate dead redrive --dry-run --output json";

/// Publishes dead letters again, each on its original subject, and removes those that are stored.
///
/// Payload and headers are the original's. The message id is a new one that names the original and is always the same for
/// the same letter: a redrive that was cut can be run again. What dies meanwhile is not redriven. Exit code 0: all that
/// matched are stored again. 1: some are not and stay, or it was interrupted, or they cannot be read. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RedriveArgs {
    /// The letters, by their sequence in the stream of dead letters [default: all that match]
    #[arg(value_name = "SEQUENCE", value_parser = clap::value_parser!(u64).range(1..))]
    pub sequences: Vec<u64>,
    /// Leave the letters where they are
    #[arg(long)]
    pub keep: bool,
    /// Only say how many would be published
    #[arg(long)]
    pub dry_run: bool,
    /// At most so many a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub ask: AskArgs,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Counts {
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
enum Became {
    Redriven { duplicate: bool, removed: bool },
    Gone,
    Failed(SendError),
}

pub(super) async fn run<F: Future<Output = ()>>(
    args: &RedriveArgs,
    terminal: &Terminal,
    out: &mut impl Write,
    interrupted: impl FnOnce() -> std::io::Result<F>,
) -> anyhow::Result<ExitCode> {
    let letters = args.ask.place.open().await?;
    let filter = args.ask.filter.filter();
    let mut sequences = Vec::new();
    let found = find(&letters, &filter, &args.sequences, |letter, _| sequences.push(letter.sequence)).await?;
    let mut counts = Counts {
        stream: letters.stream().to_owned(),
        dry_run: args.dry_run,
        matched: sequences.len(),
        missing: found.missing,
        ..Counts::default()
    };
    if !args.dry_run {
        redrive(&letters, args, &sequences, &mut counts, terminal, interrupted()?).await;
    }
    for Failed { sequence, error } in counts.errors.iter().take(TOLD) {
        last_word::write(&format!("dead letter {sequence} stays: {error}"));
    }
    if counts.errors.len() > TOLD {
        last_word::write(&format!("{} more stay", counts.errors.len() - TOLD));
    }
    if let Some(missing) = not_there(&counts.missing, &letters) {
        last_word::write(&missing);
    }
    if sequences.is_empty()
        && let Some(hint) = hint(&letters, &filter).await?
    {
        last_word::write(&hint);
    }
    match args.ask.output {
        Output::Json => serde_json::to_writer(&mut *out, &counts)?,
        Output::Text => write!(out, "{}", told(&counts, args.keep))?,
    }
    writeln!(out)?;
    out.flush()?;
    let whole = counts.failed == 0 && counts.missing.is_empty() && !counts.interrupted;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(counts: &Counts, keep: bool) -> String {
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
    counts: &mut Counts,
    terminal: &Terminal,
    interrupted: impl Future<Output = ()>,
) {
    let bar = terminal.bar(u64::try_from(sequences.len()).unwrap_or(u64::MAX));
    let mut interrupted = pin!(interrupted);
    let mut pace = args.rate.map(pace);
    let mut flying = FuturesUnordered::new();
    let mut left = sequences.iter().peekable();
    let mut stop = false;
    loop {
        let turn = async {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
        };
        tokio::select! {
            biased;
            () = &mut interrupted, if !stop => stop = true,
            () = turn, if !stop && left.peek().is_some() && flying.len() < IN_FLIGHT => {
                flying.extend(left.next().map(|sequence| one(letters, *sequence, args.keep)));
            }
            Some((sequence, became)) = flying.next(), if !flying.is_empty() => {
                bar.advance();
                stop |= matches!(&became, Became::Failed(SendError::Server(_)));
                add(counts, sequence, became);
                bar.say(format!("{} redriven, {} failed", counts.redriven, counts.failed));
            }
            else => break,
        }
        if flying.is_empty() && (stop || left.peek().is_none()) {
            break;
        }
    }
    counts.interrupted = left.next().is_some();
}

fn pace(rate: u32) -> Interval {
    let mut pace = interval(Duration::from_secs(1) / rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

fn add(counts: &mut Counts, sequence: u64, became: Became) {
    match became {
        Became::Redriven { duplicate, removed } => {
            counts.redriven += 1;
            counts.duplicates += usize::from(duplicate);
            counts.removed += usize::from(removed);
        }
        Became::Gone => counts.gone += 1,
        Became::Failed(error) => {
            counts.failed += 1;
            counts.errors.push(Failed { sequence, error: error.to_string() });
        }
    }
}

async fn one(letters: &Letters, sequence: u64, keep: bool) -> (u64, Became) {
    let became = send(letters, sequence, keep).await.unwrap_or_else(Became::Failed);
    (sequence, became)
}

async fn send(letters: &Letters, sequence: u64, keep: bool) -> Result<Became, SendError> {
    let server = |error: crate::jetstream::LettersError| SendError::Server(error.to_string());
    let stored = letters.get(sequence).await.map_err(server)?;
    let Some((letter, stored)) = stored.and_then(|stored| Some((Letter::read(&stored)?, stored))) else {
        return Ok(Became::Gone);
    };
    let original = letters.original(&letter, &stored).await.map_err(server)?;
    let original = original.ok_or_else(|| SendError::Letter(content_lost(sequence)))?;
    let duplicate = letters.send(&letter, original).await?.await?;
    let removed = match keep {
        true => false,
        false => letters
            .delete(&letter)
            .await
            .map_err(|error| SendError::Server(format!("published, and not removed: {error}")))?,
    };
    Ok(Became::Redriven { duplicate, removed })
}
