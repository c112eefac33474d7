//! Consumers and streams that somebody deletes, or made too small.

use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream::consumer::{AckPolicy, pull};

use crate::ledger::Ledger;
use crate::patience::within;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, with, work};

pub(crate) const ROWS: &[Row] = &[
    row!(8, "consumer or stream deleted under it", deleted),
    row!(9, "max_waiting or max_ack_pending too small", too_small),
];

/// How long a host may take to say so.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

fn consumer(name: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(format!("{name}-workers")),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(2),
        ..pull::Config::default()
    }
}

/// One workload may make its consumer again, the other may not.
async fn deleted(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut made = Ledger::open(&stage, "made").await?;
    let mut bound = Ledger::open(&stage, "bound").await?;
    stage.js.create_consumer_on_stream(consumer("bound"), "bound").await?;
    let host = stage.host(&with(work("made", ""), work("bound", "manage = 'bind'"))).await?;
    let mut noticed = Duration::ZERO;
    // What is told once is not told again before it has ended.
    let flows_again = async |times: usize| {
        for name in ["made", "bound"] {
            let said = async || host.logged(&["works again", &format!("workload={name} "), "part=pull"]) >= times;
            within(form.patience(), "the pulls work again", said).await?;
        }
        anyhow::Ok(())
    };
    // A consumer that is gone again and again is made ever later, and the duplicate window has an end.
    let rounds = form.pick(1, 3);
    for number in 1..=rounds {
        flows_again(number - 1).await?;
        made.publish(200, |_| String::new()).await?;
        bound.publish(200, |_| String::new()).await?;
        stage.settled("made", form.patience()).await?;
        stage.settled("bound", form.patience()).await?;
        for name in ["made", "bound"] {
            // A server may say that the directory is not empty yet; the consumer is gone all the same.
            let _ = stage.js.delete_consumer_from_stream(format!("{name}-workers"), name).await;
            report.injected();
            let said = async || host.logged(&["ERROR", &format!("consumer {name}-workers"), "deleted"]) >= number;
            noticed = noticed.max(within(NOTICED_WITHIN, "the host says what is gone", said).await?);
        }
        // The one is there again by itself, the other is not before a person has made it.
        report.recovered(stage.settled("made", form.patience()).await?);
        report.must(stage.consumer("bound").await.is_err(), "a consumer that is only bound is not made again");
        stage.js.create_consumer_on_stream(consumer("bound"), "bound").await?;
        bound.publish(200, |_| String::new()).await?;
        stage.settled("bound", form.patience()).await?;
    }
    flows_again(rounds).await?;
    let (first, second) = (made.audit().await?, bound.audit().await?);
    report.count(&first);
    report.count(&second);
    report.must(first.stored_again + second.stored_again == 0, "within the duplicate window nothing is stored twice");
    for name in ["made", "bound"] {
        let said = || host.logged(&["ERROR", "cannot fetch", &format!("consumer {name}-workers")]);
        let before = said();
        stage.js.delete_stream(name).await?;
        report.injected();
        let again = within(NOTICED_WITHIN, "the host says what is gone", async || said() > before).await;
        noticed = noticed.max(again?);
    }
    let mut made = Ledger::open(&stage, "made").await?;
    made.start_at(10_000);
    made.publish(200, |_| String::new()).await?;
    // What was just stored may not be pending yet, so the consumer has to have come to its end.
    report.recovered(stage.floor("made", 200, form.patience()).await?);
    stage.settled("made", form.patience()).await?;
    report.must(host.is_running(), "the host lives");
    report.must(stage.js.get_stream("bound").await.is_err(), "a stream that is only bound is not made again");
    let again = made.audit().await?;
    report.count(&again);
    report.note(format!(
        "noticed after {:.1} s at most; a consumer made anew by a host goes on where the host last saw it settled",
        noticed.as_secs_f64()
    ));
    Ok(report)
}

/// A consumer of somebody else's making, which lets three deliveries be unsettled and one pull wait.
async fn too_small(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let config = pull::Config { max_ack_pending: 3, max_waiting: 1, ..consumer("work") };
    stage.js.create_consumer_on_stream(config, "work").await?;
    let config = work("work", "policy = 'backlog'\npolicy-settings = { pending-per-worker = '10' }");
    let (one, two) = (stage.host(&config).await?, stage.host(&config).await?);
    report.injected();
    ledger.publish(form.pick(400, 5_000), |_| "sleep 3".to_owned()).await?;
    stage.settled("work", form.patience()).await?;
    for host in [&one, &two] {
        report.must(host.is_running(), "the hosts live");
        for setting in ["max_ack_pending", "max_waiting"] {
            report.must(host.logged(&["WARN", setting]) > 0, format!("a warning names {setting}"));
        }
        for more in 4..=8 {
            report.must(
                host.logged(&[&format!("-> {more}")]) == 0,
                format!("no scale-up to {more}, which 3 unsettled deliveries cannot employ"),
            );
        }
    }
    report.count(&ledger.audit().await?);
    let pulls = one.logged(&["max_waiting is too small"]) + two.logged(&["max_waiting is too small"]);
    report.note(format!("refused pulls were named {pulls} times"));
    Ok(report)
}
