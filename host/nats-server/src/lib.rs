//! A nats-server of its own, for `run --local`, the demo, the benchmark and tests.
//!
//! It listens on loopback, on a port the system picks, keeps its streams in a directory of its own, and ends with the
//! process that started it, however that ends.

mod binary;
mod cluster;
mod error;
mod origin;
mod process;
mod ready;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

pub use binary::Binary;
pub use cluster::Cluster;
pub use error::ServerError;
pub use origin::{Origin, VARIABLE};
use process::Process;
use ready::Ready;
pub use semver::Version;

/// How long a server may take to end by itself before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What server to start.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The nats-server to run; `None` looks at `TIDEGATE_NATS_SERVER`, then in `PATH`.
    pub binary: Option<PathBuf>,
    /// Where streams are kept. It outlives the server; `None` uses a directory that is removed with it.
    pub store_dir: Option<PathBuf>,
    /// The port to listen on; `None` lets the system pick a free one.
    pub port: Option<u16>,
    /// Whether JetStream is on.
    pub jetstream: bool,
    /// More configuration, in the server's own format: accounts, TLS, limits.
    pub config: String,
    /// How long the server may take until it accepts clients.
    pub ready_within: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            binary: None,
            store_dir: None,
            port: None,
            jetstream: true,
            config: String::new(),
            ready_within: Duration::from_secs(30),
        }
    }
}

/// A nats-server that this process started. Dropping it kills the server and waits for its end, some milliseconds.
#[derive(Debug)]
pub struct Server {
    // Dropped first: nobody writes to the directories when they are removed.
    process: Process,
    plan: StartPlan,
    ready: Ready,
}

impl Server {
    /// Starts a server and waits until it accepts clients.
    ///
    /// # Errors
    /// When there is no usable nats-server, or when it does not come up; see [`ServerError`].
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let plan = StartPlan::new(options).await?;
        let (process, ready) = plan.launch(plan.options.port).await?;
        Ok(Self { process, plan, ready })
    }

    /// Where clients connect: `nats://127.0.0.1:PORT`, or `tls://` where the configuration asks for it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.ready.url
    }

    /// The port it listens on; the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ready.port
    }

    /// The program that runs.
    #[must_use]
    pub fn binary(&self) -> &Binary {
        &self.plan.binary
    }

    /// The version of the program that runs.
    #[must_use]
    pub fn version(&self) -> &Version {
        self.plan.binary.version()
    }

    /// Where its streams are.
    #[must_use]
    pub fn store_dir(&self) -> &Path {
        &self.plan.store_dir
    }

    /// Where its log is.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.plan.log_file()
    }

    /// The number of its process. Once that has ended, another one may have it.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process.number()
    }

    /// Whether it is still there; a paused one is.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Asks the server to end and waits for that; kills it if it has not ended after ten seconds.
    pub async fn stop(mut self) {
        self.process.terminate(STOP_WITHIN).await;
    }

    /// Kills the server, as a crash would, and waits for its end. Port and store are kept for [`Server::restart`].
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Freezes the server and waits until it stands still. Its connections stay open and nothing answers.
    ///
    /// # Errors
    /// When the server has ended.
    pub async fn pause(&mut self) -> Result<(), ServerError> {
        self.process.pause().await.map_err(ServerError::io("pause", self.plan.binary.path()))
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// When the server has ended.
    pub fn resume(&mut self) -> Result<(), ServerError> {
        self.process.resume().map_err(ServerError::io("resume", self.plan.binary.path()))
    }

    /// Stops the server if it runs and starts it again, on the same port and the same store.
    ///
    /// # Errors
    /// When it does not come up again; see [`ServerError`].
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.process.terminate(STOP_WITHIN).await;
        (self.process, self.ready) = self.plan.launch(Some(self.ready.port)).await?;
        Ok(())
    }
}

