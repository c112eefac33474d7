//! `tidegate replay`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::ensure;
use serde::Serialize;

use super::output::Output;
use tidegate_lab::chart::sparkline;
use tidegate_lab::replay::{
    DifferingTicks, FirstDifference, PolicyComparison, PolicyFiles, ReplayPolicy, Replayed, Unverified, compare, same,
    shadow,
};
use tidegate_lab::text_table::{aligned, cut};
use tidegate_runtime::config::{Compile, Plugins};
use tidegate_runtime::journal::{PolicyName, Survey};
use tidegate_runtime::plugin::PluginHost;
use tidegate_runtime::text::plain;

/// Characters of the chart.
const WIDTH: usize = 80;
/// Rows of the table.
const ROWS: usize = 20;

const EXAMPLES: &str = "\
Examples:
  tidegate replay --journal journal.jsonl                             the policies in plugins/ decide as they did
  tidegate replay --journal journal.jsonl --policy new/backlog.wasm   where another would have parted
  tidegate replay --journal journal.jsonl --policy old/backlog.wasm --policy backlog.wasm   both decide as they did, \
    each what it decided
  tidegate replay --journal journal.jsonl --shadow                    where the shadow parted
  tidegate replay --journal journal.jsonl.1 --journal journal.jsonl";

/// Replays a journal with the policies that wrote it, or with another.
///
/// The code that wrote a line has to decide the same again, bit for bit: the first call that does not is shown, and so
/// is what could not be verified because its code is not there. With other code, or with --shadow, it shows where the
/// two part. Exit code 0: all is the same, or compared. 1: something decides otherwise or was not verified, or the
/// journal or a policy cannot be used. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// A journal; may be given several times, the oldest first
    #[arg(long = "journal", value_name = "FILE", required = true)]
    pub journals: Vec<PathBuf>,
    /// A policy's file. Several, as of all versions that a journal spans, are found by their digests. A single one that
    /// did not decide all of it is compared with what did [default: the files in --plugins, found by their digests]
    #[arg(long = "policy", value_name = "FILE", conflicts_with = "shadow")]
    pub policies: Vec<PathBuf>,
    /// The directory with the plugins; what comes from a bucket or a registry, `tidegate plugin fetch` brings there
    #[arg(long, value_name = "DIR", default_value = "plugins")]
    pub plugins: PathBuf,
    /// A setting of the other policy; may be given several times [default: those in the journal]
    #[arg(
        long = "policy-setting",
        value_name = "KEY=VALUE",
        value_parser = tidegate_runtime::config::setting,
        requires = "policies"
    )]
    pub settings: Vec<(String, String)>,
    /// Compares the live policy with its shadow, both as the journal has them
    #[arg(long)]
    pub shadow: bool,
    /// The workload [default: all, or the only one]
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

/// Replays, and prints the answer to `out`.
///
/// # Errors
/// If a journal or a policy cannot be used, or the answer cannot be written.
pub async fn run(args: ReplayArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let workload = args.workload.as_deref();
    if args.shadow {
        return write(&shadow(&args.journals, workload)?, "shadow", args.output, out);
    }
    let plugins = Plugins {
        dir: args.plugins.clone(),
        rescan: std::time::Duration::from_secs(5),
        cache: None,
        compile: Compile::default().by_this_program()?,
        origin: Default::default(),
    };
    let host = PluginHost::start(&plugins)?;
    let mut loaded = Vec::new();
    for file in &args.policies {
        loaded.push(ReplayPolicy::load(&host, file).await?);
    }
    ensure!(
        args.settings.is_empty() || loaded.len() == 1,
        "--policy-setting is for one --policy; {} are given",
        loaded.len()
    );
    let named: Vec<PolicyName> = loaded.iter().map(ReplayPolicy::name).collect();
    if let [other] = loaded.as_mut_slice() {
        let survey = Survey::of(&args.journals)?;
        if !args.settings.is_empty() || !survey.decided(workload, &other.name()) {
            let settings: BTreeMap<_, _> = args.settings.iter().cloned().collect();
            let settings = (!settings.is_empty()).then_some(&settings);
            let compared = compare(other, &args.journals, survey.workload(workload)?, settings).await?;
            return write(&compared, "replayed", args.output, out);
        }
    }
    let mut files =
        if loaded.is_empty() { PolicyFiles::directory(args.plugins.clone()) } else { PolicyFiles::of(loaded) };
    let replayed = same(&host, &args.journals, workload, &mut files).await?;
    for policy in named.iter().filter(|policy| !replayed.has(policy)) {
        tracing::warn!("--policy: {} decided nothing of it", shown(policy));
    }
    args.output.write(out, &ReplayReport::of(&replayed), |out| text(&replayed, &files.place(), out))?;
    Ok(if replayed.is_same() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Serialize)]
struct ReplayReport<'a> {
    same: bool,
    decisions: u64,
    inits: u64,
    timed_out: u64,
    dropped: u64,
    policies: &'a [PolicyName],
    unverified: &'a [Unverified],
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<DifferenceReport<'a>>,
}

#[derive(Serialize)]
struct DifferenceReport<'a> {
    file: &'a Path,
    line: u64,
    time: &'a str,
    workload: &'a str,
    policy: &'a PolicyName,
    call: &'a str,
    parts: Vec<DifferingPart<'a>>,
}

