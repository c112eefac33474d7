//! `tidegate rollout`.

mod status;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::json;

use super::address::Address;
use super::host_http::{Answer, get, post};
use super::output::Output;
use super::token::{self, TOKEN};
use status::Status;
use tidegate_runtime::digest;

const EXAMPLES: &str = "\
Examples:
  tidegate rollout status                        all workloads of the host that was started with --http 8222
  tidegate rollout status orders --output json
  tidegate rollout promote orders --token-file /run/secrets/tidegate-http
  tidegate rollout abort orders --url http://10.0.0.7:8222";

/// Shows how a host tries a new generation of a handler, and promotes or ends that by hand.
///
/// A workload with rollout.share runs a new generation with a share of its workers first. Asks a host that answers over
/// HTTP, as `tidegate run --http 8222` does; to promote or abort needs the token of its http-admin, from --token-file
/// or the variable TIDEGATE_HTTP_TOKEN. Any host of a fleet answers for all of them. Exit code 0: shown or done. 1:
/// no host answers, it does not take the token, or no generation is tried. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RolloutArgs {
    #[command(subcommand)]
    command: RolloutCommand,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum RolloutCommand {
    /// Which generations run, and how they compare
    Status(StatusArgs),
    /// Puts the generation that is tried, or was rolled back last, into use for all workers
    Promote(ChangeArgs),
    /// Ends the trial: the old generation goes on alone
    Abort(ChangeArgs),
}

#[derive(Debug, Clone, clap::Args)]
struct HostArgs {
    /// Where the host answers: http://, a name or an IP address, and a port; a port alone is of this machine
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8222")]
    url: Address,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Clone, clap::Args)]
struct StatusArgs {
    /// The workload [default: all that have a share for it]
    #[arg(value_name = "WORKLOAD")]
    workload: Option<String>,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Clone, clap::Args)]
struct ChangeArgs {
    /// The workload
    #[arg(value_name = "WORKLOAD")]
    workload: String,
    /// A file with the token of the host's http-admin [default: the variable TIDEGATE_HTTP_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    host: HostArgs,
}

/// What a host answers to a change.
#[derive(Deserialize, serde::Serialize)]
struct Changed {
    workload: String,
    generation: String,
}

/// Why a host did not do it.
#[derive(Deserialize)]
struct Refused {
    problem: String,
}

/// Asks the host, and prints the answer to `out`.
///
/// # Errors
/// If the host does not answer or does not do it, or the answer cannot be written.
pub async fn run(args: &RolloutArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match &args.command {
        RolloutCommand::Status(args) => show(args, out).await?,
        RolloutCommand::Promote(args) => change(args, "promote", "is in use for all workers", out).await?,
        RolloutCommand::Abort(args) => {
            change(args, "abort", "is tried no more; the old generation goes on", out).await?
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(args: &StatusArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let url = &args.host.url;
    let answer = get(url, "/status").await.map_err(anyhow::Error::msg)?;
    if answer.code != 200 {
        bail!("{url} does not answer as a tidegate host does: /status is answered with {}", answer.code);
    }
    let status =
        Status::read(&answer.body).with_context(|| format!("{url} does not answer as a tidegate host does"))?;
    let rollouts = status.rollouts(args.workload.as_deref())?;
    args.host.output.write(out, &rollouts, |out| {
        if rollouts.is_empty() {
            writeln!(out, "no workload has rollout.share: new generations take over at once")?;
        }
        rollouts.iter().try_for_each(|rollout| rollout.print(out))
    })
}

async fn change(args: &ChangeArgs, verb: &str, done: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let token = args.token()?;
    let (url, asked) = (&args.host.url, json!({ "workload": args.workload }).to_string());
    let answered = post(url, &format!("/api/rollout/{verb}"), &token, &asked).await;
    let Answer { code, body } = answered.map_err(anyhow::Error::msg)?;
    if code != 200 {
        let refused = serde_json::from_slice::<Refused>(&body);
        bail!(refused.map_or_else(|_| format!("{url} answers with {code}"), |refused| refused.problem));
    }
    let changed: Changed =
        serde_json::from_slice(&body).with_context(|| format!("{url} does not answer as a tidegate host does"))?;
    args.host.output.write(out, &changed, |out| {
        writeln!(out, "{}: generation {} {done}", changed.workload, digest::shown(&changed.generation))
    })
}

impl ChangeArgs {
    fn token(&self) -> anyhow::Result<String> {
        let token = match &self.token_file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("the token cannot be read from {}", file.display()))?,
            None => token::of_environment()?.with_context(|| {
                format!(
                    "this needs the token of the host's http-admin\n  Name its file by --token-file, or set {TOKEN}."
                )
            })?,
        };
        let token = token.trim().to_owned();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("the token is empty, or has characters that no header can have");
        }
        Ok(token)
    }
}
