//! The `tidegate` program: arguments, logs, signals.

use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
#[cfg(feature = "guests")]
use tidegate::commands::{bench, demo, dev, new};
use tidegate::commands::{
    check, compile, completions, dead, drain, error_output, explain, health, journal, log, man, pause, permissions,
    plugin, reload, replay, request, rollout, run, scale,
    signals::{outlive_file_limit, shutdown},
    simulate, top,
};
#[cfg(feature = "guests")]
use tidegate_lab::demo::LOG_FILTER;
use tidegate_lab::live_run::LOG_FILTER as LIVE_LOG_FILTER;
use tidegate_lab::log_output;
use tidegate_lab::terminal::Terminal;

/// Runs WebAssembly workers on NATS JetStream, scaled by a WebAssembly policy.
///
/// A handler is a component that handles one message, a policy one that decides how many workers there are. Both are
/// files in a plugin directory, and are swapped while they run.
#[derive(Parser)]
#[command(name = "tidegate", version, max_term_width = 110, after_help = BEGIN)]
struct Cli {
    #[command(flatten)]
    log: log::LogArgs,
    #[command(subcommand)]
    command: Command,
}

/// What to try first.
const BEGIN: &str = "\
Begin with:
  tidegate demo                  the whole path, on a nats-server of its own
  tidegate run --help            flags, and examples of running one workload without a file
  tidegate check -c FILE         what is wrong with a configuration and its plugins";

#[derive(Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    #[cfg(feature = "guests")]
    Demo(demo::DemoArgs),
    Request(Box<request::RequestArgs>),
    Check(Box<check::CheckArgs>),
    Permissions(Box<permissions::PermissionsArgs>),
    Health(health::HealthArgs),
    Reload(reload::ReloadArgs),
    Journal(Box<journal::JournalArgs>),
    Replay(replay::ReplayArgs),
    Dead(Box<dead::DeadArgs>),
    Explain(Box<explain::ExplainArgs>),
    Top(top::TopArgs),
    Pause(Box<pause::PauseArgs>),
    Resume(Box<pause::ResumeArgs>),
    Scale(Box<scale::ScaleArgs>),
    Drain(Box<drain::DrainArgs>),
    Undrain(Box<drain::UndrainArgs>),
    Rollout(Box<rollout::RolloutArgs>),
    #[cfg(feature = "guests")]
    New(new::NewArgs),
    #[cfg(feature = "guests")]
    Dev(Box<dev::DevArgs>),
    #[command(visible_alias = "plugins")]
    Plugin(plugin::PluginArgs),
    Simulate(Box<simulate::SimulateArgs>),
    #[cfg(feature = "guests")]
    Bench(bench::BenchArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    #[command(hide = true)]
    Compile(compile::CompileArgs),
}

/// How long the end may take, once all is done.
const STOP: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let cli = Cli { log: cli.log.of(&matches), ..cli };
    if let Command::Compile(args) = &cli.command {
        // It bounds its memory before it has threads, which have some each.
        return compile::run(args);
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let code = runtime.block_on(talk(cli));
            // What still waits for a disk or for a reader does not keep the process.
            runtime.shutdown_timeout(STOP);
            log_output::finish(STOP);
            code
        }
        Err(error) => {
            error_output::say(&anyhow::Error::from(error).context("threads cannot be started"));
            ExitCode::FAILURE
        }
    }
}

async fn talk(cli: Cli) -> ExitCode {
    let terminal = Terminal::new();
    let filter = match &cli.command {
        #[cfg(feature = "guests")]
        Command::Demo(_) => LOG_FILTER,
        Command::Simulate(_) => LIVE_LOG_FILTER,
        _ => "info",
    };
    let started = outlive_file_limit().and_then(|()| log_output::start()).map_err(anyhow::Error::from);
    let started = started.and_then(|()| log::init(&cli.log, filter, &terminal));
    let done = match started {
        Ok(()) => Box::pin(command(cli.command, &terminal)).await,
        Err(error) => Err(error),
    };
    // The end of an answer may be written only now, and not be taken.
    let done = done.and_then(|code| Ok(stdout().flush().map(|()| code)?));
    done.unwrap_or_else(|error| {
        error_output::say(&error);
        ExitCode::FAILURE
    })
}

async fn command(command: Command, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => {
            run::run(*args).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Reload(args) => reload::run(&args, &mut stdout().lock()).await,
        #[cfg(feature = "guests")]
        Command::Demo(args) => demo::run(&args, terminal, &mut stdout().lock(), shutdown()?).await,
        Command::Request(args) => request::run(&args, &mut stdout().lock()).await,
        #[cfg(feature = "guests")]
        Command::New(args) => {
            new::run(&args, &mut stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(feature = "guests")]
        Command::Dev(args) => {
            Box::pin(dev::run(*args, &mut stdout().lock(), shutdown()?)).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Plugin(args) => plugin::run(&args, &mut stdout().lock()).await,
        Command::Dead(args) => dead::run(*args, terminal, &mut stdout().lock(), shutdown).await,
        Command::Explain(args) => explain::run(&args, &mut stdout().lock()).await,
        Command::Top(args) => top::run(&args, &mut stdout().lock(), shutdown()?).await,
        Command::Pause(args) => pause::pause(&args, &mut stdout().lock()).await,
        Command::Resume(args) => pause::resume(&args, &mut stdout().lock()).await,
        Command::Scale(args) => scale::run(&args, &mut stdout().lock()).await,
        Command::Drain(args) => drain::drain(&args, &mut stdout().lock()).await,
        Command::Undrain(args) => drain::undrain(&args, &mut stdout().lock()).await,
        Command::Rollout(args) => rollout::run(&args, &mut stdout().lock()).await,
        Command::Journal(args) => journal::run(&args, &mut stdout().lock()).await,
        Command::Replay(args) => replay::run(args, &mut stdout().lock()).await,
        #[cfg(feature = "guests")]
        Command::Bench(args) => {
            bench::run(args, terminal, &mut stdout().lock(), shutdown()?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Simulate(args) => simulate::run(*args, terminal, &mut stdout().lock(), shutdown).await,
        Command::Check(args) => check::run(*args, &mut stdout().lock()).await,
        Command::Compile(args) => Ok(compile::run(&args)),
        Command::Completions(args) => completions::run(&args, Cli::command(), &mut stdout().lock()),
        Command::Man(args) => man::run(&args, Cli::command(), &mut stdout().lock()),
        Command::Health(args) => health::run(&args, &mut stdout().lock()).await,
        Command::Permissions(args) => permissions::run(&args, &mut stdout().lock()),
    }
}
