//! What a neighbour keeps while guests do their worst: its throughput, and the time in which it answers.

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::Result;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::pull;
use toml::Table;

use super::cases::{Case, GOOD, HostileBench, ask, decided, healthy, tail};
use super::text;
use crate::patience::{percentile, within};
use crate::row::{Form, Report, Row, row};
use crate::stage::{with, work};

pub(crate) const ROWS: &[Row] =
    &[row!(22, "loops on all workers", loops), row!(38, "every hostile guest at once", everything)];

/// What a neighbour keeps at least of its throughput.
const KEEPS: f64 = 0.8;
/// In what time health answers, at p99.
const HEALTH_WITHIN: Duration = Duration::from_millis(100);
/// What is asked between two answers, while throughput is measured.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// The workload that is asked.
const ASKED: &str = "asked";

/// How one round went.
struct Round {
    per_second: f64,
    /// How long replies of another workload took.
    answers: Vec<Duration>,
    /// How long `/healthz` took.
    health: Vec<Duration>,
    unhealthy: u64,
}

/// How fast the good workload is with so many messages, and how long answers take meanwhile.
async fn round(bench: &mut HostileBench, messages: u64) -> Result<Round> {
    let HostileBench { stage, good, health: address, .. } = bench;
    let start = Instant::now();
    let (mut answers, mut health, mut unhealthy) = (Vec::new(), Vec::new(), 0);
    let work = async {
        good.publish(messages, |_| String::new()).await?;
        stage.settled(GOOD, Duration::from_secs(120)).await?;
        anyhow::Ok(start.elapsed())
    };
    let ask_again = async {
        loop {
            let began = Instant::now();
            if ask(stage, ASKED, "reply here").await.is_ok() {
                answers.push(began.elapsed());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    let look_again = async {
        loop {
            match healthy(*address).await {
                Ok(after) => health.push(after),
                Err(_) => unhealthy += 1,
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    let took = tokio::select! {
        took = work => took?,
        () = ask_again => unreachable!("it asks for ever"),
        () = look_again => unreachable!("it looks for ever"),
    };
    Ok(Round { per_second: messages as f64 / took.as_secs_f64(), answers, health, unhealthy })
}

/// The workload that is asked: one worker that waits.
fn asked() -> Table {
    work(ASKED, "policy-settings.workers = '1'\nscale.min = 1")
}

/// Keeps so many messages in a case's stream, so that none of its workers has a rest, until this is dropped.
async fn torment(js: &Context, cases: &[Case], depth: u64) -> Result<()> {
    loop {
        for case in cases {
            let waiting = waiting(js, case.name).await.unwrap_or(0);
            for _ in waiting..depth {
                js.publish(format!("in.{}", case.name), case.payload.clone().into()).await?.await?;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How many messages no worker has taken.
async fn waiting(js: &Context, name: &str) -> Result<u64> {
    let stream = js.get_stream_no_info(name).await?;
    let consumer =
        stream.get_consumer::<pull::Config>(&format!("{name}-workers")).await.map_err(anyhow::Error::from_boxed)?;
    Ok(consumer.cached_info().num_pending)
}

/// Compares the neighbour alone and beside the cases, by turns.
async fn compare(form: Form, report: &mut Report, cases: &[Case], bench: &mut HostileBench) -> Result<()> {
    let (messages, rounds) = form.pick((10_000, 3), (30_000, 9));
    // What is slow once, as the first instance, is nobody's fault.
    round(bench, messages / 4).await?;
    let (mut alone, mut beside, mut answers, mut health) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut unhealthy = 0;
    let js = bench.stage.js.clone();
    for _ in 0..rounds {
        alone.push(round(bench, messages).await?.per_second);
        let round = {
            let torment = torment(&js, cases, 6);
            let measured = async {
                // All workers have something to do.
                for case in cases {
                    let busy =
                        async || bench.stage.consumer(case.name).await.is_ok_and(|info| info.num_ack_pending > 0);
                    within(Duration::from_secs(20), &format!("{} is at work", case.name), busy).await?;
                }
                round(bench, messages).await
            };
            tokio::select! {
                round = measured => round?,
                ended = torment => return ended,
            }
        };
        report.injected();
        beside.push(round.per_second);
        answers.extend(round.answers);
        health.extend(round.health);
        unhealthy += round.unhealthy;
        for case in cases {
            bench.stage.js.get_stream(case.name).await?.purge().await?;
        }
        for case in cases {
            bench.stage.settled(case.name, form.patience()).await?;
        }
    }
    let (alone, beside) = (median(&mut alone), median(&mut beside));
    let (p99, health_p99) = (percentile(&mut answers, 0.99), percentile(&mut health, 0.99));
    report.note(format!("neighbour {beside:.0}/s beside, {alone:.0}/s alone: {:.2}", beside / alone));
    report.note(format!(
        "answers of a neighbour: p50 {:.1} ms, p99 {:.1} ms",
        ms(percentile(&mut answers, 0.5)),
        ms(p99)
    ));
    report.note(format!("health: p99 {:.1} ms of {} looks", ms(health_p99), health.len()));
    report.must(unhealthy == 0, format!("{unhealthy} times not healthy"));
    // Time is judged where nothing else runs; the short form is one of many tests.
    if form.long {
        report.must(health_p99 <= HEALTH_WITHIN, format!("health answers within {:.0} ms at p99", ms(health_p99)));
        report.must(beside >= KEEPS * alone, format!("the neighbour keeps {:.2} of its throughput", beside / alone));
    }
    report.must(bench.host.is_running(), format!("the host lives; it said\n{}", tail(&bench.host.log())));
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Twice as many workers as processors, and all of them spin.
async fn loops(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let workers = 2 * available_parallelism()?.get();
    let spin = Case::probe("spin", "spin", "time", "")
        .over(&format!("limits.time = '2s'\npolicy-settings.workers = '{workers}'\nscale.max = {workers}"));
    let cases = [spin];
    let mut bench = HostileBench::start_with(&cases, asked()).await?;
    compare(form, &mut report, &cases, &mut bench).await?;
    bench.finish(form, &mut report).await?;
    Ok(report)
}

/// All that the other rows have, each as a workload of two workers.
async fn everything(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let short = "limits.time = '2s'";
    let again = "retry = { max-attempts = 3, backoff = ['50ms'] }";
    let cases = [
        Case::probe("spin", "spin", "", "").over(short),
        Case::probe("memory", "grow", "", "").over(again),
        Case::text("elements", text::grows_a_table(), "", "").over(again),
        Case::probe("overflow", "overflow", "", "").over(again),
        Case::text("recursion", text::recurses(), "", "").over(again),
        Case::probe("unreachable", "trap", "", "").over(again),
        Case::probe("panic", "panic no stock", "", "").over(again),
        Case::probe("reply", "big-reply 50000000", "", ""),
        Case::probe("million", "many out.x 1000000", "", ""),
        Case::text("megabyte", text::same_megabyte_often(), "", ""),
        Case::text("pointer", text::bogus_pointer(), "", "").over(again),
        Case::probe("clock", "storm clock", "", "").over(short),
        Case::probe("settings", "storm settings", "", "").over(short),
        Case::probe("stdout", "storm stdout", "", "").over(short),
        Case::probe("logging", "storm log", "", "").over(short),
        Case::text("random", text::random_storm(), "", "").over(short),
        Case::text("handles", text::leaks_handles(), "", "").over(again),
        Case::probe("sleep", "sleep 3600000", "", "").over(short),
        Case::probe("flood", "flood 1000000000", "", "").over(short),
    ];
    let policies = ["spin", "grow", "flap", "max", "huge-state", "third"].iter().fold(asked(), |all, mode| {
        with(all, decided(&format!("policy-{mode}"), mode, "desired = '3'", "scale.interval = '100ms'"))
    });
    let mut bench = HostileBench::start_with(&cases, policies).await?;
    compare(form, &mut report, &cases, &mut bench).await?;
    // Each of 38 workers may have its 64 MiB; few have them at once, and each gives them back.
    let peak = bench.host.peak() >> 20;
    report.must(peak < 3 * 1024, format!("peak memory {peak} MiB"));
    bench.finish(form, &mut report).await?;
    Ok(report)
}
