//! Streams and consumers that are missing, or that cannot work.

use async_nats::jetstream::consumer::{AckPolicy, pull, push};
use async_nats::jetstream::{self, stream};
use tidegate_nats_server::Server;

use crate::support::cli::{Running, run, tidegate};
use crate::support::nats::{jetstream, nats};
use crate::support::site::DEAD;

/// A server with the stream `work` on `work.>`.
async fn bench() -> (Server, jetstream::Context, stream::Stream) {
    let server = nats().await;
    let context = jetstream(&server).await;
    let config = stream::Config { name: "work".into(), subjects: vec!["work.>".into()], ..Default::default() };
    let stream = context.create_stream(config).await.unwrap();
    (server, context, stream)
}

fn arguments<'a>(server: &'a Server, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["run", "--server", server.url(), "--no-cache", "--handler", "probe", "--policy", "fixed"];
    all.extend(more);
    all
}

/// A host cannot set its workload up, says so in these words, and waits.
async fn waits(server: &Server, flags: &[&str], said: &[&str]) {
    let host = Running::start(tidegate(arguments(server, flags)));
    host.waits_with(&[&["part=setup", "workload=probe", "tried again"], said].concat()).await;
}

async fn bind(server: &Server, consumer: &str, more: &[&str], said: &[&str]) {
    let flags = ["--manage", "bind", "--stream", "work", "--consumer", consumer];
    waits(server, &[&flags[..], more].concat(), said).await;
}

#[tokio::test]
async fn a_stream_or_consumer_that_is_to_be_there_and_is_not_is_named() {
    let (server, _, stream) = bench().await;
    waits(&server, &["--stream", "WROK", "--manage", "bind"], &["there is no stream WROK", "manage = \"create\""])
        .await;
    let said = ["stream work has no consumer workers", "ack policy `explicit`", "manage = \"create\""];
    bind(&server, "workers", &[], &said).await;

    let works = pull::Config { durable_name: Some("workers".into()), ..Default::default() };
    stream.create_consumer(works).await.unwrap();
    let said = ["stream work has no consumer workers-watch", "ack policy `all`", "headers only"];
    bind(&server, "workers", &["--source", "headers"], &said).await;
}

#[tokio::test]
async fn a_stream_that_cannot_be_made_is_told_with_the_reason() {
    let (server, _, _stream) = bench().await;
    waits(&server, &["--stream", "other"], &["there is no stream other", "subjects = [\"...\"]"]).await;
    let said = ["cannot set up stream other", "subjects overlap with an existing stream"];
    waits(&server, &["--stream", "other", "--subjects", "work.a"], &said).await;
}

#[tokio::test]
async fn a_stream_for_dead_letters_that_is_another_one_is_refused() {
    let (server, context, _stream) = bench().await;
    let config = stream::Config { name: "mail".into(), subjects: vec!["mail".into()], ..Default::default() };
    context.create_stream(config).await.unwrap();
    let said = ["stream mail for dead letters", "tidegate.dead.*", "[dead-letters]"];
    waits(&server, &["--stream", "work", "--dead-letters", "mail"], &said).await;
}

#[tokio::test]
async fn consumers_with_settings_that_cannot_work_are_refused_with_the_setting() {
    let (server, _, stream) = bench().await;
    let named = |name: &str| pull::Config { durable_name: Some(name.to_owned()), ..Default::default() };
    let configs = [
        pull::Config { ack_policy: AckPolicy::None, ..named("none") },
        pull::Config { ack_policy: AckPolicy::All, ..named("all") },
        pull::Config { headers_only: true, ..named("headers") },
        pull::Config { max_deliver: 5, ..named("few") },
        pull::Config { filter_subject: "work.a".into(), ..named("filtered") },
        named("everything"),
        pull::Config { durable_name: None, name: Some("fleeting".into()), ..Default::default() },
    ];
    for config in configs {
        stream.create_consumer(config).await.unwrap();
    }
    let push =
        push::Config { durable_name: Some("push".into()), deliver_subject: "to.me".into(), ..Default::default() };
    stream.create_consumer(push).await.unwrap();

    let filter = ["--filter", "work.b"];
    for (consumer, flags, said) in [
        ("push", &[][..], &["it is a push consumer", "Use a pull consumer"][..]),
        ("fleeting", &[], &["it is not durable", "Use a durable consumer"]),
        ("none", &[], &["it has ack policy `none`", "ack policy `explicit`"]),
        ("all", &[], &["its ack policy is not `explicit`", "Use a consumer with ack policy"]),
        ("headers", &[], &["it delivers headers only", "delivers payloads"]),
        (
            "few",
            &[],
            &["its max_deliver is 5", "Set its max_deliver to -1", "nats consumer edit work few --max-deliver=-1"],
        ),
        ("filtered", &filter, &["its filter is work.a, and the configuration's is work.b", "Make them the same"]),
        ("everything", &filter, &["it has no filter, and the configuration's is work.b"]),
        (
            "everything",
            &["--source", "headers", "--watch-consumer", "headers"],
            &["the headers source needs", "scale.watch-consumer"],
        ),
    ] {
        bind(&server, consumer, flags, &[&["consumer ", " on stream work cannot be used: "], said].concat()).await;
    }
}

