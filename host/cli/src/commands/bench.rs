//! `tidegate bench`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;

use super::output::Output;
use tidegate_artifacts::workers;
use tidegate_lab::bench::{self, BenchOptions, HandlerOptions};
use tidegate_lab::terminal::Terminal;
use tidegate_nats_server::{self as server, Server};

const EXAMPLES: &str = "\
Examples:
  tidegate bench --handler plugins/echo.wasm --payload 'hello tide'
  tidegate bench --handler plugins/echo.wasm --handler plugins/reply.wasm --output json";

/// Measures components against the same loop in native code, on a nats-server of its own.
///
/// What is compared runs in turn in one run, and only the ratios say something of another machine. It takes three to
/// four minutes. With --handler it measures handlers of yours instead, without a server: the size of the file, the time
/// to compile it, a call, and the memory of a worker. Exit code 0: measured. 1: something failed.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// A handler's file to measure; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with_all = ["messages", "payload_size", "rounds", "nats_server"])]
    pub handler: Vec<PathBuf>,
    /// What the handlers are given
    #[arg(long, value_name = "TEXT", default_value = "hello tide", requires = "handler")]
    pub payload: String,
    /// Messages of each throughput round
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1000..))]
    pub messages: u32,
    /// Bytes of each message
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(..=1_000_000)
    )]
    pub payload_size: u32,
    /// Rounds of each kind; medians are reported
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Requests of each latency round, or calls of each handler
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(10..))]
    pub requests: u32,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    /// The nats-server to start [default: TIDEGATE_NATS_SERVER, then PATH, then what `make install` brought]
    #[arg(long, value_name = "PATH")]
    pub nats_server: Option<PathBuf>,
}

/// Measures and prints to `out`.
///
/// # Errors
/// If the server or a workload fails, or the answer cannot be written.
pub async fn run(
    args: BenchArgs,
    terminal: &Terminal,
    out: &mut impl Write,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    if !args.handler.is_empty() {
        return handlers(args, terminal, out, interrupted).await;
    }
    let server =
        Server::start(server::ServerOptions { binary: args.nats_server, ..server::ServerOptions::default() }).await?;
    let options = BenchOptions {
        messages: usize::try_from(args.messages)?,
        payload: usize::try_from(args.payload_size)?,
        rounds: args.rounds,
        requests: args.requests,
        reply: workers::REPLY,
        reply_batch: workers::REPLY_BATCH,
        echo: workers::ECHO,
        fetch: workers::FETCH,
        fetch_async: workers::FETCH_ASYNC,
    };
    let bar = terminal.bar(options.steps());
    let report = tokio::select! {
        report = bench::run(&options, server.url(), &bar) => report?,
        () = interrupted => bail!("interrupted"),
    };
    server.stop().await;
    args.output.write(out, &report, |out| writeln!(out, "{report}"))
}

async fn handlers(
    args: BenchArgs,
    terminal: &Terminal,
    out: &mut impl Write,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let options = HandlerOptions { files: args.handler, payload: args.payload.into(), calls: args.requests };
    let bar = terminal.bar(u64::try_from(options.files.len())?);
    let report = tokio::select! {
        report = bench::handlers(&options, &bar) => report?,
        () = interrupted => bail!("interrupted"),
    };
    args.output.write(out, &report, |out| writeln!(out, "{report}"))
}
