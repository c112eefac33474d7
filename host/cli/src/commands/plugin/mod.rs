//! `tidegate plugin`.

mod bucket;
#[cfg(feature = "guests")]
mod export;
mod fetch;
mod list;
mod push;
mod put;
mod remove;
mod show;
mod sign;
mod verify;

use std::io::Write;
use std::process::ExitCode;

/// Lists, pins, signs and verifies plugins, puts them into a bucket or a registry and takes them out, and writes those
/// that this program carries.
///
/// `tidegate plugins` is the same.
#[derive(Debug, Clone, clap::Args)]
pub struct PluginArgs {
    #[allow(missing_docs)]
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// What is done with them.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum PluginCommand {
    #[allow(missing_docs)]
    List(Box<list::ListArgs>),
    #[allow(missing_docs)]
    Show(Box<show::ShowArgs>),
    #[allow(missing_docs)]
    Pin(Box<show::PinArgs>),
    #[allow(missing_docs)]
    Push(Box<push::PushArgs>),
    #[allow(missing_docs)]
    Fetch(Box<fetch::FetchArgs>),
    #[allow(missing_docs)]
    Remove(Box<remove::RemoveArgs>),
    #[allow(missing_docs)]
    Sign(sign::SignArgs),
    #[allow(missing_docs)]
    Verify(verify::VerifyArgs),
    #[allow(missing_docs)]
    #[cfg(feature = "guests")]
    Export(export::ExportArgs),
}

/// Does it, and prints the answer to `out`.
///
/// # Errors
/// If it cannot be done, or the answer cannot be written.
pub async fn run(args: &PluginArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match &args.command {
        PluginCommand::List(args) => list::run(args, out).await,
        PluginCommand::Show(args) => Box::pin(show::show(args, out)).await,
        PluginCommand::Pin(args) => show::pin(args, out).await,
        PluginCommand::Push(args) => Box::pin(push::run(args, out)).await,
        PluginCommand::Fetch(args) => Box::pin(fetch::run(args, out)).await,
        PluginCommand::Remove(args) => remove::run(args, out).await,
        PluginCommand::Sign(args) => sign::run(args, out),
        PluginCommand::Verify(args) => verify::run(args, out),
        #[cfg(feature = "guests")]
        PluginCommand::Export(args) => export::run(args, out),
    }
}
