//! Handlers that send HTTP requests, in a host.

use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_artifacts::workers::{FETCH, FETCH_ASYNC};
use tidegate_runtime::config::{Grants, HttpGrant, Setting, Workload};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::cli::{Running, tidegate};
use crate::support::host::{Host, workload};
use crate::support::site::{DEAD, Site, text};
use crate::support::{eventually, log};

/// A price service: `/price/tea` has a price, as long as the service is up, and `/price/gone` has none.
struct Service {
    port: u16,
    up: watch::Sender<bool>,
    /// Whether answers wait.
    held: watch::Sender<bool>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let service =
            Self { port, up: watch::Sender::new(true), held: watch::Sender::new(false), asked: Arc::default() };
        let (up, held, asked) = (service.up.clone(), service.held.clone(), service.asked.clone());
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(socket, up.subscribe(), held.subscribe(), asked.clone()));
            }
        });
        service
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn asked(&self, count: usize) {
        eventually("the service is asked", async || self.asked.lock().len() >= count).await;
    }
}

async fn serve(
    mut socket: TcpStream,
    up: watch::Receiver<bool>,
    mut held: watch::Receiver<bool>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let (mut read, mut part) = (Vec::new(), [0; 4096]);
    loop {
        while !read.ends_with(b"\r\n\r\n") {
            match socket.read(&mut part).await {
                Ok(0) | Err(_) => return,
                Ok(count) => read.extend_from_slice(&part[..count]),
            }
        }
        let path = std::str::from_utf8(&read).unwrap().split(' ').nth(1).unwrap().to_owned();
        read.clear();
        asked.lock().push(path.clone());
        held.wait_for(|held| !held).await.unwrap();
        let (status, body) = match (*up.borrow(), path.as_str()) {
            (false, _) => ("503 Not now", ""),
            (true, "/price/gone") => ("404 Not here", ""),
            (true, _) => ("200 OK", "3.20"),
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The workload `prices`, whose handler asks the service and may reach what is granted.
fn prices(service: &Service, granted: &[String]) -> Workload {
    let settings = [("url", service.url("/price/")), ("subject", "out.price".to_owned())];
    let settings = settings.map(|(name, value)| (name.to_owned(), Setting::from(value.as_str()))).to_vec();
    let work = workload("prices");
    let http = granted.iter().map(|url| HttpGrant::parse(url).unwrap()).collect();
    Workload { handler: "fetch".to_owned(), settings, grants: Grants { http, ..work.grants.clone() }, ..work }
}

async fn host(work: Workload) -> Host {
    let site = Site::new().await;
    site.install("fetch", FETCH);
    let host = Host::start_at(site, vec![work]).await;
    host.stream("OUT", &["out.>"]).await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_publishes_what_the_service_answers_waits_while_it_is_down_and_gives_up_what_it_refuses() {
    let service = Service::start().await;
    let mut work = prices(&service, &[service.url("/price/")]);
    work.retry.max_attempts = 10_000;
    service.up.send_replace(false);
    let host = host(work).await;
    host.publish("in.prices.a", "tea").await;
    service.asked(3).await;
    service.up.send_replace(true);
    host.settled("prices").await;
    assert_eq!(text(&host.stored_count("OUT", 1).await[0]), "3.20");
    host.publish("in.prices.a", "gone").await;
    host.settled("prices").await;
    let letters = host.stored(DEAD).await;
    assert_eq!(letters.len(), 1);
    assert!(format!("{letters:?}").contains("the price service answers 404 for gone"), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_async_does_the_same_for_several_messages_at_once_in_one_instance() {
    let service = Service::start().await;
    service.held.send_replace(true);
    let mut work = prices(&service, &[service.url("/price/")]);
    (work.handler, work.concurrency, work.retry.max_attempts) = ("fetch-async".to_owned(), 4, 10_000);
    let site = Site::new().await;
    site.install("fetch-async", FETCH_ASYNC);
    let host = Host::start_at(site, vec![work]).await;
    host.stream("OUT", &["out.>"]).await;
    for item in ["tea", "gone", "coffee", "milk"] {
        host.publish("in.prices.a", item).await;
    }
    // All of them wait for their answers at once.
    service.asked(4).await;
    assert_eq!(host.workers("prices").0, 1);
    service.up.send_replace(false);
    service.held.send_replace(false);
    service.asked(8).await;
    service.up.send_replace(true);
    host.settled("prices").await;
    assert_eq!(host.stored_count("OUT", 3).await.iter().map(text).collect::<Vec<_>>(), ["3.20"; 3]);
    let letters = host.stored(DEAD).await;
    assert_eq!(letters.len(), 1);
    assert!(format!("{letters:?}").contains("the price service answers 404 for gone"), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_grant_covers_is_never_sent_and_named_in_the_log() {
    let service = Service::start().await;
    let host = host(prices(&service, &[service.url("/elsewhere/")])).await;
    host.publish("in.prices.a", "tea").await;
    let origin = service.url("");
    log::logged(&["prices", &origin, "no grant covers it", "grants.http"]).await;
    host.settled("prices").await;
    assert_eq!(host.stored(DEAD).await.len(), 1);
    assert!(service.asked.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_waits_for_the_request_that_runs() {
    let service = Service::start().await;
    service.held.send_replace(true);
    let host = host(prices(&service, &[service.url("/")])).await;
    host.publish("in.prices.a", "tea").await;
    service.asked(1).await;
    // The same code with a section that nobody reads is another generation.
    host.install("fetch", &[FETCH, &[0, 2, 1, b'x']].concat());
    host.publish("in.prices.a", "coffee").await;
    service.held.send_replace(false);
    host.settled("prices").await;
    assert_eq!(host.stored_count("OUT", 2).await.len(), 2);
    assert!(host.stored(DEAD).await.is_empty());
    assert_eq!(*service.asked.lock(), ["/price/tea", "/price/coffee"]);
}

#[tokio::test]
async fn check_warns_of_a_handler_that_imports_http_and_is_granted_none_and_reads_the_authorities() {
    let (directory, site) = (tempfile::tempdir().unwrap(), Site::new().await);
    site.install("fetch", FETCH);
    let path = directory.path().join("tidegate.toml");
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache");
    let check = async |grants: &str| {
        let text = format!(
            "plugins.dir = \"{}\"\n[workload.prices]\nstream = \"S\"\nhandler = \"fetch\"\npolicy = \"fixed\"\n\
             {grants}\n",
            site.plugins.path().display()
        );
        std::fs::write(&path, text).unwrap();
        Running::start(tidegate(["check", "--cache-dir", cache, "--config", path.to_str().unwrap()])).end().await
    };
    let ungranted = check("").await;
    assert_eq!(ungranted.code, Some(0), "{}", ungranted.said());
    assert!(ungranted.said().contains("imports wasi:http, and grants.http grants it nothing"), "{}", ungranted.said());
    let granted = check("grants.http = [\"https://prices.example.com/\"]").await;
    assert!(granted.code == Some(0) && !granted.said().contains("wasi:http"), "{}", granted.said());
    let missing = check("grants.http = [\"https://prices.example.com/\"]\ngrants.http-ca = \"none.pem\"").await;
    missing.failed_with(1, &["workload prices: its handler cannot use", "none.pem", "grants.http-ca"]);
    let wrong = check("grants.http = [\"https://*.example.com/\"]").await;
    wrong.failed_with(1, &["grants.http", "there are no wildcards"]);
}