#[tokio::test]
async fn streams_that_take_in_what_the_host_says_itself_are_refused() {
    let (server, context, _stream) = bench().await;
    let ended = run(arguments(&server, &["--stream", "all", "--subjects", "*.*"])).await;
    let said = "--subjects: \"*.*\" takes in what is delivered to this host (_INBOX.>)";
    ended.failed_with(1, &[said, "give the stream subjects of its own"]);
    let letters = ["tidegate.dead.*", "_INBOX.*.*"].map(str::to_owned).to_vec();
    let config = stream::Config { name: "letters".into(), subjects: letters, ..Default::default() };
    context.create_stream(config).await.unwrap();
    let said = ["stream letters for dead letters", "`_INBOX.*.*` takes in what is delivered to this host"];
    waits(&server, &["--stream", "work", "--dead-letters", "letters"], &said).await;
    let said = ["stream letters cannot be used", "nats stream edit letters --subjects"];
    waits(&server, &["--stream", "letters"], &said).await;
}

#[tokio::test]
async fn streams_that_bring_a_workload_its_own_dead_letters_are_refused() {
    let (server, context, _stream) = bench().await;
    let letters = vec!["tidegate.dead.*".to_owned()];
    let config = stream::Config { name: DEAD.into(), subjects: letters, ..Default::default() };
    context.create_stream(config).await.unwrap();
    let from = |filter: Option<&str>| stream::Source {
        name: DEAD.into(),
        filter_subject: filter.map(str::to_owned),
        ..Default::default()
    };
    let sources = |name: &str, filter: Option<&str>| stream::Config {
        name: name.into(),
        sources: Some(vec![from(filter)]),
        ..Default::default()
    };
    let mirror = stream::Config { name: "mirrors".into(), mirror: Some(from(None)), ..Default::default() };
    for config in [sources("all", None), sources("others", Some("tidegate.dead.other")), mirror] {
        context.create_stream(config).await.unwrap();
    }
    let said =
        ["stream all cannot be used: its source TIDEGATE_DEAD brings it this workload's dead letters", "OTHER.dead"];
    waits(&server, &["--stream", "all"], &said).await;
    waits(&server, &["--stream", "all", "--manage", "bind"], &said).await;
    let said = ["stream mirrors cannot be used: its mirror TIDEGATE_DEAD brings it", "Read another stream"];
    waits(&server, &["--stream", "mirrors"], &said).await;
    // Those of other workloads may be handled.
    let mut host = Running::start(tidegate(arguments(&server, &["--stream", "others", "--plugins", "/nowhere"])));
    host.line_with("consumer created").await;
}

#[tokio::test]
async fn what_the_server_refuses_to_make_is_told_with_the_key_that_mends_it() {
    let server = nats().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "[dead-letters]\nreplicas = 3\n[workload.probe]\nstream = \"s\"\nsubjects = \"s.>\"\nmanage = \
                \"create\"\n\
        handler = \"probe\"\npolicy = \"fixed\"\n";
    let waits_with = async |text: &str, said: &[&str]| {
        std::fs::write(file.path(), text).unwrap();
        let config = file.path().to_str().unwrap();
        let host = Running::start(tidegate(["run", "--server", server.url(), "--no-cache", "--config", config]));
        host.waits_with(said).await;
    };
    waits_with(text, &["stream TIDEGATE_DEAD for dead letters", "replicas of [dead-letters]"]).await;
    let large = text.replace("manage", "max-bytes = \"1048576GiB\"\nmanage").replace("\"s", "\"t");
    waits_with(&large, &["cannot set up stream t", "max-bytes of the workload"]).await;
}

#[tokio::test]
async fn the_headers_of_a_workqueue_that_is_there_cannot_be_watched() {
    let (server, context, _) = bench().await;
    let config = stream::Config {
        name: "queue".into(),
        subjects: vec!["queue".into()],
        retention: stream::RetentionPolicy::WorkQueue,
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    let said = ["probe-workers-watch on stream queue cannot be used", "workqueue retention", "scale.source = \"info\""];
    waits(&server, &["--stream", "queue", "--source", "headers"], &said).await;
}

#[tokio::test]
async fn what_only_slows_a_host_down_is_a_warning() {
    let (server, _, stream) = bench().await;
    let tight =
        pull::Config { durable_name: Some("tight".into()), max_ack_pending: 1, max_waiting: 2, ..Default::default() };
    stream.create_consumer(tight).await.unwrap();
    let flags = ["--manage", "bind", "--stream", "work", "--consumer", "tight", "--plugins", "/nowhere"];
    let mut host = Running::start(tidegate(arguments(&server, &flags)));
    let line = host.line_with("max_ack_pending is less than").await;
    assert!(line.contains("workload=probe") && line.contains("raise it"), "{line}");
    host.line_with("max_waiting is less than 4").await;
}
