//! `tidegate bench`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde::de::DeserializeOwned;
use tokio::process::Command;

use super::output::Output;
use super::whole_number;
use tidegate_artifacts::{policies, workers};
use tidegate_lab::bench::{
    self, Axis, BenchOptions, BenchReport, HandlerOptions, HostTask, Row, Rows, ScaleOptions, ScaleServers, WAITING,
    WaitingKeys,
};
use tidegate_lab::terminal::Terminal;
use tidegate_nats_server::{self as server, Cluster, Server};

/// Rounds of each kind, and of each point of a curve.
const ROUNDS: u32 = 9;
const SCALE_ROUNDS: u32 = 3;

const EXAMPLES: &str = "\
Examples:
  tidegate bench --only batches,order --rounds 5
  tidegate bench --handler plugins/echo.wasm --payload 'hello tide'
  tidegate bench --handler plugins/echo.wasm --handler plugins/reply.wasm --output json
  tidegate bench --scale workers,payload --pictures .";

/// Measures components against the same loop in native code, on a nats-server of its own.
///
/// What is compared runs in turn in one run, and only the ratios say something of another machine. It takes some
/// seven minutes. With --handler it measures handlers of yours instead, without a server: the size of the file, the
/// time to compile it, a call, and the memory of a worker. With --scale it measures how a host grows: each point is a
/// process of its own, and the whole takes an hour. Exit code 0: measured. 1: something failed.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// A handler's file to measure; may be given several times
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["only", "messages", "payload_size", "rounds", "nats_server"]
    )]
    pub handler: Vec<PathBuf>,
    /// What the handlers are given
    #[arg(long, value_name = "TEXT", default_value = "hello tide", requires = "handler")]
    pub payload: String,
    /// What to measure, separated by commas; all of it but many-... without
    #[arg(long, value_name = "ROWS", value_delimiter = ',', value_parser = rows())]
    pub only: Vec<Row>,
    /// Messages of each throughput round
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = whole_number::<u32>(1000..))]
    pub messages: u32,
    /// Bytes of each message
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 128,
        value_parser = whole_number::<u32>(0..=1_000_000)
    )]
    pub payload_size: u32,
    /// Rounds of each kind; medians are reported [default: 9, with --scale 3]
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(1..=100))]
    pub rounds: Option<u32>,
    /// Requests of each latency round, or calls of each handler
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = whole_number::<u32>(10..))]
    pub requests: u32,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    /// Measures only so many workers with so many deliveries each that wait, in this process
    #[arg(long, value_name = "WORKERSxEACH", hide = true, value_parser = kind, requires = "only")]
    pub waiting: Option<(u32, usize)>,
    /// Measures only the memory of messages that wait for one key or for each its own, in this process
    #[arg(long, value_name = "KEYS", hide = true, value_parser = waiting_keys, requires = "only")]
    pub key_memory: Option<WaitingKeys>,
    /// Measures how a host grows instead: with more of these, separated by commas, or of all of them
    #[arg(
        long,
        value_name = "WHAT",
        num_args = 0..=1,
        value_delimiter = ',',
        value_parser = axes(),
        conflicts_with_all = ["only", "handler", "payload_size", "requests"]
    )]
    pub scale: Option<Vec<Axis>>,
    /// Points of each curve, from the smallest; all without
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(2..), requires = "scale")]
    pub points: Option<u32>,
    /// Also writes a picture of each curve into this directory
    #[arg(long, value_name = "DIR", requires = "scale")]
    pub pictures: Option<PathBuf>,
    /// Runs a host that does this, until standard input ends
    #[arg(long, value_name = "JSON", hide = true, value_parser = task)]
    pub host: Option<HostTask>,
    /// The nats-server to start [default: TIDEGATE_NATS_SERVER, then PATH, then what `make install` brought]
    #[arg(long, value_name = "PATH")]
    pub nats_server: Option<PathBuf>,
}

/// Workers and deliveries of each, as `4x64`.
fn kind(text: &str) -> Result<(u32, usize), String> {
    let numbers = text.split_once('x').and_then(|(workers, each)| Some((workers.parse().ok()?, each.parse().ok()?)));
    numbers.ok_or_else(|| "not two numbers with an x between them".to_owned())
}

fn waiting_keys(name: &str) -> Result<WaitingKeys, String> {
    WaitingKeys::ALL.into_iter().find(|which| which.name() == name).ok_or_else(|| "neither one nor each".to_owned())
}

/// What a host in a process of its own does.
fn task(text: &str) -> Result<HostTask, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Measures one thing in a process of its own.
async fn by_itself<T: DeserializeOwned>(what: &[&str], server: Option<&Path>) -> anyhow::Result<T> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "--output", "json"]).args(what);
    server.into_iter().for_each(|server| _ = command.arg("--nats-server").arg(server));
    let ended = command.stderr(Stdio::inherit()).kill_on_drop(true).output().await?;
    if !ended.status.success() {
        bail!("{}: not measured, the process ended, {}", what.join(" "), ended.status);
    }
    Ok(serde_json::from_slice(&ended.stdout)?)
}

fn axes() -> impl clap::builder::TypedValueParser<Value = Axis> {
    PossibleValuesParser::new(Axis::ALL.map(Axis::name))
        .try_map(|name| Axis::named(&name).ok_or("nothing that can be made larger"))
}

