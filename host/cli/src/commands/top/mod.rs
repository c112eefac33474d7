//! `tidegate top`: what a host does, in a terminal.

mod detail;
mod fetch;
mod host;
mod hosts;
mod keys;
mod lines;
mod overview;
mod screen;
mod source;
mod status;
mod view;

use std::io::{IsTerminal as _, Write, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::address::Address;
use super::connect::{connect, given};
use super::flags::ConnectionFlags;
use super::positive;
use host::Host;
use screen::Screen;
use source::Source;
use tidegate_runtime::config::{Nats, process_environment};
use view::View;

/// How wide an answer is that goes to no terminal.
const WIDTH: usize = 160;

const EXAMPLES: &str = "\
Examples:
  tidegate top                                   the host that was started with --http 8222 on this machine
  tidegate top --url http://10.0.0.7:8222
  tidegate top --url 8223 --once                 printed once, for a file or a script
  tidegate top --nats                            all hosts that answer as a NATS service
  tidegate top --server nats://10.0.0.5:4222     the same, there

Keys:
  up, down, k, j, page up, page down, g, G       choose a workload, or move in its lines
  enter, right, l                                the workload: what is observed, its workers, its decisions
  escape, left, h                                back to all
  q, Ctrl-C                                      end";

/// Shows what the workloads of hosts do, live: arrivals, backlog, workers, and the last decision with its reason.
///
/// Reads /status of a host that answers over HTTP, as `tidegate run --http 8222` does, and needs no NATS and no rights.
/// With --nats, or a flag that says how to connect, it shows all hosts that have service.enabled = true, in one list. A
/// host that is away is asked on, and what it said last stays. Exit code 0: ended by a key or a signal, or printed. 1:
/// there is no terminal, or with --once no host answers there. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TopArgs {
    /// Where the host answers: http://, a name or an IP address, and a port; a port alone is of this machine
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8222", conflicts_with = "nats")]
    pub url: Address,
    /// Ask all hosts that answer as a NATS service
    #[arg(long)]
    pub nats: bool,
    /// A configuration file that says in its table `nats` how to connect
    #[arg(long, short, value_name = "FILE", conflicts_with = "url")]
    pub config: Option<PathBuf>,
    /// How often the host is asked
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive)]
    pub interval: Duration,
    /// Print what there is now, and end; no terminal is needed
    #[arg(long)]
    pub once: bool,
    #[allow(missing_docs)]
    #[command(flatten, next_help_heading = "Connection")]
    pub connection: ConnectionFlags,
}

/// Shows it until a key or `shutdown` ends it.
///
/// # Errors
/// If there is no terminal, it cannot be written to, or with `--once` no host answers.
pub async fn run(args: &TopArgs, out: &mut impl Write, shutdown: impl Future<Output = ()>) -> anyhow::Result<ExitCode> {
    let has_terminal = stdin().is_terminal() && stdout().is_terminal();
    if !args.once && !has_terminal {
        bail!("there is no terminal to show it on\n  `tidegate top --once` prints it once; /status is for programs.");
    }
    let mut source = source(args).await?;
    if args.once {
        let host = source.once().await.map_err(|why| anyhow::anyhow!("{why}"))?;
        let width = terminal_size::terminal_size_of(stdout()).map_or(WIDTH, |(width, _)| width.0.into());
        for line in overview::all(&host, width) {
            writeln!(out, "{}", line.text.trim_end())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    live(source, args.interval, out, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

/// By NATS where anything says so.
async fn source(args: &TopArgs) -> anyhow::Result<Source> {
    if !args.nats && args.config.is_none() && args.connection.0.is_empty() {
        return Ok(Source::Http(args.url.clone()));
    }
    let nats = Nats::load(&args.connection.0, args.config.as_deref(), &process_environment())?;
    Ok(Source::nats(connect(&nats, given(args.config.as_deref())).await?))
}

async fn live(
    source: Source,
    interval: Duration,
    out: &mut impl Write,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut resized = signal(SignalKind::window_change())?;
    let mut screen = Screen::open(out)?;
    let (keys, mut pressed) = mpsc::channel(16);
    keys::listen(keys)?;
    let (told, mut heard) = watch::channel(Host::default());
    let from = source.to_string();
    let asking = tokio::spawn(ask(source, interval, told));
    let mut view = View::default();
    tokio::pin!(shutdown);
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        let size = terminal_size::terminal_size_of(stdout()).map_or((80, 24), |(w, h)| (w.0.into(), h.0.into()));
        let lines = view.draw(&heard.borrow_and_update(), &from, size);
        screen.show(&lines)?;
        tokio::select! {
            key = pressed.recv() => match key {
                Some(key) if view.press(key, &heard.borrow(), size) => {}
                // Without a keyboard nobody could end it.
                _ => break,
            },
            _ = heard.changed() => {}
            // For how long a host is away.
            _ = every_second.tick() => {}
            _ = resized.recv() => {}
            () = &mut shutdown => break,
        }
    }
    asking.abort();
    Ok(())
}

/// Asks again and again.
async fn ask(mut source: Source, interval: Duration, told: watch::Sender<Host>) {
    loop {
        let answer = source.ask().await;
        let now = Instant::now();
        told.send_modify(|host| host.hear(answer, now));
        tokio::time::sleep(interval).await;
    }
}
