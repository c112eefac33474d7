//! Keys: one that is stuck, and very many.

use std::collections::HashMap;

use anyhow::Result;
use async_nats::jetstream;

use crate::ledger::{Ledger, read};
use crate::patience::within;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, work};

pub(crate) const ROWS: &[Row] = &[row!(53, "a stuck key", stuck_key), row!(54, "a key flood", key_flood)];

/// Whether the outputs of each key are in the order of the stream.
async fn in_order(js: &jetstream::Context) -> Result<bool> {
    let (mut places, mut last, mut ordered) = (HashMap::new(), HashMap::new(), true);
    read(js, "work", "in.work", |message| {
        // The first line is `record out.work ID BYTES`.
        let text = std::str::from_utf8(&message.payload).unwrap_or_default();
        let id = text.lines().next().and_then(|line| line.split(' ').nth(2)).and_then(|id| id.parse::<u64>().ok());
        places.insert(id, places.len());
    })
    .await?;
    read(js, "OUT", "out.work", |message| {
        let text = std::str::from_utf8(&message.payload).unwrap_or_default();
        let id = text.split(' ').next().and_then(|id| id.parse::<u64>().ok());
        let (key, place) = (id.map(key_of), places.get(&id).copied());
        ordered &= last.insert(key, place).is_none_or(|before| before < place);
    })
    .await?;
    Ok(ordered)
}

/// The ids of a round of [`stuck_key`]: some of all keys, some of the key that is stuck, some of all keys.
const ROUND: u64 = 2 * SPREAD + FOLLOWERS;
const SPREAD: u64 = 20 * KEYS;
const FOLLOWERS: u64 = 2 * BUFFER;
const KEYS: u64 = 50;
const BUFFER: u64 = 200;
const STUCK: u64 = 7;

fn key_of(id: u64) -> u64 {
    let offset = id % ROUND;
    if (SPREAD..SPREAD + FOLLOWERS).contains(&offset) { STUCK } else { offset % KEYS }
}

/// The first message of a key fails and is to be tried again after ten minutes. Only what follows it in its key waits,
/// until the buffer is full; then the host names the key. It is killed, and with the next one the key goes on.
async fn stuck_key(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    ledger.keyed(key_of);
    let over = format!("order-key = 'header:Key'\norder-buffer = {BUFFER}\npolicy-settings.workers = '8'");
    let mut config = work("work", &over);
    config.insert("http".to_owned(), "127.0.0.1:0".into());
    for _ in 0..form.pick(1, 10) {
        let mut host = stage.host(&config).await?;
        let stuck = ledger.next() + STUCK;
        report.injected();
        let fails = |id: u64| if id == stuck { "before 2 retry 600000".to_owned() } else { String::new() };
        // It is stored before the others of its key.
        ledger.publish(STUCK + 1, fails).await?;
        ledger.publish(SPREAD - STUCK - 1, |_| String::new()).await?;
        // The other keys flow.
        stage.left("work", usize::try_from(SPREAD / KEYS)?, form.patience()).await?;
        ledger.publish(FOLLOWERS, |_| String::new()).await?;
        host.says(&[&format!("key `{STUCK}`"), "order-buffer is full"], form.patience()).await?;
        report.must(host.get("/readyz").await == Some(503), "/readyz says that nothing more is fetched");
        let unsettled = u64::try_from(stage.consumer("work").await?.num_ack_pending)?;
        // Beside the one that is stuck.
        report.must(unsettled <= BUFFER + 1, format!("{unsettled} unsettled, where {BUFFER} may wait"));
        host.kill().await?;
        ledger.publish(SPREAD, |_| String::new()).await?;
        let mut host = stage.host(&config).await?;
        report.recovered(stage.settled("work", form.patience()).await?);
        report.must(host.is_running(), "the host lives");
        host.stop().await?;
    }
    let audit = ledger.audit().await?;
    report.must(audit.dead == 0, format!("no dead letter: {:?}", audit.causes));
    report.must(audit.duplicates() == 0, format!("{} were handled again", audit.duplicates()));
    report.must(in_order(&stage.js).await?, "each key is in the order of the stream");
    report.count(&audit);
    Ok(report)
}

/// Each message has a key of its own, ten million of them in the long form. What is remembered of a key goes with it.
async fn key_flood(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open_without_raw(&stage, "work").await?;
    ledger.keyed(|id| id);
    let mut config = work("work", "order-key = 'header:Key'\npolicy-settings.workers = '4'");
    config.insert("http".to_owned(), "127.0.0.1:0".into());
    let host = stage.host(&config).await?;
    ledger.publish(2_000, |_| String::new()).await?;
    stage.settled("work", form.patience()).await?;
    let before = host.resident();
    for _ in 0..form.pick(2, 500) {
        report.injected();
        ledger.publish(form.pick(4_000, 20_000), |_| String::new()).await?;
        stage.settled("work", form.patience()).await?;
    }
    let keys = |text: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix("tidegate_order_keys{workload=\"work\"} "));
        value.and_then(|value| value.parse::<f64>().ok())
    };
    let forgotten = async || host.read("/metrics").await.and_then(|text| keys(&text)) == Some(0.0);
    within(form.patience(), "no key is remembered", forgotten).await?;
    let grown = host.resident().saturating_sub(before) >> 20;
    report.must(grown < 64, format!("memory grew by {grown} MiB"));
    report.must(host.is_running(), "the host lives");
    let audit = ledger.audit().await?;
    report.must(audit.dead == 0, format!("no dead letter: {:?}", audit.causes));
    report.count(&audit);
    report.note(format!("{} keys, memory grew by {grown} MiB", ledger.next()));
    Ok(report)
}
