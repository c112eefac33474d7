//! `tidegate drain` and `tidegate undrain`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::hosts::{HostsArgs, ask, named};
use super::positive;
use tidegate_runtime::jetstream::{Client, FoundHost};

/// How often it is asked how far it is.
const ASK: Duration = Duration::from_millis(200);

const DRAIN: &str = "\
Examples:
  tidegate drain rack-3                          before a machine is taken away
  tidegate drain rack-3 --wait 5m --output json";

const UNDRAIN: &str = "\
Examples:
  tidegate undrain rack-3";

/// Drains a host: it fetches nothing more, finishes what it has, and says when it holds nothing.
///
/// Its process stays, and `tidegate undrain` lets it go on; `/readyz` says that it is drained. What it cannot finish
/// within its grace time it gives back. Asks by NATS: the host needs service.enabled = true and service.admin = true.
/// Exit code 0: it is drained. 1: it is not, or not yet, or the servers cannot be reached. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = DRAIN)]
pub struct DrainArgs {
    /// The host, by its id: `tidegate top` and `nats micro ls` show it
    #[arg(value_name = "HOST")]
    pub host: String,
    /// How long to wait until it holds nothing
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = positive)]
    pub wait: Duration,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub hosts: HostsArgs,
}

/// Lets a drained host go on.
///
/// Exit code 0: it goes on. 1: it cannot be told, as for `drain`. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = UNDRAIN)]
pub struct UndrainArgs {
    /// The host, by its id
    #[arg(value_name = "HOST")]
    pub host: String,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub hosts: HostsArgs,
}

/// How far a host is.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    host: String,
    /// `no`, `draining` or `drained`.
    drain: String,
    workloads_left: usize,
}

/// Drains, waits, and prints to `out` how it is then.
///
/// # Errors
/// If the host cannot be told, or the answer cannot be written.
pub async fn drain(args: &DrainArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let (client, hosts) = args.hosts.find().await?;
    let host = named(&hosts, &args.host)?;
    let until = Instant::now() + args.wait;
    let mut state = tell(&client, host, "drain").await?;
    while state.drain == "draining" && Instant::now() < until {
        sleep(ASK).await;
        state = tell(&client, host, "drain").await?;
    }
    args.hosts.output.write(out, &state, |out| match state.workloads_left {
        0 => writeln!(out, "{} is drained; `tidegate undrain {}` lets it go on", state.host, state.host),
        left => writeln!(out, "{} fetches no more; {left} workloads have not finished yet", state.host),
    })?;
    Ok(if state.workloads_left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends a drain, and prints to `out` how it is then.
///
/// # Errors
/// If the host cannot be told, or the answer cannot be written.
pub async fn undrain(args: &UndrainArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let (client, hosts) = args.hosts.find().await?;
    let state = tell(&client, named(&hosts, &args.host)?, "undrain").await?;
    args.hosts.output.write(out, &state, |out| writeln!(out, "{} goes on", state.host))?;
    Ok(ExitCode::SUCCESS)
}

async fn tell(client: &Client, host: &FoundHost, what: &str) -> anyhow::Result<State> {
    ask(client, host, what, String::new()).await
}
