//! What surrounds a process: who reads its log, who sends it signals, who connects to it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use tidegate_test_artifacts::probes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::hosts::{Host, ask};
use crate::ledger::Ledger;
use crate::patience::within;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, work};

pub(crate) const ROWS: &[Row] =
    &[row!(42, "nobody reads the log", unread), row!(46, "signals", signals), row!(48, "slow loris", slow_loris)];

/// How long a host may take to end that has nothing to finish.
const SOON: Duration = Duration::from_secs(30);

/// Standard error is a pipe that nobody reads, one whose reader is gone, and a full disk.
async fn unread(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let (reader, writer) = std::io::pipe()?;
    log_goes_to(form, "a full pipe", writer.into(), Some(reader), &mut report).await?;
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    log_goes_to(form, "a closed pipe", writer.into(), None, &mut report).await?;
    let full = File::options().write(true).open("/dev/full").context("/dev/full")?;
    log_goes_to(form, "/dev/full", full.into(), None, &mut report).await?;
    Ok(report)
}

async fn log_goes_to(
    form: Form,
    what: &str,
    stderr: Stdio,
    reader: Option<std::io::PipeReader>,
    report: &mut Report,
) -> Result<()> {
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let workload = work("work", "limits.log-rate = '64MiB'\nretry.max-attempts = 1");
    let config = format!("http = \"{port}\"\n{}", stage.config(&workload));
    let mut host = stage.host_unread(&config, stderr)?;
    // Far more than a pipe and the queue before it hold.
    let line = "x".repeat(6000);
    let count = form.pick(500, 5000);
    let before = |id: u64| if id.is_multiple_of(10) { "reject because".to_owned() } else { format!("print {line}") };
    ledger.publish(count, before).await?;
    stage.settled("work", form.patience()).await?;
    report.injected();
    let address = format!("127.0.0.1:{port}");
    for path in ["/healthz", "/readyz"] {
        let answer = ask(&address, path).await;
        report.must(answer.as_ref().is_some_and(|(code, _)| *code == 200), format!("{what}: {path} says {answer:?}"));
    }
    let metrics = ask(&address, "/metrics").await.unwrap_or_default().1;
    let dropped =
        metrics.lines().find_map(|line| line.strip_prefix("tidegate_log_dropped_total ")?.parse::<f64>().ok());
    report.must(dropped.unwrap_or_default() > 0.0, format!("{what}: {dropped:?} dropped lines are counted"));
    report.note(format!("{what}: {} lines dropped", dropped.unwrap_or_default()));
    if let Some(reader) = reader {
        // Somebody reads at last, in a thread of its own, as long as it runs.
        let (told, is_told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut told = Some(told);
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if line.contains("log lines were dropped")
                    && let Some(told) = told.take()
                {
                    let _ = told.send(());
                }
            }
        });
        let told = tokio::time::timeout(form.patience(), is_told).await;
        report.must(matches!(told, Ok(Ok(()))), format!("{what}: the log says that lines are missing"));
    }
    host.signal(Signal::TERM)?;
    let ended = host.ended(SOON).await?;
    report.must(ended == Some(0), format!("{what}: it drained, exit {ended:?}"));
    report.count(&ledger.audit().await?);
    // And a host that is told to end while nobody reads.
    let (_reader, writer) = std::io::pipe()?;
    let mut host = stage.host_unread(&config, writer.into())?;
    ledger.publish(count, before).await?;
    stage.settled("work", form.patience()).await?;
    host.signal(Signal::TERM)?;
    let ended = host.ended(SOON).await?;
    report.must(ended == Some(0), format!("{what}: it drained while nobody read, exit {ended:?}"));
    Ok(())
}

/// Every signal that somebody may send: those that ask for the end drain, and the others change nothing.
async fn signals(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let workload = work("work", "ack-wait = '10m'");
    for (end, name) in [(Signal::TERM, "SIGTERM"), (Signal::QUIT, "SIGQUIT")] {
        let mut host = stage.host(&workload).await?;
        for (signal, told) in [
            (Signal::USR1, Some("SIGUSR1 means nothing")),
            (Signal::USR2, Some("SIGUSR2 means nothing")),
            (Signal::HUP, Some("configuration read again (SIGHUP): nothing has changed")),
            (Signal::PIPE, None),
            (Signal::CONT, None),
        ] {
            host.signal(signal)?;
            if let Some(told) = told {
                host.says(&[told], SOON).await?;
            }
            report.injected();
        }
        ledger.publish(form.pick(30, 1000), |_| "sleep 100".to_owned()).await?;
        let begun = async || stage.consumer("work").await.is_ok_and(|info| info.num_ack_pending > 0);
        within(SOON, "messages are handled", begun).await?;
        host.signal(end)?;
        report.injected();
        let ended = host.ended(SOON).await?;
        report.must(ended == Some(0), format!("{name} drains, exit {ended:?}"));
        report.must(host.logged(&["draining"]) == 1, format!("{name} is told"));
    }
    // Nothing is left with a host that is gone: it would wait for the ack wait.
    let mut host = stage.host(&workload).await?;
    stage.settled("work", form.patience()).await?;
    report.count(&ledger.audit().await?);
    // A second one ends it at once, whatever it does.
    stage.client.publish("in.work", "sleep 20000".into()).await?;
    let begun = async || stage.consumer("work").await.is_ok_and(|info| info.num_ack_pending > 0);
    within(SOON, "a message is handled", begun).await?;
    host.signal(Signal::TERM)?;
    host.says(&["draining"], SOON).await?;
    report.injected();
    let ended = host.end_at_once(SOON).await?;
    report.must(ended == Some(130), format!("a second SIGTERM ends it at once, exit {ended:?}"));
    Ok(report)
}

/// Connections that begin a request and do not end it, more than may be, and again and again.
async fn slow_loris(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let config = format!("http = \"127.0.0.1:0\"\n{}", stage.config(&work("work", "")));
    let mut host = stage.launch(&config, &[])?;
    host.ready(1).await?;
    let (address, before) = (host.address().await?, host.descriptors());
    let mut open = Vec::new();
    for _ in 0..form.pick(2, 20) {
        for _ in 0..150 {
            let mut stream = TcpStream::connect(&address).await?;
            stream.write_all(b"GET /status HTTP/1.1\r\nX-Slow: ").await?;
            open.push(stream);
            report.injected();
        }
        let healthy = async || healthy(&address).await;
        within(SOON, "it answers beside them", healthy).await?;
        let held = host.descriptors().saturating_sub(before);
        report.must(held <= 80, format!("{held} descriptors are held"));
        ledger.publish(50, |_| String::new()).await?;
        stage.settled("work", form.patience()).await?;
    }
    swapped(&stage, &host).await?;
    report.count(&ledger.audit().await?);
    host.stop().await?;
    Ok(report)
}

async fn healthy(address: &str) -> bool {
    let (health, ready) = (ask(address, "/healthz").await, ask(address, "/readyz").await);
    [health, ready].iter().all(|answer| answer.as_ref().is_some_and(|(code, _)| *code == 200))
}

/// A plugin is loaded as ever: there are descriptors left for it.
async fn swapped(stage: &Stage, host: &Host) -> Result<()> {
    let before = host.logged(&["loaded ", "probe.wasm"]);
    stage.install("probe", probes::WORKER_V2)?;
    within(SOON, "the new version is loaded", async || host.logged(&["loaded ", "probe.wasm"]) > before).await?;
    Ok(())
}
