//! The spans of a delivery, with the names of OpenTelemetry's conventions for messaging: `receive` while it waits for a
//! worker, `process` while a handler has it, `publish` until its publications are stored, `settle` while the server is
//! told what became of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};

use super::export::{SpanQueue, Telemetry};
use crate::contract::{Author, Delivery};
use crate::delivery::trace_context::{self, TraceContext};
use crate::subject::shown;

/// Makes the spans of one workload.
#[derive(Debug)]
pub(crate) struct WorkloadSpans {
    queue: SpanQueue,
    /// The share of the messages without a trace that get one.
    sample: f64,
    scope: InstrumentationScope,
    workload: Arc<str>,
    stream: Arc<str>,
    consumer: Arc<str>,
}

impl WorkloadSpans {
    /// Of a workload with this name, which reads a stream by a consumer.
    pub(crate) fn new(telemetry: &Telemetry, workload: &str, stream: &str, consumer: &str) -> Arc<Self> {
        Self::of(telemetry.queue(), telemetry.sample, [workload, stream, consumer])
    }

    fn of(queue: SpanQueue, sample: f64, [workload, stream, consumer]: [&str; 3]) -> Arc<Self> {
        let scope = InstrumentationScope::builder("tidegate").with_version(env!("CARGO_PKG_VERSION")).build();
        Arc::new(Self {
            queue,
            sample,
            scope,
            workload: workload.into(),
            stream: stream.into(),
            consumer: consumer.into(),
        })
    }

    /// The spans of a delivery that has come. `None` if its trace is not kept: as its `traceparent` says, and where it
    /// has none, by chance.
    pub(crate) fn begin(self: &Arc<Self>, delivery: &Delivery) -> Option<Box<DeliverySpans>> {
        let (trace, parent, state) = match TraceContext::of(delivery).map(|context| remote(&context)) {
            Some((true, trace, parent, state)) => (trace, parent, state),
            Some((false, ..)) => return None,
            None => {
                let trace = RandomIdGenerator::default().new_trace_id();
                if !is_sampled(trace, self.sample) {
                    return None;
                }
                (trace, SpanId::INVALID, TraceState::NONE)
            }
        };
        let (came, waiting) = (now(), Some(new_id()));
        Some(Box::new(DeliverySpans { of: self.clone(), trace, parent, state, came, waiting, call: None }))
    }
}

/// Whether the trace is kept, its id, the step that the message comes from, and what tracing systems added.
fn remote(context: &TraceContext<'_>) -> (bool, TraceId, SpanId, TraceState) {
    let (trace, parent, sampled) = context.ids();
    let state = context.state().parse().unwrap_or(TraceState::NONE);
    (sampled, TraceId::from_bytes(trace), SpanId::from_bytes(parent), state)
}

/// By the last bits of the id, so that other programs with the same share choose the same traces.
fn is_sampled(trace: TraceId, share: f64) -> bool {
    let [.., a, b, c, d, e, f, g] = trace.to_bytes();
    let value = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
    #[expect(clippy::cast_precision_loss, reason = "56 bits, and a share of them")]
    let below = (value as f64) < share * 72_057_594_037_927_936.0;
    below
}

#[expect(clippy::disallowed_methods, reason = "a span is told by the time of day, and nothing is decided by it")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn new_id() -> SpanId {
    RandomIdGenerator::default().new_span_id()
}

/// The spans of one delivery.
#[derive(Debug)]
pub(crate) struct DeliverySpans {
    of: Arc<WorkloadSpans>,
    trace: TraceId,
    /// The step that the message comes from.
    parent: SpanId,
    state: TraceState,
    /// When the delivery came.
    came: SystemTime,
    /// The span of its waiting, until its first call begins.
    waiting: Option<SpanId>,
    /// Its last call: its span, and when it began.
    call: Option<(SpanId, SystemTime)>,
}

