//! Handlers that wait for a service: a few instances with many deliveries each, against an instance a delivery.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::lab::{LOOK, Lab, WAITS};
use super::options::BenchOptions;
use super::resident::resident_kib;
use crate::streams;
use tidegate_runtime::events::Event;

/// Deliveries of a row.
const DELIVERIES: usize = 1_000;
/// How long the service takes for an answer.
const ANSWER: Duration = Duration::from_millis(200);

/// What it takes to handle a thousand deliveries that each wait 200 ms for an answer by HTTP.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WaitingCost {
    /// Instances.
    pub workers: u32,
    /// Deliveries that each of them has at once.
    pub concurrency: usize,
    /// Seconds from the first publication until all are settled; all workers run before.
    pub seconds: f64,
    /// The most resident memory of the process above what it had before, in MiB: host, service and client together.
    /// The handler has had one delivery before, so that what a process has once is not in it.
    pub rss_mib: f64,
    /// The most resident memory of the process, in MiB.
    pub process_mib: f64,
}

/// Measures so many workers with so many deliveries each on the nats-server at `url`, once. What is compared needs a
/// process of its own each: memory that one has freed stays with its process, and the next would seem to need less.
///
/// # Errors
/// If the server or a workload fails.
pub async fn waiting(
    options: &BenchOptions,
    url: &str,
    (workers, concurrency): (u32, usize),
) -> anyhow::Result<WaitingCost> {
    let mut lab = Lab::new(url, options).await?;
    let service = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", service.local_addr()?);
    let service = tokio::spawn(serve(service));
    // What the first instance of a handler makes for all of them, such as code in memory, is there before.
    one(&mut lab, (1, concurrency), 1, &origin).await?;
    streams::purge(&lab.client, WAITS.0).await?;
    let cost = one(&mut lab, (workers, concurrency), DELIVERIES, &origin).await?;
    service.abort();
    Ok(cost)
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
    let mib = |kib: u64| kib as f64 / 1024.0;
    let (rss_mib, process_mib) = (mib(most.saturating_sub(before)), mib(most));
    Ok(WaitingCost { workers, concurrency, seconds, rss_mib, process_mib })
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
        let Self { workers, concurrency, seconds, rss_mib, process_mib } = self;
        let kind = format!("{workers} workers, {concurrency} each");
        write!(f, "  {kind:<22}  {seconds:>10.2} {rss_mib:>10.1} {process_mib:>12.1}")
    }
}
