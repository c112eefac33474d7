//! What the commands about dead letters have in common: which letters, where they are, and how many that are.

use super::filter::FilterArgs;
use crate::commands::flags::ConnectionFlags;
use crate::commands::output::Output;
use tidegate_runtime::config::{DeadLetters, Nats, process_environment};
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
