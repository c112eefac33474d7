//! `tidegate dev`.

mod build;
mod messages;
mod project;
mod sources;
mod workload;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, timeout};

use super::flags::ConfigFlags;
use super::run::host;
use build::Builder;
use messages::Messages;
use project::Project;
use sources::Sources;
use tidegate_nats_server::{self as server, Server};
use tidegate_runtime::ConfigSource;
use tidegate_runtime::config::{Config, process_environment};
use tidegate_runtime::events::{Event, Observer};

const EXAMPLES: &str = "\
Examples:
  tidegate dev shout --send 'hello tide'
  tidegate dev shout --setting currency=EUR --grant-http https://prices.internal
  tidegate dev shout --build 'make wasm' --component out/shout.wasm";

/// Builds a handler each time that its source changes, and runs what was built: from an edit to its reply in one step.
///
/// Everything happens in DIR, as with `make -C`: the paths of flags are meant from there. The workload is that of the
/// flags or of DIR/tidegate.toml, as with `tidegate run`. Without either it is one to try things with: the policy
/// `step`, a stream DEV that takes NAME.>, messages on NAME.in.>, publications granted on NAME.out. The nats-server is
/// one of its own, whatever the file says, unless --server or --context names one. The handler comes from the plugin
/// directory, pinned and signed or not, wherever the file has it come from. A build that fails changes nothing:
/// what runs stays. Each line of standard input is sent as a message, and replies are printed to standard output. Exit
/// code 0: told to end, and drained. 1: it could not start. 2: wrong usage. 130: a second signal ended it at once.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DevArgs {
    /// The directory of the handler's project
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// The command that builds it, for sh [default: cargo, npm or make, by the file that DIR has]
    #[arg(long, value_name = "COMMAND")]
    pub build: Option<String>,
    /// The component that the build makes [default: the one that cargo names, else plugins/NAME.wasm]
    #[arg(long, value_name = "FILE")]
    pub component: Option<PathBuf>,
    /// A name of files or directories that are not source; may be given several times. Hidden ones, target,
    /// node_modules, plugins, build, dist, bindings, __pycache__, lock files, *.wasm, *.log and the files that this
    /// command prints into never are
    #[arg(long, value_name = "NAME")]
    pub ignore: Vec<String>,
    /// A message to send each time that new code is in use; a line of standard input takes its place
    #[arg(long, value_name = "TEXT")]
    pub send: Option<String>,
    /// The subject of these messages [default: the first that the workload handles, with `dev` for wildcards]
    #[arg(long, value_name = "SUBJECT")]
    pub send_to: Option<String>,
    /// The nats-server to start [default: TIDEGATE_NATS_SERVER, then PATH, then what `make install` brought]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["server", "context"])]
    pub nats_server: Option<PathBuf>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub flags: ConfigFlags,
}

