//! A host that answers as a NATS service: what `nats micro` asks, and what a person tells it by NATS.

mod drained;
mod hostile;
mod rights;
mod scaled;

use std::sync::Arc;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tidegate_runtime::config::{Config, ServiceConfig, Workload};

use crate::support::host::{Host, workers};
use crate::support::site::Site;
use crate::support::{PATIENCE, eventually, until};

/// A host that is called `one` takes orders or does not.
fn service(admin: bool) -> ServiceConfig {
    let replies = vec!["_INBOX.>".to_owned()];
    ServiceConfig { host: Some("one".to_owned()), prefix: "tidegate.host".to_owned(), admin, replies }
}

/// Starts such a host, and awaits that it answers.
async fn host(site: Arc<Site>, service: ServiceConfig, workloads: Vec<Workload>) -> (Host, String) {
    let id = service.host.clone().unwrap();
    let count = workloads.len();
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(site.clone(), Config { http, service: Some(service), workloads, ..site.config() });
    let address = host.address().await;
    host.ready(count).await;
    eventually("it answers", async || ask(&site, &format!("$SRV.PING.tidegate.{id}"), "").await.is_some()).await;
    (host, address)
}

/// What is answered: the headers and the payload; `None` if nobody listens.
async fn ask(site: &Site, subject: &str, body: impl Into<Bytes>) -> Option<(Option<HeaderMap>, Value)> {
    let inbox = site.client.new_inbox();
    let mut answers = site.client.subscribe(inbox.clone()).await.unwrap();
    site.client.publish_with_reply(subject.to_owned(), inbox, body.into()).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, answers.next()).await.expect("an answer").unwrap();
    if answer.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
        return None;
    }
    Some((answer.headers, serde_json::from_slice(&answer.payload).unwrap()))
}

/// What is answered without an error.
async fn answer(site: &Site, subject: &str, body: &'static str) -> Value {
    let (headers, body) = ask(site, subject, body).await.expect("somebody listens");
    assert_eq!(headers.and_then(|headers| headers.get("Nats-Service-Error").cloned()), None, "{body}");
    body
}

/// The code and the words of a refusal, which stand in the headers of the framework and in the payload.
async fn refused(site: &Site, subject: &str, body: impl Into<Bytes>) -> (u64, String) {
    let (headers, body) = ask(site, subject, body).await.expect("somebody listens");
    let headers = headers.unwrap_or_default();
    let code: u64 = headers.get("Nats-Service-Error-Code").unwrap().as_str().parse().unwrap();
    assert_eq!(body["error"]["code"], code, "{body}");
    let words = body["error"]["description"].as_str().unwrap();
    assert_eq!(headers.get("Nats-Service-Error").unwrap().as_str(), words);
    (code, words.to_owned())
}

