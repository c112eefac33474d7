//! `tidegate dead list`.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde::Serializer as _;

use super::args::{AskArgs, count};
use super::filter::{find, nothing_found};
use super::table::{object, table};
use crate::commands::error_output;
use crate::commands::output::Output;
use tidegate_runtime::dead_letter::Letter;

/// How many letters a person is shown.
const SHOWN: usize = 50;

const EXAMPLES: &str = "\
Examples:
  tidegate dead list
  tidegate dead list --workload orders --cause trapped,time --since 2h
  tidegate dead list --output json | jq '.[].sequence'";

/// Lists dead letters, the newest first.
///
/// As text it is a table, whose times are UTC and whose lines end where the terminal does; as JSON one array with an
/// object for each letter. Exit code 0: listed, even if there are none. 1: they cannot be read, or the stream is not
/// there. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ListArgs {
    /// The oldest first
    #[arg(long)]
    pub oldest: bool,
    /// At most so many, from the side that is first; 0 is all [default: 50; all as JSON]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub ask: AskArgs,
}

pub(super) async fn run(args: &ListArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let letters = args.ask.place.open(args.ask.filter.workload.as_deref()).await?;
    let filter = args.ask.filter.filter();
    let limit = match (args.limit, args.ask.output) {
        (Some(0), _) | (None, Output::Json) => usize::MAX,
        (Some(limit), _) => limit,
        (None, Output::Text) => SHOWN,
    };
    let mut all = 0;
    let mut kept: VecDeque<(Letter, usize)> = VecDeque::new();
    let found = find(&letters, &filter, &[], |letter, size| {
        all += 1;
        if args.oldest && kept.len() == limit {
            return;
        }
        kept.push_back((letter, size));
        if kept.len() > limit {
            kept.pop_front();
        }
    });
    let found = found.await?;
    let mut kept = Vec::from(kept);
    if !args.oldest {
        kept.reverse();
    }
    match args.ask.output {
        Output::Json => {
            // One by one: an object takes far more memory than its letter.
            let mut list = serde_json::Serializer::new(&mut *out);
            list.collect_seq(kept.iter().map(|(letter, size)| object(letter, *size)))?;
            writeln!(out)?;
        }
        Output::Text if kept.is_empty() => {}
        Output::Text => {
            let width = std::io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
            write!(out, "{}", table(&kept, width.map(|(width, _)| usize::from(width.0))))?;
        }
    }
    out.flush()?;
    if all == 0 {
        error_output::write(&nothing_found(&letters, &filter).await?);
    } else if kept.len() < all {
        error_output::write(&format!("{} of {}; --limit shows more", kept.len(), count(all)));
    }
    if found.strays > 0 {
        let stream = letters.stream();
        error_output::write(&format!(
            "{} messages in {stream} are no dead letters; `nats stream view {stream}` shows them",
            found.strays
        ));
    }
    if let Some(unreadable) = unreadable(&found.unreadable, letters.stream()) {
        error_output::write(&unreadable);
    }
    Ok(ExitCode::SUCCESS)
}

/// What is said of messages of which nobody can say what they are: whoever may publish dead letters can send such.
fn unreadable(sequences: &[u64], stream: &str) -> Option<String> {
    let first = sequences.first()?;
    let mut list: Vec<String> = sequences.iter().take(SHOWN).map(u64::to_string).collect();
    if sequences.len() > SHOWN {
        list.push(format!("and {} more", sequences.len() - SHOWN));
    }
    Some(format!(
        "the headers of messages in {stream} cannot be read: {}; `nats stream rmm {stream} {first}` deletes one",
        list.join(", ")
    ))
}
