//! The `tidegate` program: arguments, logs, signals.

use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidegate::cli::{bench, check, demo, log, request, run};
use tidegate::config::{ConnectionFlags, Nats, process_environment};
use tidegate::demo::LOG_FILTER;
use tidegate::jetstream::Client;
use tidegate::terminal::Terminal;
use tokio::signal::unix::{SignalKind, signal};

/// Runs WebAssembly workers on NATS JetStream, scaled by a WebAssembly policy.
#[derive(Parser)]
#[command(name = "tidegate", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    log: log::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    Demo(demo::DemoArgs),
    Request {
        #[command(flatten)]
        request: request::RequestArgs,
        #[command(flatten)]
        connection: Box<ConnectionFlags>,
    },
    Check(Box<check::CheckArgs>),
    Bench(bench::BenchArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let terminal = Terminal::new();
    let filter = match &cli.command {
        Command::Demo(_) => LOG_FILTER,
        _ => "info",
    };
    let done = match log::init(&cli.log, filter, &terminal) {
        Ok(()) => command(cli.command, &terminal).await,
        Err(error) => Err(error),
    };
    done.unwrap_or_else(|error| {
        // The last word goes to standard error even if nothing can be written there any more.
        let _ = writeln!(std::io::stderr(), "tidegate: {error:#}");
        ExitCode::FAILURE
    })
}

async fn command(command: Command, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => {
            let shutdown = shutdown()?;
            run::run(*args, shutdown).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo(args) => demo::run(&args, terminal, &mut stdout().lock(), shutdown()?).await,
        Command::Request { connection, request } => {
            let nats = Nats::load(&connection, None, &process_environment())?;
            let client = Client::connect(&nats).await?;
            request::run(&request, &client, &mut stdout().lock()).await
        }
        Command::Bench(args) => {
            bench::run(args, terminal, &mut stdout().lock(), shutdown()?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(args) => check::run(*args, &mut stdout().lock()).await,
    }
}

/// Ends at the first SIGINT or SIGTERM. The second ends the process.
fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut next = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let (first, is_first) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        next().await;
        // Nobody may be waiting any more.
        let _ = first.send(());
        next().await;
        tracing::warn!("second signal: ending at once; what is not settled is delivered again after its ack wait");
        std::process::exit(130);
    });
    Ok(async {
        let _ = is_first.await;
    })
}