fn rows() -> impl clap::builder::TypedValueParser<Value = Row> {
    PossibleValuesParser::new(Row::ALL.map(Row::name))
        .try_map(|name| Row::named(&name).ok_or("no row of the benchmark"))
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
    if let Some(task) = &args.host {
        return bench::serve(task).await;
    }
    if !args.handler.is_empty() {
        return handlers(args, terminal, out, interrupted).await;
    }
    if args.scale.is_some() {
        return scale(args, terminal, out, interrupted).await;
    }
    let binary = args.nats_server.clone();
    let server = Server::start(server::ServerOptions { binary, ..server::ServerOptions::default() }).await?;
    let rows = if args.only.is_empty() {
        Row::ALL.into_iter().filter(|row| row.is_usual()).collect()
    } else {
        args.only.clone()
    };
    let options = options(&args, Rows::of(rows), ROUNDS, Some(server.process()))?;
    if let Some(kind) = args.waiting {
        let cost = tokio::select! {
            cost = bench::waiting(&options, server.url(), kind) => cost?,
            () = interrupted => bail!("interrupted"),
        };
        server.stop().await;
        return args.output.write(out, &cost, |out| writeln!(out, "{cost}"));
    }
    if let Some(which) = args.key_memory {
        let memory = tokio::select! {
            memory = bench::key_memory(&options, server.url(), which) => memory?,
            () = interrupted => bail!("interrupted"),
        };
        server.stop().await;
        return args.output.write(out, &memory, |out| writeln!(out, "{memory}"));
    }
    let waiting = if options.rows.has(Row::Waiting) { WAITING.as_slice() } else { &[] };
    let keys = if options.rows.has(Row::KeyMemory) { WaitingKeys::ALL.as_slice() } else { &[] };
    let bar = terminal.bar(options.steps() + waiting.len() as u64 + keys.len() as u64);
    let measuring = async {
        let nats_server = args.nats_server.as_deref();
        let (mut costs, mut key_memory) = (Vec::new(), Vec::new());
        for (workers, each) in waiting {
            bar.advance();
            bar.say(format!("handlers that wait, {workers} workers, {each} each"));
            let kind = format!("{workers}x{each}");
            let what = ["--only", "waiting", "--messages", "1000", "--waiting", &kind];
            costs.push(by_itself(&what, nats_server).await?);
        }
        for which in keys {
            bar.advance();
            bar.say("messages that wait for their key".to_owned());
            let (messages, size) = (args.messages.to_string(), args.payload_size.to_string());
            let sizes = ["--messages", &messages, "--payload-size", &size];
            let what = [["--only", "key-memory", "--key-memory", which.name()], sizes].concat();
            key_memory.push(by_itself(&what, nats_server).await?);
        }
        let report = bench::run(&options, server.url(), &bar).await?;
        anyhow::Ok(BenchReport { waiting: costs, key_memory, ..report })
    };
    let report = tokio::select! {
        report = measuring => report?,
        () = interrupted => bail!("interrupted"),
    };
    server.stop().await;
    args.output.write(out, &report, |out| writeln!(out, "{report}"))
}

/// What is measured, and with what.
fn options(args: &BenchArgs, rows: Rows, rounds: u32, server: Option<u32>) -> anyhow::Result<BenchOptions> {
    Ok(BenchOptions {
        rows,
        server,
        messages: usize::try_from(args.messages)?,
        payload: usize::try_from(args.payload_size)?,
        rounds: args.rounds.unwrap_or(rounds),
        requests: args.requests,
        reply: workers::REPLY,
        reply_batch: workers::REPLY_BATCH,
        echo: workers::ECHO,
        fetch: workers::FETCH,
        fetch_async: workers::FETCH_ASYNC,
        fan_out: workers::FAN_OUT,
        fixed: policies::FIXED,
    })
}

async fn scale(
    args: BenchArgs,
    terminal: &Terminal,
    out: &mut impl Write,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let asked = args.scale.clone().unwrap_or_default();
    let options = ScaleOptions {
        axes: if asked.is_empty() { Axis::ALL.to_vec() } else { asked },
        points: args.points.map_or(Ok(usize::MAX), usize::try_from)?,
        bench: options(&args, Rows::of(Vec::new()), SCALE_ROUNDS, None)?,
    };
    let of_servers = server::ServerOptions { binary: args.nats_server.clone(), ..server::ServerOptions::default() };
    let single = if options.has_single() { Some(Server::start(of_servers.clone()).await?) } else { None };
    let cluster = if options.has_cluster() { Some(Cluster::start(&of_servers, bench::CLUSTER).await?) } else { None };
    let one =
        single.as_ref().map(|server| ScaleServers { url: server.url().to_owned(), processes: vec![server.process()] });
    let three = cluster.as_ref().and_then(|cluster| {
        Some(ScaleServers { url: cluster.urls().next()?.to_owned(), processes: cluster.processes().collect() })
    });
    let bar = terminal.bar(options.steps());
    let report = tokio::select! {
        report = bench::scale(&options, one.as_ref(), three.as_ref(), &bar) => report?,
        () = interrupted => bail!("interrupted"),
    };
    if let Some(server) = single {
        server.stop().await;
    }
    if let Some(cluster) = cluster {
        cluster.stop().await;
    }
    for curve in report.curves.iter().filter(|_| args.pictures.is_some()) {
        let file = args.pictures.clone().unwrap_or_default().join(format!("scale-{}.svg", curve.axis));
        std::fs::write(&file, curve.svg()?).with_context(|| format!("write {}", file.display()))?;
    }
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