fn endpoint<'a>(list: &'a Value, name: &str) -> &'a Value {
    let all = list["endpoints"].as_array().unwrap();
    all.iter().find(|endpoint| endpoint["name"] == name).unwrap_or_else(|| panic!("no {name} in {list}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_found_by_the_framework_and_its_workloads_are_endpoints() {
    let site = Site::new().await;
    let (host, _) = host(site.clone(), service(false), vec![workers("orders", 2)]).await;
    for subject in ["$SRV.PING", "$SRV.PING.tidegate", "$SRV.PING.tidegate.one"] {
        let pong = answer(&site, subject, "").await;
        assert_eq!(pong["type"], "io.nats.micro.v1.ping_response");
        assert_eq!((pong["name"].as_str(), pong["id"].as_str()), (Some("tidegate"), Some("one")));
        assert_eq!(pong["version"], env!("CARGO_PKG_VERSION"));
        assert!(pong["metadata"].as_object().unwrap().values().all(Value::is_string), "{pong}");
    }
    eventually("both workers run", async || {
        let info = answer(&site, "$SRV.INFO.tidegate", "").await;
        let orders = endpoint(&info, "orders");
        orders["metadata"]["workers"] == "2" && orders["metadata"]["ready"] == "true"
    })
    .await;
    let info = answer(&site, "$SRV.INFO.tidegate", "").await;
    assert_eq!(info["type"], "io.nats.micro.v1.info_response");
    let orders = endpoint(&info, "orders");
    assert_eq!(orders["subject"], "tidegate.host.one.status.orders");
    assert_eq!(orders["metadata"]["generation"].as_str().unwrap().len(), 64, "{orders}");
    let names: Vec<_> = info["endpoints"].as_array().unwrap().iter().map(|of| of["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["status", "orders"], "what changes something is not offered");

    host.publish_all("in.orders.a", (0..10).map(|_| "ok".to_owned())).await;
    host.settled("orders").await;
    // Settled at the server a moment before it is counted here.
    eventually("all are counted", async || {
        endpoint(&answer(&site, "$SRV.STATS.tidegate.one", "").await, "orders")["num_requests"] == 10
    })
    .await;
    answer(&site, "tidegate.host.one.status", "").await;
    let stats = answer(&site, "$SRV.STATS.tidegate.one", "").await;
    assert_eq!(stats["type"], "io.nats.micro.v1.stats_response");
    assert!(stats["started"].as_str().unwrap().ends_with('Z'), "{stats}");
    let orders = endpoint(&stats, "orders");
    assert!(orders["average_processing_time"].as_u64().unwrap() > 0, "{orders}");
    assert_eq!((&orders["num_errors"], &orders["data"]["acked"]), (&json!(0), &json!(10)));
    assert_eq!(endpoint(&stats, "status")["num_requests"], 1);
    host.stop().await;
    until("nobody answers any more", async || {
        // What reaches the host just when it goes away is not answered.
        let asked = tokio::time::timeout(std::time::Duration::from_secs(2), ask(&site, "$SRV.PING", ""));
        asked.await.ok()?.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_that_of_http_of_all_workloads_or_of_one() {
    let site = Site::new().await;
    let (_host, address) = host(site.clone(), service(false), vec![workers("a", 1), workers("b", 1)]).await;
    let by_http = || async {
        let (_, body) = crate::support::web::get(&address, "/status").await;
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let (by_nats, http) = (answer(&site, "tidegate.host.one.status", "").await, by_http().await);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((keys(&by_nats), &by_nats["id"]), (keys(&http), &json!("one")));
    assert_eq!(keys(&by_nats["workloads"][1]), keys(&http["workloads"][1]));
    let rest = answer(&site, "tidegate.host.one.status", "{\"from\":1}").await;
    assert_eq!((rest["workloads"].as_array().unwrap().len(), &rest["workloads"][0]["name"]), (1, &json!("b")));
    assert_eq!(answer(&site, "tidegate.host.one.status.b", "").await["name"], "b");
    let (code, words) = refused(&site, "tidegate.host.one.status.bb", "").await;
    assert_eq!((code, words.as_str()), (404, "this host has no workload `bb`; did you mean b?"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_no_service_listens_to_nobody() {
    let site = Site::new().await;
    let host = Host::start_at(site.clone(), vec![workers("quiet", 1)]).await;
    assert_eq!(ask(&site, "$SRV.PING", "").await, None);
    assert_eq!(ask(&site, "$SRV.INFO.tidegate", "").await, None);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_answers_again_after_its_server_was_away() {
    let site = Site::new().await;
    let (_host, _) = host(site.clone(), service(false), vec![workers("back", 1)]).await;
    site.server.lock().await.restart().await.unwrap();
    until("it answers", async || {
        let asked = ask(&site, "$SRV.PING.tidegate", "");
        // What is asked just when the server goes away is not answered.
        tokio::time::timeout(std::time::Duration::from_secs(2), asked).await.ok().flatten()
    })
    .await;
}
