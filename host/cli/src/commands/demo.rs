//! `tidegate demo`.

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use futures_util::FutureExt as _;
use tempfile::TempDir;
use tidegate_artifacts::{policies, workers};

use super::output::Output;
use super::{picture, positive, whole_number};
use tidegate_lab::demo::{self, DemoOptions, DemoReport};
use tidegate_lab::terminal::Terminal;
use tidegate_nats_server::{self as server, Server};
use tidegate_runtime::config::{Compile, SignalSource, units};

/// Columns where standard output is not a terminal.
const WIDTH: usize = 80;

/// The Auto-Scaler example, whole: requests into a stream, workers and their number, nothing lost.
///
/// Starts a nats-server of its own. Logs go to standard error, the summary to standard output. Exit code 0: every
/// request was replied to. 1: something was lost, or the demo could not run.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Requests of each batch
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = whole_number::<u32>(1..))]
    pub requests: u32,
    /// Batches of requests
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = whole_number::<u32>(1..=1000))]
    pub batches: u32,
    /// Time between two batches, and after the last
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = units::duration)]
    pub pause: Duration,
    /// Requests that wait for a reply at the same time; 1 sends one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole_number::<u32>(1..=4096))]
    pub concurrency: u32,
    /// How long a request waits for its reply before it is sent again
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = positive)]
    pub timeout: Duration,
    /// Bytes of each request's payload
    #[arg(long, value_name = "BYTES", default_value_t = 0, value_parser = whole_number::<u32>(0..=1_000_000))]
    pub payload_size: u32,
    /// What message ids and payloads are made from; the same seed makes the same ones
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Where the signals of the policy come from
    #[arg(long, value_enum, default_value_t = SourceArg::Headers)]
    pub source: SourceArg,
    /// The handler's plugin name
    #[arg(long, value_name = "NAME", default_value = "reply")]
    pub handler: String,
    /// The policy's plugin name
    #[arg(long, value_name = "NAME", default_value = "step")]
    pub policy: String,
    /// A directory of plugins to use instead of those that ship with tidegate
    #[arg(long, value_name = "DIR")]
    pub plugins: Option<PathBuf>,
    /// Write the chart of arrivals and workers as a picture, too
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// How the summary is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    /// The nats-server to start [default: TIDEGATE_NATS_SERVER, then PATH, then what `make install` brought]
    #[arg(long, value_name = "PATH")]
    pub nats_server: Option<PathBuf>,
}

/// `info` or `headers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SourceArg {
    /// The state of the consumer and the stream
    Info,
    /// A headers-only consumer that sees every message, as in the example
    Headers,
}

/// Runs the demo and prints its summary to `out`.
///
/// `interrupted` resolves when the user wants the demo to end.
///
/// # Errors
/// When the demo could not run to its end, or its answer could not be written.
pub async fn run(
    args: &DemoArgs,
    terminal: &Terminal,
    out: &mut impl Write,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.plot {
        picture::check(file)?;
    }
    let plugins = match &args.plugins {
        Some(dir) => PluginDir::Own(dir.clone()),
        None => PluginDir::embedded()?,
    };
    let binary = args.nats_server.clone();
    let interrupted = interrupted.shared();
    let server = tokio::select! {
        server = Server::start(server::ServerOptions { binary, ..server::ServerOptions::default() }) => server?,
        () = interrupted.clone() => bail!("interrupted"),
    };
    let mut options = options(args);
    options.compile = options.compile.by_this_program()?;
    let report = demo::run(&options, server.url(), plugins.path(), terminal, interrupted).await;
    server.stop().await;
    let report = report?;
    if let Some(file) = &args.plot {
        picture::write(file, &demo::svg(&report.timeline, &report.title)?)?;
    }
    args.output.write(out, &report.summary, |out| writeln!(out, "{}", text(&report, width())))?;
    Ok(if report.summary.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn options(args: &DemoArgs) -> DemoOptions {
    DemoOptions {
        batches: args.batches,
        requests: args.requests,
        concurrency: usize::try_from(args.concurrency).unwrap_or(usize::MAX),
        payload_size: usize::try_from(args.payload_size).unwrap_or(usize::MAX),
        timeout: args.timeout,
        pause: args.pause,
        seed: args.seed,
        source: match args.source {
            SourceArg::Info => SignalSource::Info,
            SourceArg::Headers => SignalSource::Headers,
        },
        handler: args.handler.clone(),
        policy: args.policy.clone(),
        compile: Compile::default(),
    }
}

/// The directory that the host watches.
enum PluginDir {
    Own(PathBuf),
    Embedded(TempDir),
}

impl PluginDir {
    /// The plugins that ship with tidegate.
    fn embedded() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("tidegate-plugins-").tempdir();
        let dir = dir.with_context(|| format!("cannot create a directory in {}", std::env::temp_dir().display()))?;
        for (name, bytes) in workers::ALL.iter().chain(policies::ALL) {
            let file = dir.path().join(format!("{name}.wasm"));
            std::fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(Self::Embedded(dir))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Own(dir) => dir,
            Self::Embedded(dir) => dir.path(),
        }
    }
}

fn width() -> usize {
    if !std::io::stdout().is_terminal() {
        return WIDTH;
    }
    terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0))
}

fn text(report: &DemoReport, width: usize) -> String {
    let DemoReport { summary, timeline, title } = report;
    let verdict = match (summary.lost, summary.dead) {
        (0, 0) => "Every request was replied to: nothing was lost.".to_owned(),
        (0, dead) => format!("Nothing was lost: what got no reply is one of {dead} dead letters."),
        (lost, _) => format!("LOST: {lost}. Requests without a reply, or messages that were never settled."),
    };
    let chart = demo::chart(timeline, width);
    format!("nats-server {}, {title}\n\n{chart}\n{summary}\n{verdict}", summary.server)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct DemoCli {
        #[command(flatten)]
        demo: DemoArgs,
    }

    fn parse(args: &[&str]) -> Result<DemoArgs, clap::Error> {
        DemoCli::try_parse_from(std::iter::once(&"demo").chain(args)).map(|cli| cli.demo)
    }

    #[test]
    fn without_flags_it_is_the_example() {
        let options = options(&parse(&[]).unwrap());
        let example = DemoOptions {
            batches: 2,
            requests: 10_000,
            concurrency: 1,
            payload_size: 0,
            timeout: Duration::from_secs(1),
            pause: Duration::from_secs(3),
            seed: 1,
            source: SignalSource::Headers,
            handler: "reply".to_owned(),
            policy: "step".to_owned(),
            compile: Compile::default(),
        };
        assert_eq!(options, example);
    }

    #[test]
    fn counts_of_zero_are_refused() {
        for flag in ["--requests", "--batches", "--concurrency"] {
            let error = parse(&[flag, "0"]).unwrap_err().to_string();
            assert!(error.contains(flag), "{error}");
        }
    }

    #[test]
    fn the_plugins_that_ship_are_written_into_a_directory() {
        let dir = PluginDir::embedded().unwrap();
        for name in ["reply", "echo", "step", "backlog"] {
            assert!(dir.path().join(format!("{name}.wasm")).is_file(), "{name}");
        }
    }
}
