//! `tidegate explain`: what is known of one message.

mod decisions;
mod fate;
mod json;
mod known;
mod text;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use super::pause::{Configured, WhichArgs};
use super::{positive, whole_number};
use decisions::Around;
use fate::{Fate, fate, is_of};
use known::Known;
use tidegate_runtime::config::Workload;
use tidegate_runtime::dead_letter::Letter;
use tidegate_runtime::jetstream::{Client, LettersError, Lookup};

const EXAMPLES: &str = "\
Examples:
  tidegate explain orders 7
  tidegate explain orders 7 --around 5m -c prod.toml
  tidegate explain orders 7 --output json | jq .fate";

/// Explains what has become of one message of a workload's stream.
///
/// Tells what the stream, the consumer, the dead letters and the journal's stream know: when it was stored, whether it
/// was delivered and settled or what it waits for, why it died, and the decisions around it. The server does not tell
/// how often a message was delivered that is not dead. Exit code 0: told. 1: the configuration is wrong or has no such
/// workload, the stream is not there, it has no such message and no dead letter of it, or the server does not answer.
/// 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub which: WhichArgs,
    /// The message, by its sequence in the workload's stream
    #[arg(value_name = "SEQUENCE", value_parser = whole_number::<u64>(1..))]
    pub sequence: u64,
    /// Decisions from so long before it was stored until so long after, or after it died
    #[arg(long, value_name = "DURATION", value_parser = positive, default_value = "30s")]
    pub around: Duration,
}

/// Prints to `out` what is known.
///
/// # Errors
/// If the configuration is wrong, the server does not tell, or the answer cannot be written.
pub async fn run(args: &ExplainArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Configured { config, workload, nats } = args.which.configured()?;
    let client = Client::connect(&nats).await?;
    let (queue, sequence) = (&workload.queue, args.sequence);
    let found = client.look_up(&queue.stream, &queue.consumer, sequence).await?;
    let (letters, letters_problem) =
        match letters(&client, &config.dead_letters.stream, &workload, &found, sequence).await {
            Ok(letters) => (letters, None),
            Err(LettersError::NoStream { .. }) => (Vec::new(), None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
    let fate = fate(sequence, &found, !letters.is_empty());
    let stored = found.message.as_ref().map(|message| message.time);
    let stored = stored.or_else(|| letters.first().and_then(|letter| letter.published));
    let around = match (&config.journal.stream, stored) {
        (Some(stream), Some(stored)) => {
            let end = letters.last().map_or(stored, |letter| letter.time.max(stored));
            // The journal is the host's, and so where the host is.
            let journal = if nats == config.nats { client } else { Client::connect(&config.nats).await? };
            Around::read(&journal, &stream.name, &workload.name, (stored, end, args.around)).await
        }
        (None, _) => Around::nothing("no decisions are kept in a stream: journal.stream is not set"),
        (_, None) => Around::nothing("nobody knows when it was stored"),
    };
    let file = args.which.file();
    let known = Known { workload, sequence, found, fate, file, letters, letters_problem, around };
    args.which.output.write(out, &json::of(&known), |out| write!(out, "{}", text::of(&known)))?;
    let is_nowhere = matches!(known.fate, Fate::NotStored | Fate::Deleted);
    Ok(if is_nowhere { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The dead letters of a message.
async fn letters(
    client: &Client,
    stream: &str,
    workload: &Workload,
    found: &Lookup,
    sequence: u64,
) -> Result<Vec<Letter>, LettersError> {
    let letters = client.letters(stream).await?;
    let since = found.message.as_ref().map(|message| message.time);
    let mut of_it = Vec::new();
    let place = (workload.queue.stream.as_str(), sequence);
    // A letter is kept after its message was stored.
    let take = |stored| {
        if let Some(letter) = Letter::read(&stored).filter(|letter| is_of(letter, place, since)) {
            of_it.push(letter);
        }
    };
    letters.scan(Some(&workload.name), since, take).await?;
    Ok(of_it)
}
