//! `tidegate journal`: the journal that hosts keep in a stream, as one that can be replayed.

use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::bail;
use bytes::Bytes;

use super::connect::connect;
use super::error_output;
use super::output::json_line;
use super::time_arg::{TimeArg, time_arg};
use crate::commands::flags::ConnectionFlags;
use tidegate_runtime::clock::time_of_day;
use tidegate_runtime::config::{Nats, process_environment};
use tidegate_runtime::jetstream::{Decisions, FileUse};
use tidegate_runtime::journal::{Excerpt, JournalLine, parse};

const EXAMPLES: &str = "\
Examples:
  tidegate journal > journal.jsonl
  tidegate journal --workload orders --since 2h > orders.jsonl
  tidegate replay --journal orders.jsonl";

/// Prints the journal that a host keeps in a stream, for replay and simulate.
///
/// Exit code 0: printed. 1: there is none, it has decisions of hosts that ran at the same time and --host does not say
/// whose, or it cannot be read; then nothing was printed, unless the connection was lost. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct JournalArgs {
    /// The stream that keeps the journal
    #[arg(long, value_name = "STREAM", default_value = "TIDEGATE_JOURNAL")]
    pub stream: String,
    /// Decisions of this workload [default: of all]
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// Decisions of this host, as the journal names it, MACHINE:PROCESS, or of all on this MACHINE; needed where
    /// several ran at the same time
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Decisions since then: `2h` ago, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time_arg)]
    pub since: Option<TimeArg>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub connection: ConnectionFlags,
}

/// Prints it to `out`.
///
/// # Errors
/// When there is no connection, no such stream, no decision or such of several hosts, or the answer cannot be written.
pub async fn run(args: &JournalArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let nats = Nats::load(&args.connection.0, None, &process_environment())?;
    let decisions = connect(&nats, FileUse::Never).await?.decisions(&args.stream).await?;
    // Before anything is printed everything was read, so that what is wrong leaves no half of a journal.
    let since = args.since.map(|since| since.resolve(time_of_day()));
    let mut hosts = Hosts::default();
    each(&decisions, args, since, |line| {
        hosts.saw(line.host);
        Ok(())
    })
    .await?;
    match (&args.host, hosts.names.is_empty()) {
        (Some(host), true) => bail!("stream {} has no such decision of host {host}", args.stream),
        (None, true) => bail!("stream {} has no such decision", args.stream),
        (_, false) if hosts.beside => bail!(
            "stream {} has decisions of hosts that ran at the same time: {}\n  Say whose with --host.",
            args.stream,
            hosts.names.join(", ")
        ),
        (_, false) => {}
    }
    let mut excerpt = Excerpt::default();
    each(&decisions, args, since, |line| {
        if let Some(line) = excerpt.take(line) {
            json_line(out, &line)?;
        }
        Ok(())
    })
    .await?;
    out.flush()?;
    if excerpt.left_out() > 0 {
        error_output::write(&format!(
            "left out {} lines: the states that they rest on are not in what was read",
            excerpt.left_out()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Who wrote.
#[derive(Debug, Default)]
struct Hosts {
    /// In the order in which they began.
    names: Vec<String>,
    /// Whether one went on after another had begun.
    beside: bool,
}

impl Hosts {
    fn saw(&mut self, host: String) {
        if self.names.last() == Some(&host) {
            return;
        }
        if self.names.contains(&host) {
            self.beside = true;
        } else {
            self.names.push(host);
        }
    }
}

/// Whether this is the host's name, with or without its process.
fn is_of(host: &str, wanted: &str) -> bool {
    host == wanted || host.rsplit_once(':').is_some_and(|(machine, _)| machine == wanted)
}

/// Reads all lines that are asked for.
async fn each(
    decisions: &Decisions,
    args: &JournalArgs,
    since: Option<SystemTime>,
    mut with: impl FnMut(JournalLine) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut failed = None;
    let read = |sequence, text: Bytes| {
        // A message is a line without its end.
        let line = parse(&[&text[..], b"\n"].concat()).map_err(|(problem, _)| {
            anyhow::anyhow!("message {sequence} of stream {}: {problem}\n  Delete it, or say --since.", args.stream)
        });
        let wanted = |line: &JournalLine| args.host.as_ref().is_none_or(|host| is_of(&line.host, host));
        match line.and_then(|line| if wanted(&line) { with(line) } else { Ok(()) }) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    decisions.scan(args.workload.as_deref(), since, read).await?;
    failed.map_or(Ok(()), Err)
}
