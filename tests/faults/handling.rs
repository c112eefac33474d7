//! Handlers that are slow, that trap, that fail in every way.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Result;

use crate::ledger::Ledger;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, work};

pub(crate) const ROWS: &[Row] = &[
    row!(10, "handler slower than ack wait", slow),
    row!(11, "poison message", poison),
    row!(36, "5 % traps, 5 % time-outs, 5 % retries, 1 % rejects", failures),
    row!(37, "redelivered after its publications were stored", stored_before),
    row!(58, "poison in batches", poison_in_batches),
];

/// One worker sleeps for three times the ack wait, and messages that it holds wait behind.
async fn slow(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let host = stage.host(&work("work", "ack-wait = '1s'\npolicy-settings.workers = '1'")).await?;
    for _ in 0..form.pick(2, 15) {
        // Quick ones, so that the host fetches many ahead.
        ledger.publish(300, |_| String::new()).await?;
        stage.settled("work", form.patience()).await?;
        let first = ledger.next();
        report.injected();
        ledger.publish(80, |id| if id == first { "sleep 3000".to_owned() } else { String::new() }).await?;
        stage.settled("work", form.patience()).await?;
    }
    report.must(host.is_running(), "the host lives");
    let audit = ledger.audit().await?;
    let again = stage.consumer("work").await?.delivered.consumer_sequence - ledger.next();
    report.must(again == 0, format!("{again} were delivered again"));
    report.must(audit.duplicates() == 0, format!("{} were handled again", audit.duplicates()));
    report.count(&audit);
    Ok(report)
}

/// One in a thousand always traps. It becomes a dead letter, and the others do not wait for it.
async fn poison(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let host = stage.host(&work("work", "retry.max-attempts = 3")).await?;
    let count = form.pick(1000, 20_000);
    let mut rates = Vec::new();
    for poisoned in [false, true] {
        let first = ledger.next();
        let start = Instant::now();
        let trap = |id: u64| poisoned && (id - first) % 1000 == 10;
        ledger.publish(count, |id| if trap(id) { "trap".to_owned() } else { "sleep 1".to_owned() }).await?;
        stage.settled("work", form.patience()).await?;
        rates.push(count as f64 / start.elapsed().as_secs_f64());
    }
    (0..count / 1000).for_each(|_| report.injected());
    report.must(host.is_running(), "the host lives");
    let audit = ledger.audit().await?;
    let wanted = HashMap::from([("trapped".to_owned(), count / 1000)]);
    report.must(audit.causes == wanted, format!("dead letters {:?}, wanted {wanted:?}", audit.causes));
    report.must(audit.duplicates() == 0, format!("{} were handled again", audit.duplicates()));
    report.count(&audit);
    report.note(format!("the rest: {:.0} messages/s, without poison {:.0}", rates[1], rates[0]));
    Ok(report)
}

/// Batches of 20 while more is published; one message in a hundred always traps. It becomes a dead letter, and costs
/// its neighbours no more than one delivery each.
async fn poison_in_batches(form: Form) -> Result<Report> {
    const SIZE: u64 = 20;
    const ATTEMPTS: u64 = 3;
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let batches = format!(
        "handler = 'probe-batch'\nretry.max-attempts = {ATTEMPTS}\nbatching = {{ size = {SIZE}, wait = '100ms' }}"
    );
    let host = stage.host(&work("work", &batches)).await?;
    let count = form.pick(1000, 20_000);
    ledger.publish(count, |id| if id % 100 == 10 { "trap".to_owned() } else { String::new() }).await?;
    let poison = count / 100;
    (0..poison).for_each(|_| report.injected());
    stage.settled("work", form.patience()).await?;
    report.must(host.is_running(), "the host lives");
    report.must(host.logged(&["a batch failed"]) > 0, "messages came in batches");
    let audit = ledger.audit().await?;
    let wanted = HashMap::from([("trapped".to_owned(), poison)]);
    report.must(audit.causes == wanted, format!("dead letters {:?}, wanted {wanted:?}", audit.causes));
    report.must(audit.duplicates() == 0, format!("{} were handled again", audit.duplicates()));
    let delivered = stage.consumer("work").await?.delivered.consumer_sequence;
    let neighbours = delivered.saturating_sub(count + poison * (ATTEMPTS - 1));
    report
        .must(neighbours <= poison * (SIZE - 1), format!("{neighbours} deliveries more, of {poison} poison messages"));
    report.count(&audit);
    report.note(format!("{neighbours} deliveries more than the messages and the attempts of the poison"));
    Ok(report)
}

/// What the handler does with a message, by its id. Half of what fails does so for two attempts, the rest always.
fn failure(id: u64) -> Option<(&'static str, &'static str, bool)> {
    let always = (id / 100) % 2 == 1;
    match id % 100 {
        0..5 => Some(("trap", "trapped", always)),
        5..10 => Some(("sleep 60000", "time", always)),
        10..15 => Some(("retry", "retries", always)),
        15 => Some(("reject no", "rejected", true)),
        _ => None,
    }
}

/// Every kind of failure at once, with an exact account of acks, retries and dead letters.
async fn failures(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let over = "retry.max-attempts = 3\nlimits.time = '700ms'\npolicy-settings.workers = '8'\nack-wait = '30s'";
    let host = stage.host(&work("work", over)).await?;
    let count = form.pick(400, 10_000);
    let script = |id: u64| match failure(id) {
        Some((line, _, true)) => line.to_owned(),
        Some((line, _, false)) => format!("before 3 {line}"),
        None => String::new(),
    };
    ledger.publish(count, script).await?;
    stage.settled("work", form.patience()).await?;
    report.must(host.is_running(), "the host lives");
    let (mut dead, mut retries) = (HashMap::<String, u64>::new(), 0);
    for (_, cause, always) in (0..count).filter_map(failure) {
        report.injected();
        if always {
            *dead.entry(cause.to_owned()).or_default() += 1;
        }
        if cause != "rejected" {
            retries += 2;
        }
    }
    let audit = ledger.audit().await?;
    let again = stage.consumer("work").await?.delivered.consumer_sequence - count;
    report.must(audit.causes == dead, format!("dead letters {:?}, wanted {dead:?}", audit.causes));
    report.must(again == retries, format!("{again} redeliveries, wanted {retries}"));
    report.must(audit.duplicates() == 0, format!("{} were handled again", audit.duplicates()));
    report.count(&audit);
    report.note(format!("acks {}, retries {again}, exactly as wanted", count - audit.dead));
    Ok(report)
}

/// The second publication fails twice after the first was stored, so the message is handled three times.
async fn stored_before(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let host = stage.host(&work("work", "retry.backoff = ['300ms']\npolicy-settings.workers = '4'")).await?;
    let count = form.pick(300, 5000);
    // No stream is bound to it.
    ledger.publish(count, |_| "before 3 publish nowhere x".to_owned()).await?;
    stage.settled("work", form.patience()).await?;
    (0..count * 2).for_each(|_| report.injected());
    report.must(host.is_running(), "the host lives");
    let audit = ledger.audit().await?;
    report.must(audit.dead == 0, format!("{} dead letters", audit.dead));
    report.must(audit.stored_again == 0, format!("{} were stored again", audit.stored_again));
    report
        .must(audit.duplicates() == count * 2, format!("published again {}, wanted {}", audit.duplicates(), count * 2));
    report.count(&audit);
    report.note("duplicates: published again; the stream with a duplicate window stored none of them");
    Ok(report)
}
