//! One hostile guest after the other in one host, beside a workload that must not notice.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::HeaderMap;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use toml::Table;

use crate::hosts::Host;
use crate::ledger::{Ledger, read};
use crate::patience::until;
use crate::row::{Form, Report};
use crate::stage::{DEAD, Stage, with, work};

/// The workload that must not notice.
pub(crate) const GOOD: &str = "good";
const GOOD_MESSAGES: u64 = 200;

/// A handler, what it is sent, and how that has to end.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// `None` is the probe.
    pub(crate) handler: Option<Vec<u8>>,
    pub(crate) payload: String,
    /// TOML laid over the workload.
    pub(crate) over: String,
    /// The cause of its dead letters.
    pub(crate) cause: &'static str,
    /// What their reason says.
    pub(crate) reason: &'static str,
}

impl Case {
    /// A line of the probe.
    pub(crate) fn probe(name: &'static str, payload: &str, cause: &'static str, reason: &'static str) -> Self {
        Self { name, handler: None, payload: payload.to_owned(), over: String::new(), cause, reason }
    }

    /// A handler in the text format.
    pub(crate) fn text(name: &'static str, handler: Vec<u8>, cause: &'static str, reason: &'static str) -> Self {
        Self { name, handler: Some(handler), payload: String::new(), over: String::new(), cause, reason }
    }

    pub(crate) fn over(self, over: &str) -> Self {
        Self { over: over.to_owned(), ..self }
    }

    /// Its workload: two workers, one attempt unless it says otherwise.
    pub(crate) fn workload(&self) -> Table {
        let handler = if self.handler.is_some() { self.name } else { "probe" };
        let own = work(self.name, &format!("handler = {handler:?}\nretry.max-attempts = 1\nack-wait = '10s'"));
        let over = toml::from_str(&format!("[workload.{}]\n{}", self.name, self.over));
        with(own, over.expect("what is laid over is TOML"))
    }

    pub(crate) fn install(&self, stage: &Stage) -> Result<()> {
        self.handler.as_ref().map_or(Ok(()), |bytes| stage.install(self.name, bytes))
    }
}

/// A host with the good workload and these.
pub(crate) struct HostileBench {
    pub(crate) stage: Stage,
    pub(crate) host: Host,
    pub(crate) good: Ledger,
    /// Where `/healthz` is answered.
    pub(crate) health: SocketAddr,
}

fn health_address(log: &str) -> Result<SocketAddr> {
    let line = log.lines().find(|line| line.contains("/healthz")).context("no line about HTTP")?;
    let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
    Ok(address.context("no address")?.parse()?)
}

/// How long `/healthz` takes to say that all is well; an error if it says something else.
pub(crate) async fn healthy(address: SocketAddr) -> Result<Duration> {
    let start = Instant::now();
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(start.elapsed())
}

impl HostileBench {
    pub(crate) async fn start(cases: &[Case]) -> Result<Self> {
        Self::start_with(cases, Table::new()).await
    }

    /// The same with more workloads.
    pub(crate) async fn start_with(cases: &[Case], more: Table) -> Result<Self> {
        let stage = Stage::one().await?;
        let good = Ledger::open(&stage, GOOD).await?;
        let mut config = with(work(GOOD, "policy-settings.workers = '4'\nscale.min = 1"), more);
        for case in cases {
            case.install(&stage)?;
            stage.stream(stage.kept(case.name, &format!("in.{}", case.name))).await?;
            config = with(config, case.workload());
        }
        config.insert("http".to_owned(), "127.0.0.1:0".into());
        let host = stage.host(&config).await?;
        let health = health_address(&host.log())?;
        Ok(Self { stage, host, good, health })
    }

