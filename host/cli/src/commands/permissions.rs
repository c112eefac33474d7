//! `tidegate permissions`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use super::flags::ConfigFlags;
use super::output::Output;
use tidegate_runtime::config::{Config, Workload, process_environment};
use tidegate_runtime::permissions::Permissions;

const EXAMPLES: &str = "\
Examples:
  tidegate permissions                           for ./tidegate.toml
  tidegate permissions -c prod.toml --output json
  tidegate permissions -c prod.toml --who-asks
  tidegate permissions --stream ORDERS --handler receipts --policy backlog --grant-publish 'receipts.>'";

/// Prints the least that the host's NATS user must be allowed, as a block for the configuration of a nats-server.
///
/// Where workloads have accounts of their own, a block for each user, and as JSON those under `accounts`. It connects
/// to nothing. Exit code 0: printed. 1: the configuration is wrong. 2: wrong usage.
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
    if args.who_asks {
        let needed = Permissions::of_who_asks(&config).context(
            "hosts of this configuration answer nobody: service.enabled is false\n  Set it, and service.admin = true \
             for what changes something.",
        )?;
        args.output.write(out, &needed.json(), |out| writeln!(out, "{needed}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (needed, accounts) = (Permissions::of(&config), Permissions::of_accounts(&config));
    let of_accounts = accounts.iter().map(|(workloads, needed)| AccountPermissions {
        workloads: workloads.iter().map(|workload| workload.name.clone()).collect(),
        needed: needed.json(),
    });
    let json = AllPermissions { needed: needed.json(), accounts: of_accounts.collect() };
    args.output.write(out, &json, |out| text(&needed, &accounts, out))?;
    Ok(ExitCode::SUCCESS)
}

/// What the user in `[nats]` needs, as a nats-server reads it, and what those in other accounts need.
#[derive(Serialize)]
struct AllPermissions<N> {
    #[serde(flatten)]
    needed: N,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<AccountPermissions<N>>,
}

/// What the user needs that these workloads have for themselves.
#[derive(Serialize)]
struct AccountPermissions<N> {
    workloads: Vec<String>,
    #[serde(flatten)]
    needed: N,
}

/// A block for each user, with a line that says whose it is where there are several.
fn text(needed: &Permissions, accounts: &[(Vec<&Workload>, Permissions)], out: &mut impl Write) -> std::io::Result<()> {
    if !accounts.is_empty() {
        writeln!(out, "# the user in [nats]")?;
    }
    writeln!(out, "{needed}")?;
    for (workloads, needed) in accounts {
        let tables: Vec<String> = workloads.iter().map(|of| format!("[workload.{}.nats]", of.name)).collect();
        writeln!(out, "\n# the user in {}\n{needed}", tables.join(", "))?;
    }
    Ok(())
}