impl DeliverySpans {
    /// A call of the handler begins: the delivery has waited. The headers then name the call, so that it is what all
    /// that is sent because of it comes from.
    pub(crate) fn call_begins(&mut self, delivery: &mut Delivery) {
        let (begins, call) = (now(), new_id());
        if let Some(id) = self.waiting.take() {
            let span = self.span("receive", SpanKind::Consumer, (id, self.came, begins), self.parent);
            self.push(SpanData { attributes: self.attributes("receive", "receive", delivery), ..span });
        }
        self.call = Some((call, begins));
        let foreign_state = self.parent == SpanId::INVALID;
        delivery.headers.retain(|(name, _)| {
            let is_state = name.eq_ignore_ascii_case(trace_context::STATE);
            !(name.eq_ignore_ascii_case(trace_context::PARENT) || is_state && foreign_state)
        });
        // A handler sees the headers in the order of their names.
        let at = delivery.headers.partition_point(|(name, _)| name.as_str() < trace_context::PARENT);
        delivery.headers.insert(at, (trace_context::PARENT.to_owned(), self.named(call)));
    }

    /// That call has ended, by the code of this author; what kind of failure it was, if it was one.
    pub(crate) fn call_ended(&self, delivery: &Delivery, failure: Option<&'static str>, author: &Author) {
        let Some((call, begun)) = self.call else { return };
        let mut attributes = self.attributes("process", "process", delivery);
        attributes.push(KeyValue::new("tidegate.plugin", author.plugin.clone()));
        attributes.push(KeyValue::new("tidegate.generation", author.generation.to_string()));
        let mut span = self.span("process", SpanKind::Consumer, (call, begun, now()), self.parent);
        if let Some(kind) = failure {
            attributes.push(KeyValue::new("error.type", kind));
            span.status = Status::error(kind);
        }
        self.push(SpanData { attributes, ..span });
    }

    /// The publications of the call begin to be sent.
    pub(crate) fn publish(&self, delivery: &Delivery, count: usize, subject: &str) -> OpenSpan {
        let mut attributes = self.attributes("publish", "send", delivery);
        attributes
            .retain(|of| !matches!(of.key.as_str(), "messaging.destination.name" | "messaging.message.body.size"));
        attributes.push(KeyValue::new("messaging.destination.name", shown(subject)));
        attributes.push(KeyValue::new("messaging.batch.message_count", i64::try_from(count).unwrap_or(i64::MAX)));
        self.open("publish", SpanKind::Producer, attributes)
    }

    /// The server begins to be told what became of the delivery: `ack`, `nak` or `term`.
    pub(crate) fn settle(&self, delivery: &Delivery, how: &'static str) -> OpenSpan {
        let mut attributes = self.attributes("settle", "settle", delivery);
        attributes.push(KeyValue::new("tidegate.settlement", how));
        self.open("settle", SpanKind::Client, attributes)
    }

    fn open(&self, operation: &'static str, kind: SpanKind, attributes: Vec<KeyValue>) -> OpenSpan {
        let (id, begins) = (new_id(), now());
        let parent = self.call.map_or(self.parent, |(call, _)| call);
        let span = SpanData { attributes, ..self.span(operation, kind, (id, begins, begins), parent) };
        OpenSpan { span, named: self.named(id), queue: self.of.queue.clone() }
    }

    /// As a header names this span.
    fn named(&self, span: SpanId) -> String {
        format!("00-{}-{span}-01", self.trace)
    }

    fn span(
        &self,
        operation: &'static str,
        span_kind: SpanKind,
        (id, start_time, end_time): (SpanId, SystemTime, SystemTime),
        parent_span_id: SpanId,
    ) -> SpanData {
        SpanData {
            span_context: SpanContext::new(self.trace, id, TraceFlags::SAMPLED, false, self.state.clone()),
            parent_span_id,
            parent_span_is_remote: parent_span_id == self.parent && parent_span_id != SpanId::INVALID,
            span_kind,
            name: Cow::Owned(format!("{operation} {}", self.of.stream)),
            start_time,
            // The clock may have been set back meanwhile.
            end_time: end_time.max(start_time),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.of.scope.clone(),
        }
    }

