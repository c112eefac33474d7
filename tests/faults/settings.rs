//! Consumers and streams with odd settings, edited while they are worked on, and forgotten by their server.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt;
use serde_json::{Value, json};
use toml::Table;

use crate::hosts::Host;
use crate::ledger::Ledger;
use crate::patience::within;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, with, work};

pub(crate) const ROWS: &[Row] = &[
    row!(40, "odd consumer", odd),
    row!(41, "consumer or stream edited in use", edited),
    row!(45, "the server forgets", forgets),
];

const MS: u64 = 1_000_000;
/// How long a host may take to say so: its interval is 200 ms.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// Asks JetStream's API; `Err` with its words if it refuses.
async fn api(stage: &Stage, subject: &str, body: &Value) -> Result<Result<Value, String>> {
    let answer = stage.client.request(format!("$JS.API.{subject}"), body.to_string().into()).await?;
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    Ok(match answer.pointer("/error/description") {
        Some(words) => Err(words.as_str().unwrap_or_default().to_owned()),
        None => Ok(answer),
    })
}

/// A table with more laid over it.
fn over(mut table: Value, more: &Value) -> Value {
    if let (Some(table), Some(more)) = (table.as_object_mut(), more.as_object()) {
        table.extend(more.clone());
    }
    table
}

/// Each setting of consumers and streams at its smallest, its largest and its oddest: of the consumer, and of the
/// stream.
fn odd_settings() -> Vec<(Value, Value)> {
    let consumer = |settings| (settings, json!({}));
    let stream = |settings| (json!({}), settings);
    vec![
        consumer(json!({ "max_batch": 1 })),
        consumer(json!({ "max_batch": i64::MAX })),
        consumer(json!({ "max_bytes": 1 })),
        consumer(json!({ "max_bytes": 1000 })),
        consumer(json!({ "max_bytes": i64::MAX })),
        consumer(json!({ "max_expires": MS })),
        consumer(json!({ "max_expires": 100 * MS })),
        consumer(json!({ "max_expires": i64::MAX })),
        consumer(json!({ "max_waiting": 1 })),
        consumer(
            json!({ "max_waiting": 1, "max_batch": 1, "max_bytes": 1, "max_expires": 100 * MS, "max_ack_pending": 1 }),
        ),
        consumer(json!({ "max_ack_pending": 1 })),
        consumer(json!({ "max_ack_pending": -1 })),
        consumer(json!({ "ack_wait": 1 })),
        consumer(json!({ "ack_wait": 100 * MS })),
        consumer(json!({ "ack_wait": i64::MAX })),
        consumer(json!({ "max_deliver": 1 })),
        consumer(json!({ "max_deliver": 1_000_000 })),
        consumer(json!({ "backoff": [1, 2] })),
        consumer(json!({ "backoff": [2000 * MS, 3000 * MS] })),
        consumer(json!({ "ack_policy": "none" })),
        consumer(json!({ "ack_policy": "all" })),
        consumer(json!({ "headers_only": true })),
        consumer(json!({ "replay_policy": "original" })),
        consumer(json!({ "deliver_policy": "new" })),
        consumer(json!({ "deliver_policy": "last" })),
        consumer(json!({ "deliver_policy": "last_per_subject", "filter_subject": ">" })),
        consumer(json!({ "deliver_policy": "by_start_sequence", "opt_start_seq": 1 })),
        consumer(json!({ "deliver_policy": "by_start_time", "opt_start_time": "2000-01-01T00:00:00Z" })),
        consumer(json!({ "sample_freq": "100%" })),
        consumer(json!({ "inactive_threshold": 1 })),
        consumer(json!({ "inactive_threshold": 3_600_000 * MS })),
        consumer(json!({ "mem_storage": true })),
        consumer(json!({ "num_replicas": 1 })),
        consumer(json!({ "metadata": { "any": "thing" }, "description": "odd" })),
        consumer(json!({ "pause_until": "2100-01-01T00:00:00Z" })),
        consumer(json!({ "priority_groups": ["jobs"], "priority_policy": "overflow" })),
        consumer(
            json!({ "priority_groups": ["jobs"], "priority_policy": "pinned_client", "priority_timeout": 1000 * MS }),
        ),
        consumer(json!({ "priority_groups": ["jobs"], "priority_policy": "prioritized" })),
        stream(json!({ "retention": "interest" })),
        stream(json!({ "retention": "workqueue" })),
        stream(json!({ "storage": "memory" })),
        stream(json!({ "max_msgs_per_subject": 1 })),
        stream(json!({ "max_msgs": 1 })),
        stream(json!({ "max_age": 100 * MS })),
        stream(json!({ "max_msgs": 1, "discard": "new" })),
        stream(json!({ "no_ack": true })),
        stream(json!({ "deny_delete": true, "deny_purge": true })),
        stream(json!({ "allow_rollup_hdrs": true, "allow_direct": true, "compression": "s2" })),
        stream(json!({ "allow_msg_ttl": true, "subject_delete_marker_ttl": 1_000 * MS })),
        stream(json!({ "allow_atomic": true, "allow_msg_schedules": true })),
        stream(json!({ "first_seq": 1_000_000_000 })),
        stream(json!({ "consumer_limits": { "inactive_threshold": 60_000 * MS, "max_ack_pending": 1 } })),
    ]
}

