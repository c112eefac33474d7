//! `tidegate dead`: dead letters, listed, shown, sent back and deleted.

mod filter;
mod list;
mod purge;
mod redrive;
mod show;
mod table;
mod turns;

use std::io::Write;
use std::process::ExitCode;

use super::Output;
use crate::commands::flags::ConnectionFlags;
use tidegate_lab::terminal::Terminal;
use tidegate_runtime::config::{DeadLetters, Nats, process_environment};
use tidegate_runtime::jetstream::{Client, Letters};

pub use filter::FilterArgs;
pub use list::ListArgs;
pub use purge::PurgeArgs;
pub use redrive::RedriveArgs;
pub use show::ShowArgs;

/// The arguments fit together in no way, as clap has it for its own.
const USAGE: u8 = 2;

/// Lists, shows, sends back or deletes dead letters.
///
/// A dead letter is a message that was not to be tried again, kept with the reason. Exit codes stand in the help of
/// each command.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  tidegate dead list --workload orders --cause trapped
  tidegate dead show 42
  tidegate dead redrive --workload orders --since 2h")]
pub struct DeadArgs {
    /// What to do
    #[command(subcommand)]
    pub command: DeadCommand,
}

/// What to do with dead letters.
#[derive(Debug, Clone, clap::Subcommand)]
#[allow(missing_docs, reason = "their help is that of their arguments")]
pub enum DeadCommand {
    List(Box<ListArgs>),
    Show(Box<ShowArgs>),
    Redrive(Box<RedriveArgs>),
    Purge(Box<PurgeArgs>),
}

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
    async fn open(&self) -> anyhow::Result<Letters> {
        let nats = Nats::load(&self.connection.0, None, &process_environment())?;
        Ok(Client::connect(&nats).await?.letters(&self.dead_letters).await?)
    }
}

/// Does it, and prints the answer to `out`. `interrupted` is called where the work
/// is such that it should end between two letters, and its future ends it.
///
/// # Errors
/// When there is no connection, no such stream, or the answer cannot be written.
pub async fn run<F: Future<Output = ()>>(
    args: DeadArgs,
    terminal: &Terminal,
    out: &mut impl Write,
    interrupted: impl FnOnce() -> std::io::Result<F>,
) -> anyhow::Result<ExitCode> {
    match args.command {
        DeadCommand::List(args) => list::run(&args, out).await,
        DeadCommand::Show(args) => show::run(&args, out).await,
        DeadCommand::Redrive(args) => redrive::run(&args, terminal, out, interrupted).await,
        DeadCommand::Purge(args) => purge::run(&args, terminal, out, interrupted).await,
    }
}

/// `1 dead letter`, `2 dead letters`.
fn count(letters: usize) -> String {
    format!("{letters} dead letter{}", if letters == 1 { "" } else { "s" })
}
