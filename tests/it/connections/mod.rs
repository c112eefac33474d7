//! Each way to connect that NATS users have, with its wrong forms: by the program, at a server configured so.

mod certificates;
mod check;
mod contexts;
mod denied;
mod elsewhere;
mod fallback;
mod keys;
mod lost;
mod own_account;
mod own_account_commands;
mod own_partitions;
mod passwords;
pub(crate) mod permissions;
mod servers;
mod unreachable;
mod variables;

use std::path::Path;

use rustix::process::Signal;
use tidegate_nats_server::{Server, ServerOptions};
use tokio::process::Command;

use crate::support::cli::{Ended, Running, tidegate};
use crate::support::host::plugins;
use crate::support::nats::nats_with;

/// A workload of flags alone.
const WORKLOAD: [&str; 8] = ["--stream", "work", "--subjects", "work.>", "--handler", "probe", "--policy", "fixed"];

/// A server with more configuration, in its own format.
async fn configured(config: impl Into<String>) -> Server {
    nats_with(ServerOptions { config: config.into(), ..ServerOptions::default() }).await
}

/// How the program is told to connect.
#[derive(Debug, Clone, Default)]
struct Way {
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    secrets: Vec<String>,
}

impl Way {
    fn flags<A: Into<String>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self { arguments: arguments.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// To a server, by these flags.
    fn to(server: &Server, more: &[&str]) -> Self {
        Self::flags(["--server", server.url()].iter().chain(more).copied())
    }

    fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// What must not be said, neither in a log nor in an error.
    fn secret(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    fn command<'a>(&'a self, command: &[&'a str]) -> Command {
        let mut tidegate = tidegate(command.iter().copied().chain(self.arguments.iter().map(String::as_str)));
        tidegate.envs(self.variables.iter().map(|(name, value)| (name, value)));
        tidegate
    }

    /// The same, with all that this program and the client have to tell.
    fn loud(&self) -> Self {
        let loud = ["--log", "debug,tidegate=trace,async_nats=trace"].map(str::to_owned);
        Self { arguments: [&loud[..], &self.arguments].concat(), ..self.clone() }
    }

    /// A host with one workload; `plugins` is its directory.
    fn host(&self, plugins: &Path) -> Running {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
        let (plugins, cache) = (plugins.to_str().unwrap(), cache.to_str().unwrap());
        let run = ["run", "--plugins", plugins, "--cache-dir", cache, "--expires", "1s"];
        let run = [&run[..], &["--grant-reply", "_INBOX.>,_INBOX_ada.>"]].concat();
        Running::start(self.command(&[&run[..], &WORKLOAD].concat()))
    }

    async fn request(&self) -> Ended {
        Running::start(self.command(&["request", "work.a", "reply done"])).end().await
    }

    fn kept(&self, ended: &Ended) {
        for secret in &self.secrets {
            assert!(!ended.said().contains(secret), "`{secret}` in\n{}", ended.said());
        }
    }

    /// A host and a requester connect so, and a message is handled.
    async fn works(&self) {
        let plugins = plugins();
        let mut host = self.loud().host(plugins.path());
        host.line_with("ready").await;
        let reply = self.loud().request().await;
        assert_eq!((reply.code, reply.stdout.as_str()), (Some(0), "done"), "{}", reply.stderr);
        host.signal(Signal::TERM);
        let ended = host.end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        self.kept(&reply);
        self.kept(&ended);
    }

    /// A request does not connect so, and a host waits until it can; both say why in these words, and where.
    async fn waits(&self, parts: &[&str]) {
        let plugins = plugins();
        let requested = self.request().await;
        requested.failed_with(1, parts);
        for ended in [self.host(plugins.path()).waits_with(parts).await, requested] {
            self.kept(&ended);
        }
        self.kept(&self.loud().request().await);
    }

    /// Neither connects so, and both say why in these words, and where, and what to do.
    async fn fails(&self, parts: &[&str]) {
        let plugins = plugins();
        for ended in [self.host(plugins.path()).end().await, self.request().await] {
            ended.failed_with(1, parts);
            self.kept(&ended);
        }
        self.kept(&self.loud().request().await);
    }
}
