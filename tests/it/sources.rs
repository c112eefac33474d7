//! Both sources of signals, under one load.

use std::ops::ControlFlow;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use futures_util::{FutureExt, StreamExt};
use tidegate_runtime::clock::Since;
use tidegate_runtime::config::{DeadLetters, Retention, Scale, SignalSource, Workload};
use tidegate_runtime::delivery::counters::Work;
use tidegate_runtime::events::Event;
use tidegate_runtime::jetstream::{BoundConsumer, Client, HeaderWatch, Signals};
use tidegate_runtime::ports::Sample;
use tidegate_runtime::ports::Source as _;
use tidegate_runtime::scaling::observe::{Moment, ObservationBuilder};
use tokio::sync::oneshot;

use crate::support::eventually;
use crate::support::host::{Host, policy, workers, workload};
use crate::support::site::Site;

/// A workload on the stream `work`, read by one source or the other.
fn read_by(source: SignalSource) -> Workload {
    let workload = workload("work");
    let scale = Scale { source, ..workload.scale.clone() };
    Workload { scale, ..workload }
}

struct Readers {
    info: Signals,
    headers: Signals,
    stop: oneshot::Sender<()>,
    watch: tokio::task::JoinHandle<()>,
}

/// Both sources on the one consumer of a workload.
async fn readers(site: &Site, change: impl Fn(&mut Workload)) -> Readers {
    let client = Client::connect(&site.nats).await.unwrap();
    let bound = async |source| {
        let mut workload = read_by(source);
        change(&mut workload);
        let own = (&DeadLetters::default(), None);
        BoundConsumer::new(&client, &workload, own, "test").await.unwrap().signals().await.unwrap()
    };
    let (info, none) = bound(SignalSource::Info).await;
    assert!(none.is_none());
    let (headers, watch) = bound(SignalSource::Headers).await;
    let watch: HeaderWatch = watch.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let watch = tokio::spawn(watch.run(Since::now(), |_| {}, async {
        let _ = stopped.await;
    }));
    Readers { info, headers, stop, watch }
}

impl Readers {
    /// A sample of each, as soon as the headers have counted what the info has.
    async fn sample(&mut self) -> (Sample, Sample) {
        let info = self.info.sample(0).await.unwrap();
        let mut headers = self.headers.sample(0).await.unwrap();
        eventually("the headers are counted", async || {
            headers = self.headers.sample(0).await.unwrap();
            headers.arrivals >= info.arrivals
        })
        .await;
        // Both have the server's time, which is another each time.
        assert!(info.now_ms.is_some() && info.now_ms <= headers.now_ms, "{info:?} {headers:?}");
        (Sample { now_ms: None, ..info }, Sample { now_ms: None, ..headers })
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.watch.await.unwrap();
    }
}

