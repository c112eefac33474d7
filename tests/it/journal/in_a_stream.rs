//! Decisions that are kept in a stream.

use async_nats::jetstream::stream;

use super::*;

/// A journal in stream DECIDED.
fn decided() -> JournalConfig {
    let stream = JournalStream { name: "DECIDED".to_owned(), replicas: 1, max_age: None, max_bytes: 1 << 20 };
    JournalConfig { file: None, stream: Some(stream) }
}

/// What `tidegate journal` prints of that.
async fn printed(site: &Site, more: &[&str]) -> Ended {
    let url = site.server.lock().await.url().to_owned();
    let all = ["journal", "--server", &url, "--stream", "DECIDED"];
    run(all.iter().chain(more)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_have_the_journal_is_told_and_keeps_no_workload_from_running() {
    let site = Site::new().await;
    site.stream("TAKEN", &["taken.>"]).await;
    let Config { journal, .. } = Config::from_toml(
        "journal.stream = \"TAKEN\"\n[workload.w]\nstream = \"s\"\nhandler = \"h\"\npolicy = \"p\"\n",
    )
    .unwrap();
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(site.clone(), Config { journal, http, workloads: vec![workload("work")], ..site.config() });
    host.ready(1).await;
    assert_eq!(host.request("in.work.a", "reply done").await, "done");
    let address = host.address().await;
    eventually("/readyz tells it", async || {
        let (code, text) = get(&address, "/readyz").await;
        code == 503 && text.contains("the journal's stream TAKEN cannot be used: it is there, and not bound to")
    })
    .await;
    let forgets = stream::Config {
        name: "TAKEN".to_owned(),
        subjects: vec!["tidegate.journal.*".to_owned()],
        retention: stream::RetentionPolicy::Interest,
        ..stream::Config::default()
    };
    site.js.update_stream(forgets).await.unwrap();
    eventually("/readyz tells that it would keep nothing", async || {
        let (code, text) = get(&address, "/readyz").await;
        code == 503
            && text.contains("interest retention")
            && text.contains("`nats stream edit TAKEN --retention=limits`")
    })
    .await;
    site.js.delete_stream("TAKEN").await.unwrap();
    // It is made now, for a workload may make what is missing.
    eventually("it is ready", async || get(&address, "/readyz").await.0 == 200).await;
    eventually("decisions are stored", async || !site.stored("TAKEN").await.is_empty()).await;
    // The same of a stream that is edited while lines go there.
    let mut made = site.js.get_stream("TAKEN").await.unwrap().cached_info().config.clone();
    made.retention = stream::RetentionPolicy::Interest;
    site.js.update_stream(made.clone()).await.unwrap();
    eventually("/readyz tells that it keeps nothing any more", async || {
        let (code, text) = get(&address, "/readyz").await;
        code == 503 && text.contains("lines of the journal are not stored") && text.contains("interest retention")
    })
    .await;
    made.retention = stream::RetentionPolicy::Limits;
    site.js.update_stream(made).await.unwrap();
    eventually("it is ready again", async || get(&address, "/readyz").await.0 == 200).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_can_go_to_a_stream() {
    let site = Site::new().await;
    let host =
        Host::run(site.clone(), Config { journal: decided(), workloads: vec![workload("work")], ..site.config() });
    host.ready(1).await;
    let stored = async || {
        let info = site.js.get_stream("DECIDED").await.ok()?.cached_info().clone();
        Some(info.state.messages)
    };
    eventually("decisions are stored", async || stored().await.is_some_and(|messages| messages >= 5)).await;
    host.stop().await;
    let info = site.js.get_stream("DECIDED").await.unwrap().cached_info().clone();
    assert_eq!(info.config.max_bytes, 1 << 20);
    let consumer = site.js.get_stream("DECIDED").await.unwrap();
    let pull = async_nats::jetstream::consumer::pull::Config::default();
    let consumer = consumer.create_consumer(pull).await.unwrap();
    let messages = consumer.fetch().max_messages(3).messages().await.unwrap();
    let messages: Vec<_> = messages.map_err(|error| error.to_string()).try_collect().await.unwrap();
    let events: Vec<String> = messages
        .iter()
        .map(|message| {
            assert_eq!(message.subject.as_str(), "tidegate.journal.work");
            let line: Value = serde_json::from_slice(&message.payload).unwrap();
            line["event"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(events, ["init", "decide", "decide"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_in_a_stream_is_printed_as_a_journal_that_replays() {
    let site = Site::new().await;
    let print = async |more: &[&str]| printed(&site, more).await;
    print(&[]).await.failed_with(1, &["stream DECIDED is not there", "journal.stream", "--stream"]);
    let stored = async || site.js.get_stream("DECIDED").await.map_or(0, |stream| stream.cached_info().state.messages);
    // A host that is started anew goes on where the one before ended.
    for _ in 0..2 {
        // Its state changes with each decision.
        let count = policy(workload("count"), "probe-policy", &[("mode", "third"), ("desired", "1")]);
        let workloads = vec![policy(workload("work"), "backlog", &[]), count];
        let host = Host::run(site.clone(), Config { journal: decided(), workloads, ..site.config() });
        host.ready(2).await;
        let before = stored().await;
        eventually("decisions are stored", async || stored().await >= before + 12).await;
        host.stop().await;
    }
    print(&["--host", "three"]).await.failed_with(1, &["stream DECIDED has no such decision of host three"]);
    print(&["--workload", "none"]).await.failed_with(1, &["stream DECIDED has no such decision"]);
    print(&["--since", "2099-01-01T00:00:00Z"]).await.failed_with(1, &["stream DECIDED has no such decision"]);

    // A stream forgets its oldest messages.
    site.js.get_stream("DECIDED").await.unwrap().purge().sequence(6).await.unwrap();
    let ended = print(&[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("the states that they rest on are not"), "{}", ended.stderr);
    let (dir, all) = (TempDir::new().unwrap(), stored().await);
    let file = dir.path().join("j");
    std::fs::write(&file, &ended.stdout).unwrap();
    let printed = lines(&file).len() as u64;
    assert!(printed > 12 && printed < all, "{printed} of {all}");
    let said = replay(&file, site.plugins.path(), &[]).await;
    assert_eq!(said.code, Some(0), "{}", said.said());
    let one = print(&["--workload", "work"]).await.stdout;
    assert!(!one.is_empty() && one.lines().all(|line| line.contains("\"workload\":\"work\"")), "{one}");

    let line = lines(&file).pop().unwrap();
    for host in ["m:1", "m:2", "m:1"] {
        site.publish(
            "tidegate.journal.work",
            json!({"host": host, "journal": 1, "event": "dropped", "time": line["time"], "lines": 1}).to_string()
                + "\n",
        )
        .await;
    }
    print(&[]).await.failed_with(1, &["hosts that ran at the same time: ", "m:1, m:2", "--host"]);
    print(&["--host", "m"]).await.failed_with(1, &["at the same time: m:1, m:2"]);
    assert_eq!(print(&["--host", "m:1"]).await.stdout.lines().count(), 2);

    site.publish("tidegate.journal.work", "{}").await;
    print(&["--host", "m:1"])
        .await
        .failed_with(1, &["of stream DECIDED: it is JSON, but has no \"journal\"", "--since"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_a_state_that_never_changes_can_be_read_from_any_point_on() {
    let site = Site::new().await;
    let print = async |more: &[&str]| printed(&site, more).await;
    let host =
        Host::run(site.clone(), Config { journal: decided(), workloads: vec![workload("work")], ..site.config() });
    host.ready(1).await;
    let stored = async || site.js.get_stream("DECIDED").await.map_or(0, |stream| stream.cached_info().state.messages);
    eventually("decisions are stored", async || stored().await >= 8).await;
    let (dir, all) = (TempDir::new().unwrap(), print(&[]).await);
    let file = dir.path().join("j");
    std::fs::write(&file, &all.stdout).unwrap();
    let last = lines(&file).pop().unwrap()["time"].as_str().unwrap().to_owned();
    let since = print(&["--since", &last]).await;
    assert_eq!(since.code, Some(0), "{}", since.said());
    assert!(!since.stderr.contains("left out"), "{}", since.stderr);
    assert!(since.stdout.contains(&last), "{}", since.stdout);

    // What the stream holds changes, and the state does not.
    let made = site.js.get_stream("DECIDED").await.unwrap();
    made.purge().sequence(made.cached_info().state.last_sequence + 1).await.unwrap();
    eventually("a line is stored", async || stored().await > 0).await;
    eventually("what came since can be read", async || print(&[]).await.code == Some(0)).await;
    let (site, _) = host.stop().await;
    let rest = print(&[]).await;
    for journal in [&since.stdout, &rest.stdout] {
        std::fs::write(&file, journal).unwrap();
        let said = replay(&file, site.plugins.path(), &[]).await;
        assert_eq!(said.code, Some(0), "{}", said.said());
    }

    // Of lines that rest on what is gone nothing can be printed.
    let mut line = lines(&file).into_iter().rfind(|line| line["event"] == "decide").unwrap();
    line["host"] = "m:1".into();
    for state in [&["state"][..], &["decision", "state"]] {
        let state = state.iter().fold(&mut line, |value, key| &mut value[*key]);
        state.as_object_mut().unwrap().remove("bytes");
    }
    site.publish("tidegate.journal.work", line.to_string()).await;
    print(&["--host", "m:1"]).await.failed_with(1, &["none of 1 such lines of stream DECIDED", "a minute"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_no_stream_takes_are_counted() {
    let site = Site::new().await;
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(
        site.clone(),
        Config { journal: decided(), http, workloads: vec![workload("work")], ..site.config() },
    );
    host.ready(1).await;
    let dropped = async || metric(&host, "tidegate_journal_dropped_total").await;
    assert_eq!(dropped().await, 0);
    site.js.delete_stream("DECIDED").await.unwrap();
    eventually("lines are lost", async || dropped().await >= 2).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_in_a_work_queue_bound_to_more_than_its_lines_is_stored_and_printed() {
    let site = Site::new().await;
    let queue = stream::Config {
        name: "DECIDED".to_owned(),
        subjects: vec!["tidegate.journal.>".to_owned()],
        retention: stream::RetentionPolicy::WorkQueue,
        ..stream::Config::default()
    };
    site.js.create_stream(queue).await.unwrap();
    let host =
        Host::run(site.clone(), Config { journal: decided(), workloads: vec![workload("work")], ..site.config() });
    host.ready(1).await;
    let stored = async || site.js.get_stream("DECIDED").await.map_or(0, |stream| stream.cached_info().state.messages);
    eventually("decisions are stored", async || stored().await >= 3).await;
    host.stop().await;
    let all = printed(&site, &[]).await;
    assert_eq!(all.code, Some(0), "{}", all.said());
    assert_eq!(all.stdout.lines().count() as u64, stored().await);
}
