//! `tidegate journal`: the journal that hosts keep in a stream, as one that can be replayed.

use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

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
use tidegate_runtime::journal::{Excerpt, JournalLine, STATES_WITHIN, STATES_WITHIN_LINES, parse};

const EXAMPLES: &str = "\
Examples:
  tidegate journal > journal.jsonl
  tidegate journal --workload orders --since 2h > orders.jsonl
  tidegate replay --journal orders.jsonl";

/// Prints the journal that a host keeps in a stream, for replay and simulate.
///
/// Exit code 0: printed. 1: there is none, the stream does not have the states that all of them rest on, it has
/// decisions of hosts that ran at the same time and --host does not say whose, or it cannot be read; then nothing was
/// printed, unless the connection was lost. 2: wrong usage.
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
    let mut span = Span { from: since.and_then(|since| since.checked_sub(BEFORE)), since };
    let mut found = Found::read(&decisions, args, span).await?;
    if found.left_out > 0 && span.from.is_some() {
        // Lines that wait for their stream are stored long after the states that they rest on.
        span.from = None;
        found = Found::read(&decisions, args, span).await?;
    }
    found.check(args)?;
    let mut excerpt = Excerpt::default();
    each(&decisions, args, span, |line, is_wanted| {
        if let Some(line) = taken(&mut excerpt, line, is_wanted) {
            json_line(out, &line)?;
        }
        Ok(())
    })
    .await?;
    out.flush()?;
    if excerpt.left_out() > 0 {
        error_output::write(&format!(
            "left out {} lines: the states that they rest on are not in stream {} any more",
            excerpt.left_out(),
            args.stream
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// From how long before the first line that is wanted lines are read: as long as a state may stand without its bytes,
/// and a while for the way to the stream.
const BEFORE: Duration = STATES_WITHIN.saturating_mul(2);

/// What is read.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// When the first line that is read was stored; all are read without it.
    from: Option<SystemTime>,
    /// When the first that is wanted was. Those before tell the states that it rests on.
    since: Option<SystemTime>,
}

/// The line as it is printed, if it is.
fn taken(excerpt: &mut Excerpt, line: JournalLine, is_wanted: bool) -> Option<JournalLine> {
    if is_wanted {
        return excerpt.take(line);
    }
    excerpt.pass_over(&line);
    None
}

/// What there is to print.
#[derive(Debug, Default)]
struct Found {
    hosts: Hosts,
    /// Lines that can be printed, and those that cannot.
    printed: u64,
    left_out: u64,
}

impl Found {
    async fn read(decisions: &Decisions, args: &JournalArgs, span: Span) -> anyhow::Result<Self> {
        let (mut found, mut excerpt) = (Self::default(), Excerpt::default());
        each(decisions, args, span, |line, is_wanted| {
            if is_wanted {
                found.hosts.saw(&line.host);
            }
            found.printed += u64::from(taken(&mut excerpt, line, is_wanted).is_some());
            Ok(())
        })
        .await?;
        found.left_out = excerpt.left_out();
        Ok(found)
    }

    /// Whether there is a journal to print.
    fn check(&self, args: &JournalArgs) -> anyhow::Result<()> {
        let (stream, Self { hosts, printed, left_out }) = (&args.stream, self);
        match (&args.host, hosts.names.is_empty()) {
            (Some(host), true) => bail!("stream {stream} has no such decision of host {host}"),
            (None, true) => bail!("stream {stream} has no such decision"),
            (_, false) if hosts.beside => bail!(
                "stream {stream} has decisions of hosts that ran at the same time: {}\n  Say whose with --host.",
                hosts.names.join(", ")
            ),
            (_, false) if *printed == 0 => bail!(
                "none of {left_out} such lines of stream {stream} can be printed: it does not have the states that \
                 they rest on any more\n  A host writes each state anew after {STATES_WITHIN_LINES} decisions or a \
                 minute; ask again then."
            ),
            (_, false) => Ok(()),
        }
    }
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
    fn saw(&mut self, host: &str) {
        if self.names.last().is_some_and(|last| last == host) {
            return;
        }
        if self.names.iter().any(|name| name == host) {
            self.beside = true;
        } else {
            self.names.push(host.to_owned());
        }
    }
}

/// Whether this is the host's name, with or without its process.
fn is_of(host: &str, wanted: &str) -> bool {
    host == wanted || host.rsplit_once(':').is_some_and(|(machine, _)| machine == wanted)
}

/// Reads all lines of the span that are asked for, each with whether it is wanted.
async fn each(
    decisions: &Decisions,
    args: &JournalArgs,
    span: Span,
    mut with: impl FnMut(JournalLine, bool) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut failed = None;
    let read = |(sequence, stored): (u64, SystemTime), text: Bytes| {
        let is_wanted = span.since.is_none_or(|since| stored >= since);
        // A message is a line without its end.
        let line = parse(&[&text[..], b"\n"].concat()).map_err(|(problem, _)| {
            anyhow::anyhow!("message {sequence} of stream {}: {problem}\n  Delete it, or say --since.", args.stream)
        });
        let is_asked = |line: &JournalLine| args.host.as_ref().is_none_or(|host| is_of(&line.host, host));
        let done = match line {
            Ok(line) if is_asked(&line) => with(line, is_wanted),
            Err(error) if is_wanted => Err(error),
            Ok(_) | Err(_) => Ok(()),
        };
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    decisions.scan(args.workload.as_deref(), span.from, read).await?;
    failed.map_or(Ok(()), Err)
}
