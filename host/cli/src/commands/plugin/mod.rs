//! `tidegate plugin`.

#[cfg(feature = "guests")]
mod export;
mod list;
mod put;
mod sign;
mod verify;

use std::io::Write;
use std::process::ExitCode;

/// Lists, signs and verifies plugins, and writes those that this program carries.
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
pub fn run(args: &PluginArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match &args.command {
        PluginCommand::List(args) => list::run(args, out),
        PluginCommand::Sign(args) => sign::run(args, out),
        PluginCommand::Verify(args) => verify::run(args, out),
        #[cfg(feature = "guests")]
        PluginCommand::Export(args) => export::run(args, out),
    }
}
