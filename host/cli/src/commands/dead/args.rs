//! What the commands about dead letters have in common: which letters, where they are, and how many that are.

use super::filter::FilterArgs;
use crate::commands::flags::ConnectionFlags;
use crate::commands::output::Output;
use crate::commands::whole_number;
use tidegate_runtime::config::{DeadLetters, Nats, process_environment};
use tidegate_runtime::dead_letter::filter::Filter;
use tidegate_runtime::jetstream::{Client, Letters};

/// The arguments fit together in no way, as clap has it for its own.
pub(super) const USAGE: u8 = 2;

/// Which letters, where they are, and how the answer is printed.
#[derive(Debug, Clone, clap::Args)]
pub struct AskArgs {
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub filter: FilterArgs,
    #[allow(missing_docs)]
    #[command(flatten, next_help_heading = "Connection")]
    pub place: PlaceArgs,
}

/// Which letters to change: nothing is changed unless something says which.
#[derive(Debug, Clone, clap::Args)]
pub struct SelectionArgs {
    /// The letters, by their sequence in the stream of dead letters
    #[arg(value_name = "SEQUENCE", value_parser = whole_number::<u64>(1..))]
    pub sequences: Vec<u64>,
    /// All letters; needed where nothing else says which
    #[arg(long)]
    pub all: bool,
}

impl SelectionArgs {
    /// What is wrong with the arguments: they say nothing about which letters, or contradict each other.
    pub(super) fn problem(&self, verb: &str, filter: &Filter) -> Option<String> {
        let some = !self.sequences.is_empty() || *filter != Filter::default();
        match (some, self.all) {
            (false, false) => {
                Some(format!("nothing says which dead letters to {verb}; give a filter or sequences, or --all"))
            }
            (true, true) => {
                Some("--all means all dead letters; leave out the filter and the sequences, or --all".to_owned())
            }
            _ => None,
        }
    }
}

/// Where the dead letters are.
#[derive(Debug, Clone, clap::Args)]
pub struct PlaceArgs {
    /// The stream that keeps dead letters
    #[arg(long, value_name = "STREAM", default_value = DeadLetters::STREAM)]
    pub dead_letters: String,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub connection: ConnectionFlags,
}

impl PlaceArgs {
    pub(super) async fn open(&self) -> anyhow::Result<Letters> {
        let nats = Nats::load(&self.connection.0, None, &process_environment())?;
        Ok(Client::connect(&nats).await?.letters(&self.dead_letters).await?)
    }
}

/// `1 dead letter`, `2 dead letters`.
pub(super) fn count(letters: usize) -> String {
    format!("{letters} dead letter{}", if letters == 1 { "" } else { "s" })
}