/// Builds and runs until `shutdown` ends. Replies go to `out`.
///
/// # Errors
/// If there is nothing to build, the configuration is wrong, or the host cannot start.
pub async fn run(args: DevArgs, out: &mut impl Write, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let shutdown = shutdown.shared();
    std::env::set_current_dir(&args.dir).with_context(|| format!("cannot work in {}", args.dir.display()))?;
    let here = std::env::current_dir().with_context(|| {
        format!("the directory {} is there no more; go to another one, or give it as DIR", args.dir.display())
    })?;
    let project = Project::find(&here, args.build, args.component)?;
    let wanted = workload::flags(args.flags.0, &project.name, Path::new("tidegate.toml").exists());
    let name = wanted.handler;
    let mut config = Config::load(&wanted.flags, &process_environment())?;
    workload::build_here(&mut config, &name, &project.name).iter().for_each(|said| tracing::info!("{said}"));
    config.plugins.compile = config.plugins.compile.by_this_program()?;
    let Some(of) = config.workloads.iter().find(|workload| workload.handler == name) else {
        bail!("no workload has the handler {name}, which is what {} builds; name it by --handler", here.display());
    };
    let (subject, of) = (args.send_to.or_else(|| workload::subject(&of.queue)), of.name.clone());
    if wanted.is_own_policy {
        workload::bring_policy(&config.plugins.dir)?;
    }

    let options = server::ServerOptions { binary: args.nats_server, ..server::ServerOptions::default() };
    let server = if wanted.names_server { None } else { Some(Server::start(options).await?) };
    if let Some(server) = &server {
        config = config.moved_to(server.url());
        tracing::info!(url = server.url(), version = %server.version(), "nats-server of its own");
    }
    say_how_to_send(server.as_ref(), subject.as_deref());

    // What it makes is no source, wherever it lies.
    let made = project.component.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let mut sources = Sources::new(here, args.ignore.into_iter().chain(made).collect());
    let most = config.plugins.compile.max_size;
    let builder = Builder::new(project, config.plugins.dir.join(format!("{name}.wasm")), most);
    tokio::select! {
        () = shutdown.clone() => return Ok(()),
        began = sources.now() => began?,
    }
    tokio::select! {
        () = shutdown.clone() => return Ok(()),
        built = build(&mut sources, &builder) => built?,
    }
    let (tell, in_use) = unbounded_channel();
    let nats = config.workloads.iter().find(|workload| workload.name == of).map(|of| config.nats_of(of).clone());
    let plugin = name.clone();
    let observer = Observer::new(move |event| {
        let is_new = match &event {
            Event::Ready { workload } => **workload == *of,
            Event::Swapped { workload, plugin: swapped, .. } => **workload == *of && **swapped == *plugin,
            _ => false,
        };
        if is_new {
            // Nobody hears it while this ends.
            let _ = tell.send(());
        }
    });
    let messages =
        Messages { nats: nats.unwrap_or_else(|| config.nats.clone()), subject, text: args.send.map(Bytes::from) };
    let source = ConfigSource::fixed(config);
    let ended = tokio::select! {
        ended = host(&source, observer, shutdown) => ended.map_err(anyhow::Error::from),
        failed = build_again(&mut sources, &builder) => failed,
        failed = messages.run(in_use, out) => failed,
    };
    if let Some(server) = server {
        server.stop().await;
    }
    ended
}

/// Builds after each change, without end.
async fn build_again(sources: &mut Sources, builder: &Builder) -> anyhow::Result<()> {
    loop {
        let changed = sources.changed().await?;
        tracing::info!("{} changed", changed.display());
        build(sources, builder).await?;
    }
}

/// How often is told that a build still goes on.
const STILL: Duration = Duration::from_secs(30);

/// Builds. What builds seem to write themselves is told once, and starts none.
async fn build(sources: &mut Sources, builder: &Builder) -> anyhow::Result<()> {
    let looking = &*sources;
    told_meanwhile(builder.build(), async |since| tell_that_it_goes_on(looking, since).await).await?;
    if let Some(written) = sources.built().await? {
        tracing::warn!(
            "{} changes with every build, so that change starts none any more; leave it out by --ignore {}",
            written.display(),
            written.file_name().unwrap_or(written.as_os_str()).display()
        );
    }
    Ok(())
}

/// Waits for `work`, and now and then has told for how long it goes on.
async fn told_meanwhile(
    work: impl Future<Output = ()>,
    mut tell: impl AsyncFnMut(Duration) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    tokio::pin!(work);
    while timeout(STILL, &mut work).await.is_err() {
        tell(began.elapsed()).await?;
    }
    Ok(())
}

/// Says that a build goes on, and what has changed meanwhile: nobody would know otherwise what is waited for.
async fn tell_that_it_goes_on(sources: &Sources, since: Duration) -> anyhow::Result<()> {
    let seconds = since.as_secs();
    let Some(changed) = sources.changed_meanwhile().await? else {
        tracing::info!("still building, for {seconds} s");
        return Ok(());
    };
    tracing::warn!(
        "still building, for {seconds} s; {} has changed meanwhile, and is built when this build has ended; if it does \
         not end, end this command",
        changed.display()
    );
    Ok(())
}

fn say_how_to_send(server: Option<&Server>, subject: Option<&str>) {
    let Some(subject) = subject else {
        tracing::warn!("nothing can be sent from here: the workload has no subjects; give one by --send-to");
        return;
    };
    let at = server.map(|server| format!(" --server {}", server.url())).unwrap_or_default();
    let typed = if std::io::stdin().is_terminal() { "; so does a line that is typed here" } else { "" };
    tracing::info!("`tidegate request {subject} TEXT{at}` sends a message{typed}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_build_that_takes_long_is_told_again_and_again_until_it_ends() {
        let mut told = Vec::new();
        let long = tokio::time::sleep(Duration::from_secs(100));
        let tell = async |since: Duration| {
            told.push(since.as_secs());
            anyhow::Ok(())
        };
        told_meanwhile(long, tell).await.unwrap();
        assert_eq!(told, [30, 60, 90]);
    }
}