    fn attributes(&self, name: &'static str, kind: &'static str, delivery: &Delivery) -> Vec<KeyValue> {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        vec![
            KeyValue::new("messaging.system", "nats"),
            KeyValue::new("messaging.operation.name", name),
            KeyValue::new("messaging.operation.type", kind),
            KeyValue::new("messaging.destination.name", shown(&delivery.subject)),
            KeyValue::new("messaging.consumer.group.name", self.of.consumer.clone()),
            KeyValue::new("messaging.message.body.size", number(delivery.payload.len() as u64)),
            KeyValue::new("nats.stream", self.of.stream.clone()),
            KeyValue::new("nats.stream.sequence", number(delivery.stream_sequence)),
            KeyValue::new("tidegate.workload", self.of.workload.clone()),
            KeyValue::new("tidegate.attempt", i64::from(delivery.attempt)),
        ]
    }

    fn push(&self, span: SpanData) {
        self.of.queue.push(span);
    }
}

/// A span that has not ended. One that is dropped is not told.
#[derive(Debug)]
pub(crate) struct OpenSpan {
    span: SpanData,
    named: String,
    queue: SpanQueue,
}

impl OpenSpan {
    /// As a header names it.
    pub(crate) fn name(&self) -> &str {
        &self.named
    }

    /// It has ended now, with this failure if there was one.
    pub(crate) fn end(mut self, failure: Option<&'static str>) {
        self.span.end_time = now().max(self.span.start_time);
        if let Some(kind) = failure {
            self.span.attributes.push(KeyValue::new("error.type", kind));
            self.span.status = Status::error(kind);
        }
        self.queue.push(self.span);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use tokio::sync::mpsc::Receiver;

    use super::super::export::WaitingSpan;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn spans(sample: f64) -> (Arc<WorkloadSpans>, Receiver<WaitingSpan>) {
        let (queue, spans) = SpanQueue::of_test(64);
        (WorkloadSpans::of(queue, sample, ["work", "IN", "work-workers"]), spans)
    }

    fn delivery(headers: &[(&str, &str)]) -> Delivery {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Delivery { headers, subject: "in.a".to_owned(), stream_sequence: 7, attempt: 1, ..Delivery::default() }
    }

    fn author() -> Author {
        Author { plugin: "p".into(), generation: "g".into() }
    }

    fn told_spans(told: &mut Receiver<WaitingSpan>) -> Vec<SpanData> {
        std::iter::from_fn(|| told.try_recv().ok()).map(|waiting| waiting.span).collect()
    }

    fn header(delivery: &Delivery, name: &str) -> Vec<String> {
        delivery.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.clone()).collect()
    }

