//! `tidegate run`.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::flags::ConfigFlags;
use super::signals::shutdown_or_reload;
use tidegate_nats_server::{self as server, Server};
use tidegate_runtime::ConfigSource;
use tidegate_runtime::RunError;
use tidegate_runtime::config::{Compile, ConfigFiles, Flags, Reading, process_environment};
use tidegate_runtime::events::Observer;

/// The pause before a host whose client library failed is started again.
const AGAIN: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  tidegate run                                   the workloads of ./tidegate.toml
  tidegate run -c prod.toml --server nats://nats.internal:4222
  tidegate run --local --stream ORDERS --subjects 'orders.>,receipts.>' --filter 'orders.>' \\
    --handler receipts --policy backlog --grant-publish 'receipts.>'";

/// Runs workers on streams until SIGINT, SIGTERM or SIGQUIT, then drains.
///
/// With a configuration file it runs the workloads there and in workloads.d beside it, without one a single workload
/// made of flags. The file is read again when it changes (but with reload.watch = false), on SIGHUP, and on `tidegate
/// reload`: workloads are added, removed and changed without touching the others, and a file with an error changes
/// nothing. Flags stay as they are. What is not there yet is waited for, and told: a server, a stream, a consumer, a
/// plugin. Exit code 0: drained. 1: it could not start. 2: wrong usage. 130: a second signal, 250 ms after the first or
/// later, ended it at once.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Start a nats-server of its own on loopback; its streams are gone when it ends
    #[arg(long, conflicts_with_all = ["server", "context"])]
    pub local: bool,
    /// The nats-server that --local starts [default: TIDEGATE_NATS_SERVER, then PATH, then what `make install` brought]
    #[arg(long, value_name = "PATH", requires = "local")]
    pub nats_server: Option<PathBuf>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub flags: ConfigFlags,
}

/// Runs until it is told to end by a signal.
///
/// # Errors
/// If the configuration is wrong or the host cannot start.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    // Signals are heard from the beginning: a host that is asked to end while its own server starts does so.
    let (hang_up, mut hung_up) = mpsc::unbounded_channel();
    let shutdown = shutdown_or_reload(move || {
        // Nobody listens any more when the host has ended.
        let _ = hang_up.send(());
    })?;
    let flags = Flags { own_server: args.local, ..args.flags.0 };
    let server = match args.local {
        true => {
            // What is wrong with the configuration is told before a server is started for it.
            Reading::load(&flags, &process_environment())?;
            let options = server::ServerOptions { binary: args.nats_server, ..server::ServerOptions::default() };
            Some(Server::start(options).await?)
        }
        false => None,
    };
    let url = server.as_ref().map(|server| server.url().to_owned());
    if let Some(server) = &server {
        tracing::info!(url, version = %server.version(), "nats-server of its own");
    }
    let source = source(flags, url)?;
    let again = async {
        while hung_up.recv().await.is_some() {
            source.ask("SIGHUP");
        }
        std::future::pending().await
    };
    let ended = tokio::select! {
        ended = host(&source, Observer::none(), shutdown) => ended,
        never = again => never,
    };
    if let Some(server) = server {
        server.stop().await;
    }
    Ok(ended?)
}

/// The configuration that flags lead to, on a server of its own if there is one.
fn source(mut flags: Flags, url: Option<String>) -> anyhow::Result<ConfigSource> {
    let files = ConfigFiles::of(&flags);
    // From now on it is missed if it is gone.
    flags.file = files.as_ref().map(|files| files.file().to_owned());
    // Flags win over files for as long as the process runs, and so do variables.
    let environment = process_environment();
    let compile = Compile::default().by_this_program()?;
    let read = move || {
        let mut reading = Reading::load(&flags, &environment)?;
        if let Some(url) = &url {
            reading.config = reading.config.moved_to(url);
        }
        reading.config.plugins.compile.program.clone_from(&compile.program);
        Ok(reading)
    };
    Ok(ConfigSource::new(read, files)?)
}

/// Runs the host, and once more each time the client library fails under it: a message must not be able to end it, nor
/// must a server that is away just then.
pub(super) async fn host(
    source: &ConfigSource,
    observer: Observer,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut shutdown = pin!(shutdown);
    let mut has_run = false;
    loop {
        let ended = tidegate_runtime::run_from(source, observer.clone(), shutdown.as_mut()).await;
        has_run |= matches!(ended, Err(RunError::Client));
        match ended {
            Err(error) if has_run => {
                tracing::error!(%error, "starting again; what was not settled is delivered again after its ack wait");
            }
            ended => return ended,
        }
        tokio::select! {
            () = shutdown.as_mut() => return Ok(()),
            () = sleep(AGAIN) => {}
        }
    }
}
