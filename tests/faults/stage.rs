//! Where a row plays: servers, plugins, the configuration, a client.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::consumer::{Info, pull};
use async_nats::jetstream::{self, stream};
use tempfile::TempDir;
use toml::{Table, Value};

use crate::hosts::Host;
use crate::patience::{until, within};
use crate::servers::Servers;
use crate::shared::plugins;

/// Where dead letters are kept.
pub(crate) const DEAD: &str = "TIDEGATE_DEAD";

/// A workload `name` on a stream of that name with the subject `in.NAME`, handled by `probe` in two workers.
///
/// `over` is TOML that is laid over what is here, as `ack-wait = "1s"` or `scale.max = 4`.
pub(crate) fn work(name: &str, over: &str) -> Table {
    let text = format!(
        r#"
        [workload.{name}]
        stream = "{name}"
        subjects = ["in.{name}"]
        manage = "create"
        ack-wait = "2s"
        handler = "probe"
        policy = "fixed"
        grants.publish = ["out.>", "raw.>", "bulk.>", "nowhere"]
        policy-settings.workers = "2"
        scale = {{ min = 0, max = 8, interval = "200ms", window = "1s" }}
        pull = {{ expires = "1s" }}
        retry = {{ max-attempts = 5, backoff = ["100ms"] }}
        "#
    );
    let mut config: Table = toml::from_str(&text).expect("what is here is TOML");
    let over: Table = toml::from_str(over).expect("what is laid over is TOML");
    let workload = config["workload"][name].as_table_mut().expect("it is there");
    if over.contains_key("policy") {
        // Another policy has other settings.
        workload.remove("policy-settings");
    }
    lay(workload, over);
    config
}

/// Two configurations in one, as of several workloads.
pub(crate) fn with(mut config: Table, other: Table) -> Table {
    lay(&mut config, other);
    config
}

fn lay(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay(below, above),
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

/// Servers, a plugin directory, and a client. All ends with it.
pub(crate) struct Stage {
    pub(crate) servers: Servers,
    pub(crate) client: async_nats::Client,
    /// What looks at streams and consumers.
    pub(crate) eye: Eye,
    /// The plugin directory: `probe` (handler), `probe-policy`, `fixed`, `step`, `backlog`.
    pub(crate) plugins: PathBuf,
    files: TempDir,
}

impl Stage {
    /// With one server.
    pub(crate) async fn one() -> Result<Self> {
        Self::on(Servers::one("").await?).await
    }

    /// With a cluster of three. All streams have three replicas.
    pub(crate) async fn three() -> Result<Self> {
        Self::on(Servers::three().await?).await
    }

    /// With these servers.
    pub(crate) async fn on(servers: Servers) -> Result<Self> {
        let client = servers.client().await?;
        let mut js = jetstream::new(client.clone());
        // A request that a dead server has swallowed is asked again before it holds a row up.
        js.set_timeout(Duration::from_secs(2));
        let files = TempDir::new()?;
        let plugins = files.path().join("plugins");
        std::fs::create_dir(&plugins)?;
        let stage = Self { servers, client, eye: Eye { js }, plugins, files };
        plugins::install_all(&stage.plugins)?;
        // Made here, for the hosts would give it one replica.
        let to =
            stream::SubjectTransform { source: "tidegate.dead.*".into(), destination: "{{wildcard(1)}}.dead".into() };
        let dead =
            stream::Config { subject_transform: Some(to), allow_direct: true, ..stage.kept(DEAD, "tidegate.dead.*") };
        stage.stream(dead).await?;
        Ok(stage)
    }

    /// Puts a plugin into place.
    pub(crate) fn install(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(plugins::install(&self.plugins, name, bytes)?)
    }

    /// A stream on disk, on each of the servers.
    pub(crate) fn kept(&self, name: &str, subject: &str) -> stream::Config {
        stream::Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            num_replicas: self.servers.count(),
            ..stream::Config::default()
        }
    }

    /// Makes a stream, unless it is there. A cluster that has just started may take a while.
    pub(crate) async fn stream(&self, config: stream::Config) -> Result<()> {
        let what = format!("the stream {} is made", config.name);
        within(Duration::from_secs(30), &what, async || self.js.create_stream(config.clone()).await.is_ok()).await?;
        Ok(())
    }

    /// The text of a configuration: the servers, the plugins, and `workloads`.
    pub(crate) fn config(&self, workloads: &Table) -> String {
        self.config_to(&self.servers.urls(), workloads)
    }

    /// The same, with other ways to the servers.
    pub(crate) fn config_to(&self, urls: &[String], workloads: &Table) -> String {
        // All rows compile the same plugins.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
        let own = format!(
            "grace = \"10s\"\nnats.url = {urls:?}\nplugins = {{ dir = {:?}, rescan = \"200ms\", cache = {cache:?} }}\n",
            self.plugins
        );
        let own: Table = toml::from_str(&own).expect("what is here is TOML");
        with(own, workloads.clone()).to_string()
    }

    /// A `tidegate run` with these workloads, once all are ready.
    pub(crate) async fn host(&self, workloads: &Table) -> Result<Host> {
        self.host_to(&self.servers.urls(), workloads).await
    }

    /// The same, with other ways to the servers.
    pub(crate) async fn host_to(&self, urls: &[String], workloads: &Table) -> Result<Host> {
        let host = self.launch(&self.config_to(urls, workloads), &[])?;
        let count = workloads.get("workload").and_then(Value::as_table).map_or(0, Table::len);
        host.ready(count).await?;
        Ok(host)
    }

    /// A `tidegate run` with this configuration and these variables, without awaiting anything.
    pub(crate) fn launch(&self, config: &str, variables: &[(&str, &str)]) -> Result<Host> {
        Host::launch(self.files.path(), config, variables)
    }

    /// A `tidegate run` with this configuration under a limit, as the shell's `ulimit` has it.
    pub(crate) fn launch_under(&self, ulimit: &str, config: &str) -> Result<Host> {
        Host::launch_under(ulimit, self.files.path(), config)
    }
}