fn without_last_arrival(sample: Sample) -> Sample {
    Sample { last_arrival: None, ..sample }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sources_make_the_same_observation_of_one_load() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    site.publish("in.work.a", "was there before, so it is no arrival").await;
    let mut readers = readers(&site, |_| {}).await;
    let scale = read_by(SignalSource::Info).scale;
    let (mut by_info, mut by_headers) = (ObservationBuilder::new(scale.window), ObservationBuilder::new(scale.window));
    for step in 0..30 {
        // A message that was just stored may not be pending yet.
        eventually("all are pending", async || site.consumer("work").await.num_pending == step * 100 + 1).await;
        let (info, headers) = readers.sample().await;
        assert_eq!(info.arrivals, step * 100);
        assert_eq!(info, without_last_arrival(headers));
        let elapsed = Duration::from_millis(100 * step);
        let at = Moment { elapsed, now_ms: 1_700_000_000_000, wall_ms: 1_700_000_000_000 };
        let seen = |observer: &mut ObservationBuilder, sample| {
            let mut seen = observer.observe(at, sample, Work::default(), 1, &scale);
            // The headers say when the last message came, the info only that it came since it last looked.
            seen.idle_ms = seen.idle_ms.map(|_| 0);
            seen
        };
        let seen = (seen(&mut by_info, info), seen(&mut by_headers, headers));
        assert_eq!(seen.0, seen.1);
        if step >= 10 {
            assert_eq!(seen.0.arrival_rate, 1000.0);
        }
        site.publish_all("in.work.a", (0..100).map(|_| "ok".to_owned())).await;
    }
    readers.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sources_count_only_what_the_filter_lets_through() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    let mut readers = readers(&site, |workload| workload.queue.filter = vec!["in.work.mine.*".to_owned()]).await;
    readers.sample().await;
    for _ in 0..50 {
        site.publish("in.work.mine.1", "ok").await;
        site.publish("in.work.other.1", "ok").await;
    }
    eventually("all are pending", async || site.consumer("work").await.num_pending == 50).await;
    let (info, headers) = readers.sample().await;
    assert_eq!((info.arrivals, info.pending), (50, 50));
    assert_eq!(info, without_last_arrival(headers));
    readers.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redeliveries_to_other_hosts_are_no_arrivals() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    let mut readers = readers(&site, |workload| workload.queue.filter = vec!["in.work.mine.*".to_owned()]).await;
    readers.sample().await;
    for _ in 0..5 {
        site.publish("in.work.mine.1", "ok").await;
        site.publish("in.work.other.1", "ok").await;
    }
    eventually("all are pending", async || site.consumer("work").await.num_pending == 5).await;
    assert_eq!(readers.sample().await.0.arrivals, 5);
    // Another host, which the readers know nothing of, fails at each of them again and again.
    let stream = site.js.get_stream("work").await.unwrap();
    let other: PullConsumer = stream.get_consumer("work-workers").await.unwrap();
    for _ in 0..8 {
        let mut batch = other.fetch().max_messages(5).messages().await.unwrap();
        while let Some(message) = batch.next().await {
            message.unwrap().ack_with(AckKind::Nak(None)).await.unwrap();
        }
    }
    assert_eq!(readers.sample().await.0.arrivals, 5);
    site.publish("in.work.mine.1", "ok").await;
    eventually("it is counted", async || readers.info.sample(0).await.unwrap().arrivals == 6).await;
    readers.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stream_is_made_anew_arrivals_are_counted_from_its_first_message() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    site.publish_all("in.work.a", (0..100).map(|_| "ok".to_owned())).await;
    let mut readers = readers(&site, |_| {}).await;
    readers.sample().await;
    site.js.delete_stream("work").await.unwrap();
    site.stream("work", &["in.work.>"]).await;
    let again = self::readers(&site, |_| {}).await;
    site.publish_all("in.work.a", (0..7).map(|_| "ok".to_owned())).await;
    eventually("the seven are counted", async || readers.info.sample(0).await.is_ok_and(|sample| sample.arrivals == 7))
        .await;
    again.end().await;
    readers.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sources_count_under_one_load_what_runs_through_a_host() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    let mut readers = readers(&site, |_| {}).await;
    readers.sample().await;
    let host = Host::start_at(site.clone(), vec![read_by(SignalSource::Info)]).await;
    let load = async {
        for _ in 0..40 {
            site.publish_all("in.work.a", (0..100).map(|_| "ok".to_owned())).await;
        }
    };
    let look = async { while readers.sample().await.0.arrivals < 4000 {} };
    tokio::join!(load, look);
    host.settled("work").await;
    let (info, headers) = readers.sample().await;
    assert_eq!((info.arrivals, headers.arrivals), (4000, 4000));
    assert_eq!((info.pending, info.ack_pending, info.oldest_ms), (0, 0, None));
    readers.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_scales_by_either_source_and_an_interest_stream_lets_go_of_what_is_handled() {
    for source in [SignalSource::Info, SignalSource::Headers] {
        let mut workload = policy(read_by(source), "backlog", &[]);
        workload.queue.retention = Retention::Interest;
        let host = Host::start(vec![workload]).await;
        host.publish_all("in.work.a", (0..500).map(|_| "ok".to_owned())).await;
        host.settled("work").await;
        eventually("the stream is empty", async || {
            host.js.get_stream("work").await.unwrap().cached_info().state.messages == 0
        })
        .await;
        assert!(host.workers("work").0 >= 1);
        let watch = host.js.get_stream("work").await.unwrap().consumer_info("work-workers-watch").await;
        assert_eq!(watch.is_ok(), source == SignalSource::Headers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_are_asked_for_ahead_so_that_a_server_far_away_makes_no_rate_smaller() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    let mut pulls = site.client.subscribe("$JS.API.CONSUMER.MSG.NEXT.work.work-workers-watch").await.unwrap();
    site.client.flush().await.unwrap();
    let mut readers = readers(&site, |_| {}).await;
    readers.sample().await;
    site.publish_all("in.work.a", (0..2000).map(|_| "ok".to_owned())).await;
    eventually("all are pending", async || site.consumer("work").await.num_pending == 2000).await;
    let (info, headers) = readers.sample().await;
    assert_eq!((info.arrivals, headers.arrivals), (2000, 2000));
    let mut asked = 0;
    while let Some(Some(pull)) = pulls.next().now_or_never() {
        // The first is the probe's, which asks for none.
        asked += usize::from(!pull.payload.starts_with(b"{\"batch\":\"none\""));
    }
    assert!((1..=20).contains(&asked), "{asked} pulls");
    readers.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_alone_asks_seldom_about_a_consumer_that_is_idle_and_sees_the_next_message_at_once() {
    let idle = workers("idle", 0);
    let scale = Scale { interval: Duration::from_millis(20), ..idle.scale.clone() };
    let host = Host::start(vec![Workload { scale, ..idle }]).await;
    host.publish("in.idle.a", "ok").await;
    host.settled("idle").await;
    eventually("no worker is left", async || host.count(|event| matches!(event, Event::WorkerEnded { .. })) == 1).await;
    let mut wire = host.wire().await;
    // A pull waits for a second, and that is 50 intervals. On a machine that is busy the first may be asked about more.
    let mut asked = None;
    wire.read(|message| {
        let subject = message.subject.as_str();
        if subject.starts_with("$JS.API.CONSUMER.INFO.idle.") {
            asked = asked.map(|asked| asked + 1);
        } else if subject.starts_with("$JS.API.CONSUMER.MSG.NEXT.idle.") {
            if asked.is_some_and(|asked: u32| (1..20).contains(&asked)) {
                return ControlFlow::Break(());
            }
            asked = Some(0);
        }
        ControlFlow::Continue(())
    })
    .await;
    host.publish("in.idle.a", "ok").await;
    wire.samples("idle", 2).await;
    host.settled("idle").await;
}