/// Makes a stream and a consumer with these settings, unless this server has no such settings.
async fn make(stage: &Stage, name: &str, consumer: &Value, stream: &Value) -> Result<bool> {
    let subject = format!("in.{name}");
    let wanted = over(json!({ "name": name, "subjects": [subject], "num_replicas": 1 }), stream);
    if api(stage, &format!("STREAM.CREATE.{name}"), &wanted).await?.is_err() {
        return Ok(false);
    }
    let durable = format!("{name}-workers");
    let usual = json!({ "durable_name": durable, "ack_policy": "explicit", "ack_wait": 2000 * MS, "max_deliver": -1 });
    let mut wanted = over(usual, consumer);
    if stream.get("consumer_limits").is_some() {
        wanted = over(wanted, &json!({ "max_ack_pending": 1 }));
    }
    let body = json!({ "stream_name": name, "config": wanted });
    Ok(api(stage, &format!("CONSUMER.CREATE.{name}.{durable}"), &body).await?.is_ok())
}

/// What keeps each workload from flowing, as `/status` has it.
async fn problems(host: &Host, name: &str) -> Option<String> {
    let status: Value = serde_json::from_str(&host.read("/status").await?).ok()?;
    let workload = status["workloads"].as_array()?.iter().find(|workload| workload["name"] == name)?.clone();
    let problems: Vec<_> = workload["problems"].as_object()?.values().filter_map(Value::as_str).collect();
    (!problems.is_empty()).then(|| problems.join("; "))
}

/// One host on all of them at once: each flows, or is named.
async fn odd(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let (mut names, mut config) = (Vec::new(), toml::from_str::<Table>("http = '127.0.0.1:0'")?);
    let mut unknown = 0;
    for (number, (consumer, stream)) in odd_settings().into_iter().enumerate() {
        let name = format!("odd{number}");
        if make(&stage, &name, &consumer, &stream).await? {
            config = with(config, work(&name, "manage = 'bind'\npolicy-settings.workers = '1'"));
            names.push((name, format!("{consumer} {stream}")));
        } else {
            unknown += 1;
        }
    }
    let host = stage.launch(&stage.config(&config), &[])?;
    host.says(&["a page over HTTP"], NOTICED_WITHIN).await?;
    let (mut flowed, mut named) = (0, 0);
    for (name, _) in &names {
        report.injected();
        for number in 0..form.pick(3, 100) {
            // Not all of these streams acknowledge.
            stage.client.publish(format!("in.{name}"), format!("# {number}").into()).await?;
        }
    }
    stage.client.flush().await?;
    for (name, settings) in &names {
        let told = async || problems(&host, name).await.is_some();
        let settled = async || {
            let info = stage.consumer(name).await;
            info.is_ok_and(|info| {
                info.num_pending == 0 && info.num_ack_pending == 0 && info.delivered.consumer_sequence > 0
            })
        };
        let end = within(form.patience(), name, async || {
            // What is so short-lived may be gone before the workload was set up.
            if settings.contains("max_age") && stage.client.publish(format!("in.{name}"), "#".into()).await.is_err() {
                return false;
            }
            settled().await || told().await
        });
        let end = end.await;
        report.must(end.is_ok(), format!("neither flows nor is named: {settings}"));
        match problems(&host, name).await {
            Some(_) => named += 1,
            None => flowed += 1,
        }
    }
    report.must(host.is_running(), "the host lives");
    report.must(host.get("/readyz").await == Some(503), "with consumers that give nothing it is not ready");
    report.note(format!("{flowed} flowed, {named} were named, {unknown} are not known to this server"));
    Ok(report)
}

