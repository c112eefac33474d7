//! `tidegate scale`.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error_output;
use super::hosts::{HostsArgs, ask, named};
use super::{positive, whole_number};
use tidegate_runtime::config::units::show_duration;
use tidegate_runtime::duration::rfc3339_seconds;
use tidegate_runtime::jetstream::{Client, FoundHost};

const EXAMPLES: &str = "\
Examples:
  tidegate scale orders set 8 --for 1h           for an hour, whatever its policy decides
  tidegate scale orders auto                     the policy decides again
  tidegate scale orders status -s nats://nats.internal --output json";

/// Sets the workers of a workload in place of its policy, or lets the policy decide again.
///
/// Asks the hosts that have the workload, by NATS: they need service.enabled = true, and to set workers
/// service.admin = true. The number is each host's own, or that of all hosts of a fleet together; it may be below
/// scale.min, and not above scale.max. With 0 a message still starts a worker, as with a policy that wants none:
/// what is to stand still is paused. The policy is asked on meanwhile, and its state goes on. The number holds
/// until its time is over, `auto` ends it, or the host ends; in a fleet it outlives hosts. Exit code 0: done by all
/// hosts that have it. 1: some did not, or none has it, or the servers cannot be reached. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ScaleArgs {
    /// The workload
    #[arg(value_name = "WORKLOAD")]
    pub workload: String,
    /// What to do
    #[command(subcommand)]
    pub what: ScaleCommand,
}

/// What to do with the workers.
#[derive(Debug, Clone, clap::Subcommand)]
#[allow(missing_docs, reason = "their help is that of their arguments")]
pub enum ScaleCommand {
    Set(Box<SetArgs>),
    Auto(Box<AutoArgs>),
    Status(Box<StatusArgs>),
    /// None of them.
    #[command(external_subcommand)]
    Other(Vec<String>),
}

/// Sets so many workers.
#[derive(Debug, Clone, clap::Args)]
pub struct SetArgs {
    /// How many, from 0 to scale.max
    #[arg(value_name = "COUNT", value_parser = whole_number::<u32>(0..))]
    pub count: u32,
    /// For how long [default: until `auto`, or until the host ends]
    #[arg(long = "for", value_name = "DURATION", value_parser = positive)]
    pub duration: Option<Duration>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub which: WhichHosts,
}

/// Lets the policy decide again.
#[derive(Debug, Clone, clap::Args)]
pub struct AutoArgs {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub which: WhichHosts,
}

/// Shows how many workers there are, and who decides.
#[derive(Debug, Clone, clap::Args)]
pub struct StatusArgs {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub which: WhichHosts,
}

/// Which hosts.
#[derive(Debug, Clone, clap::Args)]
pub struct WhichHosts {
    /// Only this host, by its id [default: all that have the workload]
    #[arg(long, value_name = "ID")]
    pub host: Option<String>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub hosts: HostsArgs,
}

/// How it is at one host.
#[derive(Debug, Serialize)]
struct AtHost {
    host: String,
    workload: String,
    desired: u32,
    running: u32,
    min: u32,
    max: u32,
    /// Workers wanted of all hosts of its fleet together; none where it is in no fleet.
    fleet_desired: Option<u32>,
    /// What a person has set, for all hosts if it is in a fleet; none while the policy decides.
    set: Option<u32>,
    /// None: until it is ended.
    until_ms: Option<u64>,
    /// What the policy wanted last, and why.
    policy: Option<Wish>,
}

#[derive(Debug, Clone, Serialize)]
struct Wish {
    desired: u32,
    reason: String,
}

impl From<Decision> for Wish {
    fn from(Decision { desired, latest_reason, reason }: Decision) -> Self {
        Self { desired, reason: latest_reason.unwrap_or(reason) }
    }
}

/// A workload in a host's status, as far as it is used here.
#[derive(Debug, Deserialize)]
struct Status {
    workers: Workers,
    scaling: Scaling,
    fleet: Option<Fleet>,
}

#[derive(Debug, Deserialize)]
struct Fleet {
    desired: u32,
}

#[derive(Debug, Deserialize)]
struct Workers {
    desired: u32,
    running: u32,
    min: u32,
    max: u32,
    set: Option<Set>,
}

