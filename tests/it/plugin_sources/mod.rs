//! Where plugins come from, and which of them are taken: the program as a user runs it.

mod bucket;
mod oci;
mod pins;
mod signatures;

use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::cli::{Ended, Running, run, tidegate};
use crate::support::site::Site;
use crate::support::web::get;
use crate::support::{eventually, until};

fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// A configuration of the workload `work`, beside a site.
struct Setup {
    site: Arc<Site>,
    dir: TempDir,
}

impl Setup {
    /// With these lines before the table of the workload and in it.
    async fn new(site: Arc<Site>, top: &str, workload: &str) -> Self {
        let setup = Self { site, dir: TempDir::new().unwrap() };
        setup.write(top, workload);
        setup
    }

    fn write(&self, top: &str, workload: &str) {
        let (url, plugins) = (&self.site.nats.servers[0], self.site.plugins.path().display());
        let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache");
        let text = format!(
            "nats.url = \"{url}\"\nplugins.dir = \"{plugins}\"\nplugins.cache = \"{cache}\"\nplugins.rescan = \
             \"200ms\"\nhttp = \"127.0.0.1:0\"\n{top}\n[workload.work]\nstream = \"work\"\nsubjects = \
             [\"in.work.>\"]\nmanage = \"create\"\npolicy = \"fixed\"\nscale.max = 2\ngrants.reply = [\"_INBOX.>\"]\n\
             {workload}\n"
        );
        std::fs::write(self.file(), text).unwrap();
    }

    fn file(&self) -> String {
        self.dir.path().join("tidegate.toml").display().to_string()
    }

    async fn check(&self, more: &[&str]) -> Ended {
        run([&["check", "--config", &self.file()], more].concat()).await
    }

    /// A host as a process of its own.
    async fn host(&self) -> Process {
        let mut running = Running::start(tidegate(["run", "--config", &self.file(), "--log-format", "json"]));
        let line: Value = serde_json::from_str(&running.line_with("health, metrics").await).unwrap();
        let said = line.to_string();
        let address = said.split(['"', ' ', '/']).find(|part| part.starts_with("127.0.0.1:")).unwrap_or_else(|| {
            panic!("no address in {said}");
        });
        Process { address: address.to_owned(), running, site: self.site.clone() }
    }
}

/// A host that runs.
struct Process {
    running: Running,
    address: String,
    site: Arc<Site>,
}

impl Process {
    /// What `/status` has of a plugin.
    async fn plugin(&self, name: &str) -> Value {
        let status: Value = serde_json::from_str(&get(&self.address, "/status").await.1).unwrap();
        let plugins = status["plugins"].as_array().unwrap().clone();
        plugins.into_iter().find(|plugin| plugin["plugin"] == name).unwrap()
    }

    /// Awaits that the plugin has a problem with all of `parts`, and gives it.
    async fn problem(&self, plugin: &str, parts: &[&str]) -> String {
        until(&format!("{plugin} has a problem with {parts:?}"), async || {
            let problem = self.plugin(plugin).await["problem"].as_str()?.to_owned();
            parts.iter().all(|part| problem.contains(part)).then_some(problem)
        })
        .await
    }

    /// Awaits that this is the content in use, without a problem.
    async fn uses(&self, plugin: &str, bytes: &[u8]) {
        let wanted = digest(bytes);
        eventually(&format!("{plugin} {wanted} is in use"), async || {
            let state = self.plugin(plugin).await;
            state["generation"] == wanted.as_str() && state["problem"].is_null()
        })
        .await;
    }

    /// The version of the handler that answers.
    async fn version(&self) -> String {
        self.site.request("in.work.a", "version").await
    }
}
