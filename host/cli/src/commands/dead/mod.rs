//! `tidegate dead`: dead letters, listed, shown, sent back and deleted.

mod args;
mod filter;
mod list;
mod purge;
mod redrive;
mod show;
mod table;
mod turns;

use std::io::Write;
use std::process::ExitCode;

use tidegate_lab::terminal::Terminal;

pub(super) use table::{object, seconds};

pub use args::{AskArgs, PlaceArgs};
pub use filter::FilterArgs;
pub use list::ListArgs;
pub use purge::PurgeArgs;
pub use redrive::RedriveArgs;
pub use show::ShowArgs;

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
