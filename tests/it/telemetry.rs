//! Spans of messages, at a collector.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message;
use tidegate_runtime::config::{Config, Retry, TelemetryConfig, Workload};
use tokio::net::TcpListener;

use crate::support::host::{Host, workers};
use crate::support::site::{DEAD, Site, header};
use crate::support::web::get;
use crate::support::{eventually, log, until};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What speaks OTLP over HTTP, and keeps what it is sent.
struct Collector {
    url: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    spans: Mutex<Vec<Span>>,
    services: Mutex<Vec<String>>,
    refuses: Mutex<bool>,
    refused: Mutex<usize>,
}

async fn take(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    if *seen.refuses.lock() {
        *seen.refused.lock() += 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    for resource in request.resource_spans {
        seen.services.lock().push(format!("{:?}", resource.resource.unwrap().attributes));
        seen.spans.lock().extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    StatusCode::OK
}

impl Collector {
    async fn start() -> Self {
        let (seen, listener) = (Arc::<Seen>::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/v1/traces", post(take)).with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, seen }
    }

    /// The spans, once there are so many, by the time at which they began.
    async fn spans(&self, count: usize) -> Vec<Span> {
        eventually("all spans", async || self.seen.spans.lock().len() >= count).await;
        let mut spans = self.seen.spans.lock().clone();
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }
}

/// A host whose messages are traced, by a share of those without a trace.
async fn traced(collector: &str, sample: f64) -> (Host, String) {
    let site = Site::new().await;
    let workload = workers("work", 1);
    let workload = Workload { retry: Retry { max_attempts: 2, ..workload.retry.clone() }, ..workload };
    let telemetry = Some(TelemetryConfig { otlp: collector.to_owned(), sample, ca: None });
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(site.clone(), Config { telemetry, http, workloads: vec![workload], ..site.config() });
    let address = host.address().await;
    host.ready(1).await;
    host.stream("OUT", &["out.>"]).await;
    (host, address)
}

fn attribute(span: &Span, name: &str) -> String {
    let value = span.attributes.iter().find(|of| of.key == name).and_then(|of| of.value.clone()?.value);
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{name}: {other:?} in {span:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_a_message_is_told_to_the_collector_and_its_publications_go_on_with_the_trace() {
    let collector = Collector::start().await;
    let (host, address) = traced(&collector.url, 0.0).await;
    host.publish_with("in.work.a", &[("traceparent", PARENT), ("tracestate", "x=1")], "publish out.a x").await;
    // Of these nobody wants a trace.
    host.publish("in.work.a", "publish out.b x").await;
    host.publish_with("in.work.a", &[("traceparent", &PARENT.replace("-01", "-00"))], "ok").await;
    host.settled("work").await;
    let published = host.stored_count("OUT", 2).await;
    let spans = collector.spans(4).await;
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["receive work", "process work", "publish work", "settle work"]);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == "4bf92f3577b34da6a3ce929d0e0e4736"));
    assert!(spans.iter().all(|span| span.trace_state == "x=1" && span.end_time_unix_nano >= span.start_time_unix_nano));
    let [receive, process, publish, settle] = spans.as_slice() else { panic!("{names:?}") };
    assert_eq!([receive, process].map(|span| hex(&span.parent_span_id)), ["00f067aa0ba902b7", "00f067aa0ba902b7"]);
    assert_eq!([publish, settle].map(|span| &span.parent_span_id), [&process.span_id, &process.span_id]);
    assert_eq!(attribute(process, "messaging.destination.name"), "in.work.a");
    assert_eq!(attribute(process, "nats.stream.sequence"), "1");
    assert_eq!(attribute(publish, "messaging.destination.name"), "out.a");
    assert_eq!(attribute(settle, "tidegate.settlement"), "ack");
    let goes_on = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", hex(&publish.span_id));
    assert_eq!(header(&published[0], "traceparent"), Some(goes_on.as_str()));
    assert_eq!(header(&published[1], "traceparent"), None);
    assert!(collector.seen.services.lock()[0].contains("\"tidegate\""));
    let metrics = get(&address, "/metrics").await.1;
    assert!(metrics.contains("tidegate_spans_exported_total 4"), "{metrics}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_with_their_kind_and_the_last_spans_when_the_host_stops() {
    let collector = Collector::start().await;
    let (host, _) = traced(&collector.url, 1.0).await;
    host.publish("in.work.a", "before 2 retry").await;
    host.publish("in.work.a", "trap").await;
    host.settled("work").await;
    assert_eq!(host.stored_count(DEAD, 1).await.len(), 1);
    host.stop().await;
    let spans = collector.seen.spans.lock().clone();
    let mut told: Vec<(String, String, i32)> = spans
        .iter()
        .filter(|span| span.name.starts_with("process"))
        .map(|span| {
            let code = span.status.as_ref().map_or(0, |status| status.code);
            (attribute(span, "nats.stream.sequence"), attribute(span, "tidegate.attempt"), code)
        })
        .collect();
    told.sort();
    let of = |sequence: &str, attempt: &str, code| (sequence.to_owned(), attempt.to_owned(), code);
    assert_eq!(told, [of("1", "1", 2), of("1", "2", 0), of("2", "1", 2), of("2", "2", 2)]);
    let kinds = |span: &Span| attribute(span, "nats.stream.sequence") == "2" && span.name.starts_with("process");
    assert!(spans.iter().filter(|span| kinds(span)).all(|span| attribute(span, "error.type") == "trap"));
    // Each has a trace of its own, and each delivery one of its steps.
    let traces: std::collections::HashSet<_> = spans.iter().map(|span| &span.trace_id).collect();
    assert_eq!(traces.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_spans_and_no_message() {
    let collector = Collector::start().await;
    *collector.seen.refuses.lock() = true;
    let (host, address) = traced(&collector.url, 1.0).await;
    host.publish("in.work.a", "ok").await;
    host.settled("work").await;
    log::logged(&["spans are not taken, and are lost", &collector.url]).await;
    let lost = until("spans are counted", async || {
        let metrics = get(&address, "/metrics").await.1;
        let line = "tidegate_spans_lost_total{reason=\"collector\"} ";
        metrics.lines().find_map(|of| of.strip_prefix(line)?.parse::<u64>().ok()).filter(|lost| *lost > 0)
    });
    assert_eq!(lost.await, 3);
    *collector.seen.refuses.lock() = false;
    host.publish("in.work.a", "ok").await;
    host.settled("work").await;
    collector.spans(3).await;
    log::logged(&["spans are taken again", &collector.url]).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_that_cannot_be_read_keep_a_host_from_starting() {
    let site = Site::new().await;
    let telemetry = TelemetryConfig { otlp: "https://127.0.0.1:1".into(), sample: 1.0, ca: Some(PathBuf::from("/no")) };
    let config = Config { telemetry: Some(telemetry), workloads: vec![workers("work", 1)], ..site.config() };
    let ended = tidegate_runtime::run(config, tidegate_runtime::Observer::none(), std::future::pending()).await;
    let said = ended.unwrap_err().to_string();
    assert!(said.contains("telemetry.otlp: cannot use /no") && said.contains("telemetry.ca"), "{said}");
}