    #[test]
    fn a_delivery_goes_on_with_its_trace_and_what_comes_of_it_comes_from_the_call() {
        let (of, mut told) = spans(0.0);
        let mut delivery = delivery(&[("a", "1"), ("traceparent", PARENT), ("tracestate", "x=1"), ("z", "2")]);
        let mut spans = of.begin(&delivery).unwrap();
        spans.call_begins(&mut delivery);
        assert_eq!(
            delivery.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["a", "traceparent", "tracestate", "z"]
        );
        spans.call_ended(&delivery, None, &author());
        let publish = spans.publish(&delivery, 2, "out.a");
        let name = publish.name().to_owned();
        publish.end(None);
        spans.settle(&delivery, "ack").end(None);
        let all: Vec<SpanData> = told_spans(&mut told);
        let [receive, process, publish, settle] = all.as_slice() else { panic!("{all:?}") };
        let parent = SpanId::from_hex("00f067aa0ba902b7").unwrap();
        assert_eq!((receive.parent_span_id, process.parent_span_id), (parent, parent));
        assert!(receive.parent_span_is_remote && !publish.parent_span_is_remote);
        let call = process.span_context.span_id();
        assert_eq!((publish.parent_span_id, settle.parent_span_id), (call, call));
        assert_eq!(header(&delivery, "traceparent"), [format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{call}-01")]);
        assert_eq!(name, format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", publish.span_context.span_id()));
        assert!(all.iter().all(|span| span.span_context.trace_state().header() == "x=1"));
    }

    #[test]
    fn each_try_is_a_call_of_its_own_and_the_delivery_is_received_once() {
        let (of, mut told) = spans(1.0);
        let mut delivery = delivery(&[("traceparent", PARENT)]);
        let mut spans = of.begin(&delivery).unwrap();
        for failure in [Some("retry"), None] {
            spans.call_begins(&mut delivery);
            spans.call_ended(&delivery, failure, &author());
        }
        let all: Vec<SpanData> = told_spans(&mut told);
        let names: Vec<&str> = all.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["receive IN", "process IN", "process IN"]);
        assert_eq!((&all[1].status, &all[2].status), (&Status::error("retry"), &Status::Unset));
        assert!(all.iter().all(|span| span.parent_span_id == SpanId::from_hex("00f067aa0ba902b7").unwrap()));
    }

    #[test]
    fn a_trace_is_kept_as_its_parent_says_and_without_one_by_chance() {
        let unsampled = PARENT.replace("-01", "-00");
        let of = |headers: &[(&str, &str)], sample| spans(sample).0.begin(&delivery(headers)).is_some();
        assert!(of(&[("traceparent", PARENT)], 0.0) && !of(&[("traceparent", &unsampled)], 1.0));
        assert!(of(&[], 1.0) && !of(&[], 0.0));
        let tenth = (0..20_000).filter(|_| of(&[], 0.1)).count();
        assert!((1_700..=2_300).contains(&tenth), "{tenth}");
    }

    #[test]
    fn no_workload_takes_all_places_of_the_queue() {
        let (queue, mut told) = SpanQueue::of_test(64);
        let neighbour = queue.of_another_workload();
        let of = |queue: SpanQueue| WorkloadSpans::of(queue, 1.0, ["work", "IN", "work-workers"]);
        let push = |of: &Arc<WorkloadSpans>| of.begin(&delivery(&[])).unwrap().settle(&delivery(&[]), "ack").end(None);
        let (greedy, neighbour) = (of(queue), of(neighbour));
        (0..1_000).for_each(|_| push(&greedy));
        assert_eq!(told.len(), 32);
        (0..10).for_each(|_| push(&neighbour));
        assert_eq!(told.len(), 42);
        // What was taken out makes room again.
        assert_eq!(told_spans(&mut told).len(), 42);
        push(&greedy);
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn a_long_subject_is_told_in_part() {
        let (of, mut told) = spans(1.0);
        let long = Delivery { subject: "a".repeat(3_000), ..delivery(&[]) };
        of.begin(&long).unwrap().settle(&long, "ack").end(None);
        let span = told_spans(&mut told).remove(0);
        let subject = span.attributes.iter().find(|of| of.key.as_str() == "messaging.destination.name").unwrap();
        assert!(subject.value.as_str().len() < 300);
    }

    #[test]
    fn what_names_no_trace_is_replaced_by_one_with_all_that_belongs_to_it() {
        let (of, _told) = spans(1.0);
        let mut delivery = delivery(&[("TraceParent", "no"), ("tracestate", "x=1"), ("traceparent", "no")]);
        let mut spans = of.begin(&delivery).unwrap();
        spans.call_begins(&mut delivery);
        assert_eq!((header(&delivery, "tracestate").len(), header(&delivery, "TraceParent").len()), (0, 0));
        assert_eq!(header(&delivery, "traceparent").len(), 1);
        assert!(TraceContext::of(&delivery).is_some());
    }
}