/// Changes settings of the consumer; `false` if this server has no such.
async fn edit(stage: &Stage, name: &str, settings: &Value) -> Result<bool> {
    let durable = format!("{name}-workers");
    // An update leaves this one as it is.
    if settings.get("pause_until").is_some() {
        if !stage.client.is_server_compatible(2, 11, 0) {
            return Ok(false);
        }
        return Ok(api(stage, &format!("CONSUMER.PAUSE.{name}.{durable}"), settings).await?.is_ok());
    }
    let info = api(stage, &format!("CONSUMER.INFO.{name}.{durable}"), &json!({})).await?;
    let Ok(info) = info else { bail!("no consumer {durable}") };
    let body = json!({ "stream_name": name, "config": over(info["config"].clone(), settings), "action": "update" });
    Ok(api(stage, &format!("CONSUMER.CREATE.{name}.{durable}"), &body).await?.is_ok())
}

async fn edit_stream(stage: &Stage, name: &str, settings: &Value) -> Result<bool> {
    let info = api(stage, &format!("STREAM.INFO.{name}"), &json!({})).await?;
    let Ok(info) = info else { bail!("no stream {name}") };
    Ok(api(stage, &format!("STREAM.UPDATE.{name}"), &over(info["config"].clone(), settings)).await?.is_ok())
}

async fn edited(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let config =
        with(toml::from_str("http = '127.0.0.1:0'")?, work("work", "ack-wait = '30s'\nretry.max-attempts = 50"));
    let host = stage.host(&config).await?;
    let count = form.pick(20, 200);
    let mut noticed = Duration::ZERO;
    // Each message fails twice, so that some wait for another try at each edit.
    let fails = |_| "before 3 retry 300\nsleep 5".to_owned();
    for (consumer, settings) in [
        (true, json!({ "ack_wait": 1000 * MS })),
        (true, json!({ "max_ack_pending": 10 })),
        (true, json!({ "max_ack_pending": 5_000 })),
        (true, json!({ "filter_subject": "in.work" })),
        (true, json!({ "max_batch": 1, "max_expires": 200 * MS, "max_bytes": 1000 })),
        (true, json!({ "max_batch": 0, "max_expires": 0, "max_bytes": 0 })),
        (true, json!({ "pause_until": "2100-01-01T00:00:00Z" })),
        (true, json!({ "pause_until": null })),
        (true, json!({ "max_deliver": 2 })),
        (true, json!({ "max_deliver": -1 })),
        (false, json!({ "subjects": ["in.work", "in.more"] })),
        (false, json!({ "retention": "interest" })),
        (false, json!({ "max_age": 3_600_000 * MS })),
    ] {
        ledger.publish(count, fails).await?;
        let said = || host.logged(&["has other settings now"]);
        let before = said();
        // An edit that changes nothing for the host is none.
        let done = if consumer {
            edit(&stage, "work", &settings).await?
        } else {
            edit_stream(&stage, "work", &settings).await?
        };
        if !done || settings == json!({ "max_age": 3_600_000 * MS }) {
            continue;
        }
        report.injected();
        noticed =
            noticed.max(within(NOTICED_WITHIN, &format!("{settings} is noticed"), async || said() > before).await?);
        ledger.publish(count, fails).await?;
        let held = settings["pause_until"].is_string() || settings["max_deliver"] == 2;
        if held {
            let told = async || problems(&host, "work").await.is_some() && host.get("/readyz").await == Some(503);
            within(NOTICED_WITHIN, &format!("{settings} makes the host not ready"), told).await?;
        } else {
            report.recovered(stage.settled("work", form.patience()).await?);
            let ready = async || host.get("/readyz").await == Some(200);
            within(NOTICED_WITHIN, &format!("the host is ready again after {settings}"), ready).await?;
        }
    }
    stage.settled("work", form.patience()).await?;
    report.must(host.is_running(), "the host lives");
    report.count(&ledger.audit().await?);
    report.note(format!("noticed after {:.1} s at most", noticed.as_secs_f64()));
    Ok(report)
}

