//! `tidegate run`.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::bail;
use tokio::time::sleep;

use super::flags::ConfigFlags;
use tidegate_nats_server::{self as server, Server};
use tidegate_runtime::RunError;
use tidegate_runtime::config::{Config, process_environment};
use tidegate_runtime::events::Observer;

/// The pause before a host whose client library failed is started again.
const AGAIN: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  tidegate run                                   the workloads of ./tidegate.toml
  tidegate run -c prod.toml --server nats://nats.internal:4222
  tidegate run --local --stream ORDERS --subjects 'orders.>,receipts.>' --filter 'orders.>' \\
    --handler receipts --policy backlog --grant-publish 'receipts.>'";

/// Runs workers on streams until SIGINT, SIGTERM, SIGQUIT or SIGHUP, then drains.
///
/// With a configuration file it runs the workloads there, without one a single workload made of flags. What is not
/// there yet is waited for, and told: a server, a stream, a consumer, a plugin. Exit code 0: drained. 1: it could not
/// start. 2: wrong usage. 130: a second signal ended it at once.
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

/// Runs until `shutdown` ends.
///
/// # Errors
/// If the configuration is wrong or the host cannot start.
pub async fn run(args: RunArgs, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut config = Config::load(&args.flags.0, &process_environment())?;
    config.plugins.compile = config.plugins.compile.by_this_program()?;
    if !args.local {
        return Ok(host(config, Observer::none(), shutdown).await?);
    }
    let server =
        Server::start(server::ServerOptions { binary: args.nats_server, ..server::ServerOptions::default() }).await?;
    config.nats = config.nats.moved_to(server.url());
    tracing::info!(url = server.url(), version = %server.version(), "nats-server of its own");
    let ended = host(config, Observer::none(), shutdown).await;
    server.stop().await;
    if let Err(error) = ended {
        bail!(error);
    }
    Ok(())
}

/// Runs the host, and once more each time the client library fails under it: a message must not be able to end it, nor
/// must a server that is away just then.
pub(super) async fn host(
    config: Config,
    observer: Observer,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut shutdown = pin!(shutdown);
    let mut has_run = false;
    loop {
        let ended = tidegate_runtime::run(config.clone(), observer.clone(), shutdown.as_mut()).await;
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