    /// Sends a case so many messages, and awaits that each is a dead letter as it has to be. Says how long the last
    /// took.
    pub(crate) async fn inject(&self, case: &Case, count: u64, limit: Duration) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..count {
            self.send(case).await?;
        }
        let what = format!("{count} dead letters of {}", case.name);
        let letters = until(limit, &what, async || {
            let letters = self.dead(case.name).await.ok()?;
            (letters.len() as u64 >= count).then_some(letters)
        });
        let letters = letters.await.with_context(|| tail(&self.host.log()))?;
        let took = start.elapsed();
        for (cause, reason) in &letters {
            anyhow::ensure!(
                cause == case.cause && reason.contains(case.reason),
                "{}: dead letter {cause}: {reason}, where {}: {} was to be expected",
                case.name,
                case.cause,
                case.reason
            );
        }
        Ok(took)
    }

    pub(crate) async fn send(&self, case: &Case) -> Result<()> {
        self.stage.js.publish(format!("in.{}", case.name), case.payload.clone().into()).await?.await?;
        Ok(())
    }

    /// Sends a workload a message for whose reply this waits.
    pub(crate) async fn ask(&self, name: &str, payload: &str) -> Result<String> {
        ask(&self.stage, name, payload).await
    }

    /// Cause and reason of each dead letter of a workload.
    pub(crate) async fn dead(&self, name: &str) -> Result<Vec<(String, String)>> {
        let mut letters = Vec::new();
        read(&self.stage.js, DEAD, &format!("{name}.dead"), |message| {
            let header = |name| {
                let headers = message.headers.as_ref();
                headers.and_then(|headers| headers.get(name)).map_or_else(String::new, ToString::to_string)
            };
            letters.push((header("Tidegate-Cause"), header("Tidegate-Reason")));
        })
        .await?;
        Ok(letters)
    }

    /// The good workload has lost nothing, the host lives, and all can be told to end.
    pub(crate) async fn finish(mut self, form: Form, report: &mut Report) -> Result<()> {
        self.stage.settled(GOOD, form.patience()).await?;
        report.must(self.host.is_running(), "the host lives");
        let audit = self.good.audit().await?;
        report.count(&audit);
        report.must(audit.dead == 0, format!("{} messages of the neighbour became dead letters", audit.dead));
        report.note(format!("peak memory {} MiB", self.host.peak() >> 20));
        self.host.stop().await
    }
}

/// A workload that a mode of the policy `probe-policy` decides for, with these settings besides.
pub(crate) fn decided(name: &str, mode: &str, settings: &str, over: &str) -> Table {
    let policy = format!("policy = 'probe-policy'\npolicy-settings = {{ mode = '{mode}', {settings} }}\n{over}");
    let mut config = work(name, &policy);
    // That of the policy `fixed`.
    config["workload"][name]["policy-settings"].as_table_mut().expect("it is there").remove("workers");
    config
}

/// Sends a workload a message for whose reply this waits.
pub(crate) async fn ask(stage: &Stage, name: &str, payload: &str) -> Result<String> {
    let inbox = stage.client.new_inbox();
    let mut replies = stage.client.subscribe(inbox.clone()).await?;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Reply", inbox.as_str());
    stage.js.publish_with_headers(format!("in.{name}"), headers, payload.to_owned().into()).await?.await?;
    let reply = tokio::time::timeout(Duration::from_secs(60), replies.next()).await.context("a reply")?;
    Ok(String::from_utf8_lossy(&reply.context("a reply")?.payload).into_owned())
}

/// Runs cases one after the other while the neighbour works.
pub(crate) async fn each(form: Form, report: &mut Report, cases: &[Case], times: u64) -> Result<HostileBench> {
    let mut bench = HostileBench::start(cases).await?;
    for case in cases {
        bench.good.publish(GOOD_MESSAGES, |_| String::new()).await?;
        match bench.inject(case, times, form.patience()).await {
            Ok(took) => {
                report.recovered(took);
                report.note(format!("{} {:.2} s", case.name, took.as_secs_f64()));
            }
            Err(error) => report.must(false, format!("{error:#}")),
        }
        for _ in 0..times {
            report.injected();
        }
        if !bench.host.is_running() {
            report.must(false, format!("the host lives: {} ended it; it said\n{}", case.name, tail(&bench.host.log())));
            break;
        }
    }
    Ok(bench)
}

/// The last lines of a log.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
