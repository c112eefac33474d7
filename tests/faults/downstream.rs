//! What is behind the handler does not work for a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Result;
use tidegate_artifacts::workers;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::ledger::Ledger;
use crate::patience::within;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, work};

pub(crate) const ROWS: &[Row] = &[row!(52, "slow downstream, with a breaker", slow_downstream)];

/// A service that answers with the id in what it is asked for, or with 503 after a while when it is down.
struct Service {
    port: u16,
    is_down: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Service {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (is_down, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (down, count) = (is_down.clone(), asked.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, down.clone(), count.clone()));
            }
        });
        Ok(Self { port, is_down, asked, task })
    }

    fn asked(&self) -> u64 {
        self.asked.load(Relaxed)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(stream: TcpStream, is_down: Arc<AtomicBool>, asked: Arc<AtomicU64>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut path = String::new();
        for number in 0.. {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if number == 0 {
                path.clone_from(&line);
            } else if line.trim().is_empty() {
                break;
            }
        }
        asked.fetch_add(1, Relaxed);
        // The item is the ledger's line, `record out.NAME ID BYTES`.
        let id = path.split("%20").nth(2).unwrap_or_default().to_owned();
        let (status, body) = match is_down.load(Relaxed) {
            true => ("503 Service Unavailable", String::new()),
            false => ("200 OK", id),
        };
        if body.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
}

/// The service is down again and again. Each time a few calls find that out, and then one an interval tries it.
async fn slow_downstream(form: Form) -> Result<Report> {
    const PROBE: Duration = Duration::from_millis(200);
    const MIN_CALLS: u64 = 20;
    const WORKERS: u64 = 4;
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let fetch = workers::ALL.iter().find(|(name, _)| *name == "fetch").map(|(_, bytes)| *bytes).unwrap_or_default();
    stage.install("fetch", fetch)?;
    let mut ledger = Ledger::open_without_raw(&stage, "work").await?;
    let service = Service::start().await?;
    let over = format!(
        "handler = 'fetch'\nack-wait = '30s'\npolicy-settings.workers = '{WORKERS}'\nretry.max-attempts = 50\n\
         grants.http = ['http://127.0.0.1:{port}/']\n\
         settings = {{ url = 'http://127.0.0.1:{port}/', subject = 'out.work' }}\n\
         breaker = {{ ratio = 0.5, window = '5s', min-calls = {MIN_CALLS}, probe-interval = '200ms' }}",
        port = service.port
    );
    let mut config = work("work", &over);
    config.insert("http".to_owned(), "127.0.0.1:0".into());
    let host = stage.host(&config).await?;
    let (mut during, mut up_since) = (Vec::new(), 0);
    for _ in 0..form.pick(2, 10) {
        ledger.publish(200, |_| String::new()).await?;
        stage.settled("work", form.patience()).await?;
        service.is_down.store(true, Relaxed);
        report.injected();
        let (before, start) = (service.asked(), Instant::now());
        // Calls that went well within the window have to be outnumbered first.
        let well = before - up_since;
        ledger.publish(form.pick(500, 5_000), |_| String::new()).await?;
        within(form.patience(), "it has slowed to probes", async || host.get("/readyz").await == Some(503)).await?;
        tokio::time::sleep(Duration::from_secs(form.pick(2, 20))).await;
        let asked = service.asked() - before;
        // The time is read last.
        let probes = u64::try_from(start.elapsed().as_millis() / PROBE.as_millis())?;
        let most = well + MIN_CALLS + 2 * WORKERS + probes;
        report.must(asked <= most, format!("{asked} calls while it was down, where {most} may be"));
        during.push(asked);
        up_since = service.asked();
        service.is_down.store(false, Relaxed);
        let up = Instant::now();
        stage.settled("work", form.patience()).await?;
        report.recovered(up.elapsed());
        within(form.patience(), "it goes on", async || host.get("/readyz").await == Some(200)).await?;
    }
    report.must(host.is_running(), "the host lives");
    let audit = ledger.audit().await?;
    report.must(audit.dead == 0, format!("no dead letter: {:?}", audit.causes));
    report.count(&audit);
    report.note(format!("calls while it was down: {during:?}, of {} messages", ledger.next()));
    Ok(report)
}
