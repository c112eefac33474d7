//! `tidegate permissions`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;

use super::flags::ConfigFlags;
use super::output::Output;
use tidegate_runtime::config::{Config, process_environment};
use tidegate_runtime::permissions::Permissions;

const EXAMPLES: &str = "\
Examples:
  tidegate permissions                           for ./tidegate.toml
  tidegate permissions -c prod.toml --output json
  tidegate permissions -c prod.toml --who-asks
  tidegate permissions --stream ORDERS --handler receipts --policy backlog --grant-publish 'receipts.>'";

/// Prints the least that the host's NATS user must be allowed, as a block for the configuration of a nats-server.
///
/// It connects to nothing. Exit code 0: printed. 1: the configuration is wrong. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct PermissionsArgs {
    /// Print instead what a person needs who asks hosts: a line for each right, to grant one by one
    #[arg(long)]
    pub who_asks: bool,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub flags: ConfigFlags,
}

/// Prints to `out` what the configuration needs.
///
/// # Errors
/// If the configuration is wrong or the answer cannot be written.
pub fn run(args: &PermissionsArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.flags.0, &process_environment())?;
    let needed = match args.who_asks {
        true => Permissions::of_who_asks(&config).context(
            "hosts of this configuration answer nobody: service.enabled is false\n  Set it, and service.admin = true \
             for what changes something.",
        )?,
        false => Permissions::of(&config),
    };
    args.output.write(out, &needed.json(), |out| writeln!(out, "{needed}"))?;
    Ok(ExitCode::SUCCESS)
}