impl Stage {
    /// A `tidegate run` with these workloads, whose standard error goes there.
    pub(crate) fn host_unread(&self, config: &str, stderr: std::process::Stdio) -> Result<Host> {
        Host::launch_unread(self.files.path(), config, stderr)
    }
}

impl Deref for Stage {
    type Target = Eye;

    fn deref(&self) -> &Eye {
        &self.eye
    }
}

/// Looks at streams and consumers, also while the servers are somebody else's to kill.
#[derive(Clone)]
pub(crate) struct Eye {
    pub(crate) js: jetstream::Context,
}

impl Eye {
    /// What a workload's consumer has settled and what not.
    pub(crate) async fn consumer(&self, name: &str) -> Result<Info> {
        let stream = self.js.get_stream_no_info(name).await?;
        let consumer =
            stream.get_consumer::<pull::Config>(&format!("{name}-workers")).await.map_err(anyhow::Error::from_boxed)?;
        Ok(consumer.cached_info().clone())
    }

    /// Awaits that nothing waits for the workers of a workload, and nothing is with them.
    pub(crate) async fn settled(&self, name: &str, limit: Duration) -> Result<Duration> {
        self.left(name, 0, limit).await
    }

    /// Awaits that nothing waits for the workers of any partition of a workload, and nothing is with them.
    pub(crate) async fn partitions_settled(&self, name: &str, count: u32, limit: Duration) -> Result<Duration> {
        let left = async |number: u32| {
            let stream = self.js.get_stream_no_info(name).await.ok()?;
            let consumer = stream.get_consumer::<pull::Config>(&format!("{name}-workers-p{number}")).await.ok()?;
            let info = consumer.cached_info();
            Some(info.num_pending + info.num_ack_pending as u64)
        };
        let settled = async || {
            for number in 0..count {
                if left(number).await != Some(0) {
                    return false;
                }
            }
            true
        };
        within(limit, &format!("all messages in {name} are settled"), settled).await
    }

    /// Awaits that nothing waits for the workers of a workload, and so many messages are with them.
    pub(crate) async fn left(&self, name: &str, count: usize, limit: Duration) -> Result<Duration> {
        let what = format!("all but {count} messages in {name} are settled");
        let settled = async || match self.consumer(name).await {
            Ok(info) => info.num_pending == 0 && info.num_ack_pending == count,
            Err(_) => false,
        };
        let result = within(limit, &what, settled).await;
        if result.is_err()
            && let Ok(info) = self.consumer(name).await
        {
            return result.context(format!("{} pending, {} unsettled", info.num_pending, info.num_ack_pending));
        }
        result
    }

    /// Awaits that at least so many messages of a stream are settled from its beginning on.
    pub(crate) async fn floor(&self, name: &str, sequence: u64, limit: Duration) -> Result<Duration> {
        let what = format!("{name} is settled up to {sequence}");
        let passed = async || self.consumer(name).await.is_ok_and(|info| info.ack_floor.stream_sequence >= sequence);
        within(limit, &what, passed).await
    }

    /// The state of a stream, as soon as somebody answers for it.
    pub(crate) async fn state(&self, name: &str) -> Result<stream::State> {
        let ask = async || match self.js.get_stream(name).await {
            Ok(stream) => Some(stream.cached_info().state.clone()),
            Err(_) => None,
        };
        until(Duration::from_secs(30), &format!("the state of {name}"), ask).await
    }
}
