//! Handlers that wait for a service: a few instances with many deliveries each, against an instance a delivery.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::lab::{LOOK, Lab, WAITS};
use super::options::WAITING;
use super::resident::resident_kib;
use crate::streams;
use tidegate_runtime::events::Event;

/// Deliveries of a row.
const DELIVERIES: usize = 1_000;
/// How long the service takes for an answer.
const ANSWER: Duration = Duration::from_millis(200);

/// What it takes to handle a thousand deliveries that each wait 200 ms for an answer by HTTP.
#[derive(Debug, Clone, Serialize)]
pub struct WaitingCost {
    /// Instances.
    pub workers: u32,
    /// Deliveries that each of them has at once.
    pub concurrency: usize,
    /// Seconds from the first publication until all are settled; all workers run before.
    pub seconds: f64,
    /// The most resident memory of this process above what it had before, in MiB: host, service and client together.
    pub rss_mib: f64,
}

/// Measures each kind once. The one with fewer instances comes first: what it leaves in the allocator is to the
/// advantage of the other.
pub(super) async fn measure(lab: &mut Lab, step: &impl Fn(&str)) -> anyhow::Result<Vec<WaitingCost>> {
    let service = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", service.local_addr()?);
    let service = tokio::spawn(serve(service));
    // What the first instance of a handler makes for all of them, such as code in memory, is there before.
    for (_, concurrency) in WAITING {
        one(lab, (1, concurrency), 1, &origin).await?;
    }
    let mut costs = Vec::new();
    for (workers, concurrency) in WAITING {
        step(&format!("handlers that wait, {workers} workers, {concurrency} each"));
        costs.push(one(lab, (workers, concurrency), DELIVERIES, &origin).await?);
    }
    service.abort();
    Ok(costs)
}

async fn one(
    lab: &mut Lab,
    (workers, concurrency): (u32, usize),
    deliveries: usize,
    origin: &str,
) -> anyhow::Result<WaitingCost> {
    let before = resident_kib()?;
    let (consumer, mut running) = lab.serve_waiting(workers, concurrency, origin).await?;
    for _ in 0..workers {
        running.wait(|event| matches!(event, Event::WorkerStarted { .. })).await?;
    }
    let (began, mut most, mut last) = (Instant::now(), 0, None);
    for _ in 0..deliveries {
        last = Some(streams::send(&lab.client, WAITS.1, Bytes::from_static(b"tea")).await?);
    }
    if let Some(stored) = last {
        stored.await?;
    }
    while lab.client.unsettled(WAITS.0, &consumer).await? > 0 {
        most = most.max(resident_kib()?);
        tokio::time::sleep(LOOK).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    while let Ok(event) = running.events.try_recv() {
        anyhow::ensure!(!matches!(event, Event::Failed { .. }), "a delivery that waited was not handled: {event:?}");
    }
    running.stop().await?;
    streams::forget(&lab.client, WAITS.0, &consumer).await?;
    let rss_mib = most.saturating_sub(before) as f64 / 1024.0;
    Ok(WaitingCost { workers, concurrency, seconds, rss_mib })
}

/// A service that takes its time.
async fn serve(service: TcpListener) {
    while let Ok((socket, _)) = service.accept().await {
        tokio::spawn(answer(socket));
    }
}

async fn answer(mut socket: TcpStream) {
    let mut head = [0; 1024];
    // A request has no body, and its head comes at once.
    while socket.read(&mut head).await.is_ok_and(|bytes| bytes > 0) {
        tokio::time::sleep(ANSWER).await;
        if socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n3.20").await.is_err() {
            return;
        }
    }
}

impl fmt::Display for WaitingCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, concurrency, seconds, rss_mib } = self;
        let kind = format!("{workers} workers, {concurrency} each");
        write!(f, "  {kind:<22}  {seconds:>10.2} {rss_mib:>10.1}")
    }
}