/// Consumers that are gone, streams that are made anew, and one that has lost its newest messages.
async fn forgets(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let config = with(toml::from_str("http = '127.0.0.1:0'")?, work("work", ""));
    let mut host = stage.host(&config).await?;
    let count = form.pick(200, 5_000);
    let settled = |info: async_nats::jetstream::consumer::Info| info.delivered.consumer_sequence;

    // In use: it goes on where it was.
    ledger.publish(count, |_| String::new()).await?;
    stage.settled("work", form.patience()).await?;
    // How far it is settled is what the host has read, once an interval.
    let mut looks = stage.client.subscribe("$JS.API.CONSUMER.INFO.work.work-workers").await?;
    stage.client.flush().await?;
    for _ in 0..3 {
        tokio::time::timeout(NOTICED_WITHIN, looks.next()).await?;
    }
    looks.unsubscribe().await?;
    let _ = stage.js.delete_consumer_from_stream("work-workers", "work").await;
    report.injected();
    host.says(&["WARN", "the consumer was gone and is made anew"], NOTICED_WITHIN).await?;
    ledger.publish(count, |_| String::new()).await?;
    stage.settled("work", form.patience()).await?;
    let repeated = settled(stage.consumer("work").await?).saturating_sub(count);
    report.must(
        repeated == 0,
        format!("deleted in use: {repeated} of {count} handled again, though all were known to be settled"),
    );

    // While hosts are away: it says how many.
    host.stop().await?;
    let _ = stage.js.delete_consumer_from_stream("work-workers", "work").await;
    report.injected();
    let mut host = stage.host(&config).await?;
    host.says(&["WARN", "at the beginning of its stream"], NOTICED_WITHIN).await?;
    stage.settled("work", form.patience()).await?;

    // The server comes back with a stream as it was before.
    host.stop().await?;
    let name = "lost";
    stage.stream(stage.kept(name, "in.lost")).await?;
    let lost = with(toml::from_str("http = '127.0.0.1:0'")?, work(name, ""));
    for number in 0..50 {
        stage.js.publish("in.lost", format!("# {number}").into()).await?.await?;
    }
    let copy = tempfile::TempDir::new()?;
    let messages = {
        let server = stage.servers.member(0);
        server.kill();
        let kept = server.store_dir().join("jetstream/$G/streams/lost/msgs");
        copy_all(&kept, copy.path())?;
        server.restart().await?;
        kept
    };
    stage.state(name).await?;
    let mut host = stage.host(&lost).await?;
    for number in 50..100 {
        stage.js.publish("in.lost", format!("# {number}").into()).await?.await?;
    }
    stage.settled(name, form.patience()).await?;
    let server = stage.servers.member(0);
    server.kill();
    std::fs::remove_dir_all(&messages)?;
    copy_all(copy.path(), &messages)?;
    server.restart().await?;
    report.injected();
    let last = stage.state(name).await?.last_sequence;
    report.must(last < 100, format!("the stream ends at {last} though it lost half of its messages"));
    let info = stage.consumer(name).await?;
    if info.delivered.stream_sequence > last {
        host.says(&["is ahead of its stream", "nats consumer rm lost lost-workers"], NOTICED_WITHIN).await?;
        report.must(host.get("/readyz").await == Some(503), "with a consumer ahead of its stream it is not ready");
        let _ = stage.js.delete_consumer_from_stream("lost-workers", name).await;
        report.note("a consumer ahead of its stream is named");
    } else {
        report.note("this server sets a consumer back that is ahead of its stream");
    }
    for number in 100..120 {
        stage.js.publish("in.lost", format!("# {number}").into()).await?.await?;
    }
    report.recovered(stage.settled(name, form.patience()).await?);
    let ready = async || host.get("/readyz").await == Some(200);
    within(NOTICED_WITHIN, "the host is ready again", ready).await?;
    host.stop().await?;
    report.count(&ledger.audit().await?);
    Ok(report)
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