#[derive(Debug, Deserialize)]
struct Set {
    count: u32,
    until_at_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Scaling {
    last_decisions: Vec<Decision>,
}

#[derive(Debug, Deserialize)]
struct Decision {
    desired: u32,
    /// What hosts of the version before call `reason`.
    latest_reason: Option<String>,
    reason: String,
}

/// What the hosts came to.
#[derive(Debug, Serialize)]
struct Answer {
    hosts: Vec<AtHost>,
    /// Why hosts did not do it.
    refused: Vec<String>,
}

/// Does it, and prints to `out` how it is then.
///
/// # Errors
/// If no host can be asked, or the answer cannot be written.
pub async fn run(args: &ScaleArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let workload = &args.workload;
    let (which, body) = match &args.what {
        ScaleCommand::Set(set) => {
            let mut body = json!({ "set": set.count });
            if let (Some(body), Some(last)) = (body.as_object_mut(), set.duration) {
                body.insert("for".to_owned(), json!(show_duration(&last)));
            }
            (&set.which, Some(body))
        }
        ScaleCommand::Auto(auto) => (&auto.which, Some(json!({ "auto": true }))),
        ScaleCommand::Status(status) => (&status.which, None),
        ScaleCommand::Other(words) => {
            error_output::write(&unknown(workload, words.first().map_or("", String::as_str)));
            return Ok(ExitCode::from(2));
        }
    };
    let (client, hosts) = which.hosts.find().await?;
    let chosen = which.choose(&hosts, workload)?;
    let mut answer = Answer { hosts: Vec::new(), refused: Vec::new() };
    for host in chosen {
        match one(&client, host, workload, body.as_ref()).await {
            Ok(at) => answer.hosts.push(at),
            Err(error) => answer.refused.push(format!("{error:#}")),
        }
    }
    let (json, text) = (&answer, &answer);
    which.hosts.output.write(out, json, |out| {
        for at in &text.hosts {
            writeln!(out, "{}", line(at))?;
        }
        Ok(())
    })?;
    for refused in &answer.refused {
        error_output::say(&anyhow::anyhow!("{refused}"));
    }
    Ok(if answer.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl WhichHosts {
    fn choose<'a>(&self, hosts: &'a [FoundHost], workload: &str) -> anyhow::Result<Vec<&'a FoundHost>> {
        if let Some(id) = &self.host {
            return Ok(vec![named(hosts, id)?]);
        }
        let chosen: Vec<_> = hosts.iter().filter(|host| host.may_have(workload)).collect();
        if chosen.is_empty() {
            let all = hosts.iter().flat_map(|host| &host.workloads).map(String::as_str);
            let mut all: Vec<&str> = all.collect();
            all.sort_unstable();
            all.dedup();
            bail!("no host that answers has a workload {workload:?}; there is {}", all.join(", "));
        }
        Ok(chosen)
    }
}

async fn one(
    client: &Client,
    host: &FoundHost,
    workload: &str,
    body: Option<&serde_json::Value>,
) -> anyhow::Result<AtHost> {
    if let Some(body) = body {
        let _: serde_json::Value = ask(client, host, &format!("scale.{workload}"), body.to_string()).await?;
    }
    let Status { workers, scaling, fleet } = ask(client, host, &format!("status.{workload}"), String::new()).await?;
    let Workers { desired, running, min, max, set } = workers;
    let policy = scaling.last_decisions.into_iter().next();
    Ok(AtHost {
        host: host.id.clone(),
        workload: workload.to_owned(),
        desired,
        running,
        min,
        max,
        fleet_desired: fleet.map(|fleet| fleet.desired),
        set: set.as_ref().map(|set| set.count),
        until_ms: set.and_then(|set| set.until_at_ms),
        policy: policy.map(Wish::from),
    })
}

/// What is said of a word that stands where it is told what to do.
fn unknown(workload: &str, word: &str) -> String {
    let meant = match word.parse::<u32>() {
        Ok(count) => format!("tidegate scale {workload} set {count}"),
        Err(_) => format!("tidegate scale {workload} status"),
    };
    format!("scale takes set, auto or status after the workload, and not {word:?}\n  Write `{meant}`.")
}

fn line(at: &AtHost) -> String {
    let AtHost { host, workload, desired, running, min, max, fleet_desired, set, until_ms, policy } = at;
    let fleet = fleet_desired.map(|all| format!(", its share of {all} in its fleet")).unwrap_or_default();
    // What ends so late that it has no date is as one that somebody ends.
    let until = until_ms.and_then(|until| rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(until)));
    let who = match (set, until) {
        (Some(set), Some(until)) => format!("a person has set {set} until {until}"),
        (Some(set), None) => format!("a person has set {set}; `tidegate scale {workload} auto` ends that"),
        (None, _) => format!("its policy decides, from {min} to {max}"),
    };
    let wish = policy.as_ref().map(|wish| {
        // A policy's words.
        let reason: String = wish.reason.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        format!("; the policy wants {}: {reason}", wish.desired)
    });
    format!("{host}: {running} of {desired} workers run{fleet}; {who}{}", wish.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_out_set_is_told_it() {
        assert!(unknown("orders", "8").ends_with("Write `tidegate scale orders set 8`."));
        assert!(unknown("orders", "up").ends_with("Write `tidegate scale orders status`."));
    }

    #[test]
    fn a_number_that_holds_for_longer_than_there_are_dates_is_told_without_one() {
        let told = |until_ms| {
            line(&AtHost {
                host: "one".to_owned(),
                workload: "echo".to_owned(),
                desired: 2,
                running: 2,
                min: 0,
                max: 4,
                fleet_desired: None,
                set: Some(2),
                until_ms,
                policy: None,
            })
        };
        let ended = "one: 2 of 2 workers run; a person has set 2; `tidegate scale echo auto` ends that";
        for until_ms in [None, Some(253_402_300_800_000), Some(u64::MAX)] {
            assert_eq!(told(until_ms), ended);
        }
        assert!(told(Some(1_769_860_800_000)).ends_with("a person has set 2 until 2026-01-31T12:00:00Z"));
    }
}