impl Server {
    /// Gives the server another configuration, in its own format: for its next start, or for [`Server::reload`].
    pub fn configure(&mut self, config: &str) {
        self.plan.options.config = config.to_owned();
    }

    /// Makes the server read its configuration anew without a restart. What it makes of that stands in its log.
    ///
    /// # Errors
    /// When the configuration cannot be written or the server has ended.
    pub fn reload(&mut self) -> Result<(), ServerError> {
        self.plan.write_config()?;
        self.process.reload().map_err(ServerError::io("reload", self.plan.binary.path()))
    }

    /// Puts the server into lame duck mode: it takes no new clients, sends those it has away one by one, and ends.
    ///
    /// # Errors
    /// When the server has ended.
    pub fn retire(&mut self) -> Result<(), ServerError> {
        self.process.retire().map_err(ServerError::io("retire", self.plan.binary.path()))
    }
}

/// Everything a start needs, and what a restart needs again.
#[derive(Debug)]
struct StartPlan {
    binary: Binary,
    options: ServerOptions,
    store_dir: PathBuf,
    /// Configuration, ports file and log; the store too, unless it was named.
    files: TempDir,
}

impl StartPlan {
    async fn new(options: ServerOptions) -> Result<Self, ServerError> {
        let binary = Binary::find(options.binary.as_deref()).await?;
        let files = tempfile::Builder::new()
            .prefix("tidegate-nats-")
            .tempdir()
            .map_err(ServerError::io("create a directory in", &std::env::temp_dir()))?;
        let store_dir = match &options.store_dir {
            Some(named) => std::path::absolute(named).map_err(ServerError::io("use", named))?,
            None => files.path().join("store"),
        };
        Ok(Self { binary, options, store_dir, files })
    }

    async fn launch(&self, port: Option<u16>) -> Result<(Process, Ready), ServerError> {
        let ports_dir = self.files.path().join("ports");
        // A killed server leaves its ports file behind, and that would look like the next one's.
        if ports_dir.exists() {
            fs::remove_dir_all(&ports_dir).map_err(ServerError::io("remove", &ports_dir))?;
        }
        for dir in [&ports_dir, &self.store_dir] {
            fs::create_dir_all(dir).map_err(ServerError::io("create", dir))?;
        }
        let config = self.write_config()?;
        let log = File::create(self.log_file()).map_err(ServerError::io("write", &self.log_file()))?;

        let mut command = process::Arguments::new();
        command.pair("--config", &config);
        command.pair("--addr", "127.0.0.1");
        command.pair("--port", port.map_or("-1".to_owned(), |port| port.to_string()));
        command.pair("--ports_file_dir", &ports_dir);
        let mut process = Process::spawn(self.binary.path(), command, log, self.files.path())
            .map_err(ServerError::io("start", self.binary.path()))?;
        let ready = ready::wait(&mut process, &ports_dir, self.options.ready_within)
            .await
            .map_err(|failure| failure.into_error(&self.log_file()))?;
        Ok((process, ready))
    }

    fn write_config(&self) -> Result<PathBuf, ServerError> {
        let config = self.files.path().join("server.conf");
        let mut text = String::new();
        if self.options.jetstream {
            // Not as flags, which a 2.10 forgets when it reads its configuration anew. A block of the caller's
            // overrides this, and on one line with it the server's errors name the lines that the caller knows.
            let not_text = || io::Error::new(io::ErrorKind::InvalidFilename, "its path is not UTF-8");
            let dir = self.store_dir.to_str().ok_or_else(not_text);
            let dir = serde_json::Value::from(dir.map_err(ServerError::io("use", &self.store_dir))?);
            text = format!("store_dir: {dir}; jetstream: enabled; ");
        }
        text.push_str(&self.options.config);
        fs::write(&config, text).map_err(ServerError::io("write", &config))?;
        Ok(config)
    }

    fn log_file(&self) -> PathBuf {
        self.files.path().join("server.log")
    }
}