#[derive(Serialize)]
struct DifferingPart<'a> {
    part: &'a str,
    recorded: &'a str,
    replayed: &'a str,
}

impl<'a> ReplayReport<'a> {
    fn of(replayed: &'a Replayed) -> Self {
        let Replayed { decisions, inits, timed_out, dropped, policies, unverified, difference } = replayed;
        let difference = difference.as_ref().map(|difference| {
            let FirstDifference { file, line, time, workload, policy, call, parts } = difference;
            let parts =
                parts.iter().map(|(part, recorded, replayed)| DifferingPart { part, recorded, replayed }).collect();
            DifferenceReport { file, line: *line, time, workload, policy, call, parts }
        });
        let same = replayed.is_same();
        let (decisions, inits, timed_out, dropped) = (*decisions, *inits, *timed_out, *dropped);
        Self { same, decisions, inits, timed_out, dropped, policies, unverified, difference }
    }
}

fn text(replayed: &Replayed, place: &str, out: &mut impl Write) -> std::io::Result<()> {
    for Unverified { workload, policy, from, to, calls, .. } in &replayed.unverified {
        let stretch = plain(&format!("{calls} calls of workload {workload}, {from} to {to}"));
        writeln!(out, "not verified: {stretch}: {} has no {}", plain(place), shown(policy))?;
    }
    if !replayed.unverified.is_empty() {
        writeln!(out, "name the files of these generations with --policy, beside those of the others")?;
    }
    if replayed.dropped > 0 {
        writeln!(out, "the journal lacks {} lines, which the host could not write", replayed.dropped)?;
    }
    if replayed.timed_out > 0 {
        writeln!(out, "{} calls were ended by the wall clock and are left out", replayed.timed_out)?;
    }
    let Some(FirstDifference { file, line, time, workload, policy, call, parts }) = &replayed.difference else {
        let policies: Vec<_> = replayed.policies.iter().map(shown).collect();
        return writeln!(
            out,
            "{} decisions and {} first states of {} are the same, bit for bit",
            replayed.decisions,
            replayed.inits,
            policies.join(", ")
        );
    };
    writeln!(
        out,
        "after {} decisions that are the same, {} answers otherwise",
        replayed.decisions.saturating_sub(u64::from(*call == "decide")),
        shown(policy)
    )?;
    let call = plain(&format!("{call} of workload {workload} at {time}"));
    writeln!(out, "{}:{line}: {call}", file.display())?;
    for (part, was, is) in parts {
        writeln!(out, "- {part} {}", plain(was))?;
        writeln!(out, "+ {part} {}", plain(is))?;
    }
    Ok(())
}

fn shown(policy: &PolicyName) -> String {
    plain(&format!("{} {}", policy.name, tidegate_runtime::digest::shown(&policy.generation)))
}

fn write(compared: &PolicyComparison, other: &str, output: Output, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    output.write(out, compared, |out| table(compared, other, out))?;
    Ok(ExitCode::SUCCESS)
}

fn table(compared: &PolicyComparison, other: &str, out: &mut impl Write) -> std::io::Result<()> {
    let recorded: Vec<_> = compared.recorded.iter().map(shown).collect();
    let (from, to) = &compared.span;
    writeln!(out, "{}", plain(&format!("workload {}, {from} to {to}", compared.workload)))?;
    writeln!(out, "  recorded: {}", recorded.join(", "))?;
    writeln!(out, "  {other}: {}", shown(&compared.other))?;
    writeln!(out)?;
    writeln!(out, "the same number of workers on {} of {} ticks", compared.same, compared.ticks)?;
    let (was, is) = (compared.recorded_worker_seconds, compared.other_worker_seconds);
    let ratio = if was > 0.0 { format!(" ({:.2}x)", is / was) } else { String::new() };
    writeln!(out, "worker-seconds: recorded {was:.1}, {other} {is:.1}{ratio}, on the load as it was observed")?;
    for (who, failures) in [("recorded", compared.recorded_failures), (other, compared.other_failures)] {
        if failures > 0 {
            writeln!(out, "no answer on {failures} ticks: {who}")?;
        }
    }
    let (recorded, others) = &compared.counts;
    let top = recorded.iter().chain(others).copied().max().unwrap_or(0);
    let line = |counts: &[u32]| {
        let counts: Vec<f64> = counts.iter().copied().map(f64::from).collect();
        sparkline(&counts, WIDTH, f64::from(top))
    };
    writeln!(out)?;
    writeln!(out, "  recorded  |{}|  0 to {top} workers", line(recorded))?;
    writeln!(out, "  {other:<8}  |{}|", line(others))?;
    if compared.stretches.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let side =
        |count: &tidegate_lab::replay::DesiredWorkers| cut(&plain(&format!("{} {}", count.workers, count.reason)), 32);
    let row = |DifferingTicks { from, ticks, recorded, other, .. }: &DifferingTicks| {
        [format!("  {}", plain(from)), ticks.to_string(), side(recorded), side(other)]
    };
    let head = ["where they part", "ticks", "recorded", other].map(str::to_owned);
    let rows = std::iter::once(head).chain(compared.stretches.iter().take(ROWS).map(row));
    writeln!(out, "{}", aligned(rows, &[1]))?;
    match compared.stretches.len().saturating_sub(ROWS) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} times more; --output json has all"),
    }
}
