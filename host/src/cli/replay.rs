//! `tidegate replay`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::Output;
use crate::config::{Compile, Plugins};
use crate::journal::{PolicyName, Survey};
use crate::plugin::Host;
use crate::replay::{Asked, Comparison, Difference, Replayed, compare, same, shadow};
use crate::spark::spark;
use crate::terminal::plain;

/// Characters of the chart.
const WIDTH: usize = 80;
/// Rows of the table.
const ROWS: usize = 20;

const EXAMPLES: &str = "\
Examples:
  tidegate replay --journal journal.jsonl                             the policies in plugins/ decide as they did
  tidegate replay --journal journal.jsonl --policy new/backlog.wasm   where another would have parted
  tidegate replay --journal journal.jsonl --shadow                    where the shadow parted
  tidegate replay --journal journal.jsonl.1 --journal journal.jsonl";

/// Replays a journal with the policy that wrote it, or with another.
///
/// The policy that wrote it has to decide the same again, bit for bit: the first call that does not is shown. With other
/// code, or with --shadow, it shows where the two part. Exit code 0: the same, or compared. 1: it decides otherwise, or the
/// journal or the policy cannot be used. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// A journal; may be given several times, the oldest first
    #[arg(long = "journal", value_name = "FILE", required = true)]
    pub journals: Vec<PathBuf>,
    /// The policy's file [default: the file in --plugins of the policy that wrote the journal]
    #[arg(long, value_name = "FILE", conflicts_with = "shadow")]
    pub policy: Option<PathBuf>,
    /// The directory with the plugins
    #[arg(long, value_name = "DIR", default_value = "plugins")]
    pub plugins: PathBuf,
    /// A setting of the other policy; may be given several times [default: those in the journal]
    #[arg(long = "policy-setting", value_name = "KEY=VALUE", value_parser = crate::config::setting, requires = "policy")]
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
        return told(&shadow(&args.journals, workload)?, "shadow", args.output, out);
    }
    let plugins = Plugins {
        dir: args.plugins.clone(),
        rescan: std::time::Duration::from_secs(5),
        cache: None,
        compile: Compile::default().by_this_program()?,
    };
    let host = Host::start(&plugins)?;
    let mut generation = None;
    if let Some(file) = &args.policy {
        let mut other = Asked::load(&host, file).await?;
        let survey = Survey::of(&args.journals)?;
        if !args.settings.is_empty() || !survey.decided(workload, &other.name()) {
            let settings: BTreeMap<_, _> = args.settings.iter().cloned().collect();
            let settings = (!settings.is_empty()).then_some(&settings);
            let compared = compare(&mut other, &args.journals, survey.workload(workload)?, settings).await?;
            return told(&compared, "replayed", args.output, out);
        }
        generation = Some(other.name().generation);
    }
    let file_of = |policy: &PolicyName| match &args.policy {
        Some(file) => (generation.as_ref() == Some(&policy.generation)).then(|| file.clone()),
        None => Some(args.plugins.join(format!("{}.wasm", policy.name))),
    };
    let replayed = same(&host, &args.journals, workload, file_of).await?;
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string(&Answer::of(&replayed))?)?,
        Output::Text => text(&replayed, out)?,
    }
    Ok(if replayed.difference.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Serialize)]
struct Answer<'a> {
    same: bool,
    decisions: u64,
    inits: u64,
    timed_out: u64,
    dropped: u64,
    policies: &'a [PolicyName],
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<First<'a>>,
}

#[derive(Serialize)]
struct First<'a> {
    file: &'a Path,
    line: u64,
    time: &'a str,
    workload: &'a str,
    policy: &'a PolicyName,
    call: &'a str,
    parts: Vec<Part<'a>>,
}

#[derive(Serialize)]
struct Part<'a> {
    part: &'a str,
    recorded: &'a str,
    replayed: &'a str,
}

impl<'a> Answer<'a> {
    fn of(replayed: &'a Replayed) -> Self {
        let Replayed { decisions, inits, timed_out, dropped, policies, difference } = replayed;
        let difference = difference.as_ref().map(|difference| {
            let Difference { file, line, time, workload, policy, call, parts } = difference;
            let parts = parts.iter().map(|(part, recorded, replayed)| Part { part, recorded, replayed }).collect();
            First { file, line: *line, time, workload, policy, call, parts }
        });
        let same = difference.is_none();
        let (decisions, inits, timed_out, dropped) = (*decisions, *inits, *timed_out, *dropped);
        Self { same, decisions, inits, timed_out, dropped, policies, difference }
    }
}

fn text(replayed: &Replayed, out: &mut impl Write) -> std::io::Result<()> {
    if replayed.dropped > 0 {
        writeln!(out, "the journal lacks {} lines, which the host could not write", replayed.dropped)?;
    }
    if replayed.timed_out > 0 {
        writeln!(out, "{} calls were ended by the wall clock and are left out", replayed.timed_out)?;
    }
    let Some(Difference { file, line, time, workload, policy, call, parts }) = &replayed.difference else {
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
    plain(&format!("{} {}", policy.name, crate::digest::shown(&policy.generation)))
}

fn told(compared: &Comparison, other: &str, output: Output, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string(compared)?)?,
        Output::Text => table(compared, other, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn table(compared: &Comparison, other: &str, out: &mut impl Write) -> std::io::Result<()> {
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
        spark(&counts, WIDTH, f64::from(top))
    };
    writeln!(out)?;
    writeln!(out, "  recorded  |{}|  0 to {top} workers", line(recorded))?;
    writeln!(out, "  {other:<8}  |{}|", line(others))?;
    if compared.stretches.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(out, "where they part            ticks  recorded                          {other}")?;
    for stretch in compared.stretches.iter().take(ROWS) {
        let side = |count: &crate::replay::Count| plain(&format!("{} {}", count.workers, count.reason));
        writeln!(
            out,
            "  {}  {:>5}  {:<32}  {}",
            plain(&stretch.from),
            stretch.ticks,
            cut(&side(&stretch.recorded), 32),
            cut(&side(&stretch.other), 32)
        )?;
    }
    match compared.stretches.len().saturating_sub(ROWS) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} times more; --output json has all"),
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}
