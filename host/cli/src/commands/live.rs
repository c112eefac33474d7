//! `tidegate simulate --live`: what was simulated, for real, and both side by side.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use futures_util::FutureExt as _;
use serde::Serialize;

use super::output::{ReportFormat, json_line};
use tidegate_artifacts::workers;
use tidegate_lab::live_run::{self, ComparedNumber, LiveComparison, LiveRunOptions, Measured, Numbers, TraceMessage};
use tidegate_lab::simulate::arrivals::Cursor;
use tidegate_lab::simulate::{Arrivals, MIDNIGHT_MS, Model, RandomAttempts, SimulationOutcome};
use tidegate_lab::terminal::Terminal;
use tidegate_nats_server::{self as server, Server};

/// The most messages of a run, each of which is remembered.
const MOST: u64 = 2_000_000;
/// The most workers that a host may have.
const MOST_WORKERS: u32 = 10_000;
/// When one in a hundred messages was sent later than this, the machine was too busy to say anything.
const LATE: Duration = Duration::from_millis(20);

/// Flags of a live run.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "For real")]
pub struct LiveArgs {
    /// After the simulation run the same messages for real, so many times faster than the trace: on a nats-server of
    /// its own, with a host and a handler that takes as long as the simulation says. Exit code 1: worker-seconds or the
    /// p95 wait are not within 15 % of what was foretold, or the p99 wait or the most workers not within 50 %
    #[arg(long, value_name = "FACTOR", value_parser = faster)]
    pub live: Option<f64>,
    /// The nats-server that --live starts [default: TIDEGATE_NATS_SERVER, then PATH, then what `make install` brought]
    #[arg(long, value_name = "PATH", requires = "live")]
    pub nats_server: Option<PathBuf>,
}

fn faster(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (1.0..=1000.0).contains(number));
    number.ok_or_else(|| "it must be a number from 1 to 1000".to_owned())
}

/// A policy that was simulated.
pub(super) struct Simulated<'a> {
    pub(super) name: &'a str,
    pub(super) policy: PathBuf,
    pub(super) settings: Vec<(String, String)>,
    pub(super) outcome: &'a SimulationOutcome,
}

/// How one policy went.
#[derive(Debug, Serialize)]
struct LiveReport {
    name: String,
    messages: u64,
    faster: f64,
    #[serde(flatten)]
    comparison: LiveComparison,
}

/// Whether the simulation can be run for real.
pub(super) fn check(model: &Model, arrivals: &Arrivals, faster: f64) -> anyhow::Result<()> {
    let (total, seconds) = (arrivals.total(), arrivals.length() as f64 / 1e9);
    ensure!(model.retry.is_none(), "--live has no attempts that fail; leave --retry out");
    ensure!(model.outage.is_none(), "--live has no outage; leave --outage out");
    ensure!(model.limits.is_none(), "--live has no limits; leave --rate, --max-in-flight and --breaker-ratio out");
    ensure!(model.keys.is_none(), "--live keeps no order; leave --keys out");
    ensure!(
        total <= MOST,
        "--live: {total} messages are more than {MOST}; lower --arrival-scale, or take an excerpt of the trace"
    );
    ensure!(
        model.scale.max <= MOST_WORKERS,
        "--live: a host runs {MOST_WORKERS} workers at most; lower --max, which is {}",
        model.scale.max
    );
    if let Some(warning) = too_fast(model.objective, faster) {
        tracing::warn!("{warning}");
    }
    tracing::info!(
        "for real: {total} messages in {:.0} s, {:.0} a second",
        seconds / faster,
        total as f64 / seconds.max(1.0) * faster
    );
    Ok(())
}

/// What is to be said where the way through a server and a host, in the time of the trace, hides what the objective is
/// about.
fn too_fast(objective: u64, faster: f64) -> Option<String> {
    let (way, objective) = (live_run::ON_THE_WAY_MS * faster, objective as f64 / 1e6);
    (way > objective).then(|| {
        format!(
            "--live {faster}: the {} ms that a message may be on its way are {way:.0} ms of the trace, more than the \
             objective of {objective:.0} ms, so that waits which differ by more than it hold; lower --live",
            live_run::ON_THE_WAY_MS
        )
    })
}

/// Runs one policy after the other, prints to `out`, and returns whether all was as foretold.
///
/// # Errors
/// If a run fails or the answer cannot be written.
pub(super) async fn run(
    (model, arrivals): (&Model, &Arrivals),
    simulated: &[Simulated<'_>],
    (args, faster): (&LiveArgs, f64),
    format: ReportFormat,
    terminal: &Terminal,
    out: &mut impl Write,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<bool> {
    let interrupted = interrupted.shared();
    let mut answers = Vec::new();
    for policy in simulated {
        let options = options(model, arrivals, policy, faster)?;
        // Each on a server of its own, so that none finds what another has left.
        let binary = args.nats_server.clone();
        let server = tokio::select! {
            server = Server::start(server::ServerOptions { binary, ..server::ServerOptions::default() }) => server?,
            () = interrupted.clone() => bail!("interrupted"),
        };
        let bar = terminal.bar(arrivals.total());
        let measured = live_run::run(&options, server.url(), &bar, interrupted.clone()).await;
        server.stop().await;
        answers.push(answer(policy, &measured?, faster));
    }
    print(&answers, format, out)?;
    Ok(answers.iter().all(|answer| answer.comparison.holds))
}

/// The arrivals and the times that the simulation has, message by message.
fn messages(model: &Model, arrivals: &Arrivals) -> Vec<TraceMessage> {
    let mut cursor = Cursor::new(arrivals, model.seed);
    let mut attempts = RandomAttempts::new(&model.service, None, model.seed);
    let mut messages = Vec::new();
    while let Some(at) = cursor.peek() {
        cursor.advance();
        let service = Duration::from_nanos(attempts.first().time);
        messages.push(TraceMessage { at: Duration::from_nanos(at), service });
    }
    messages
}

fn options(
    model: &Model,
    arrivals: &Arrivals,
    simulated: &Simulated<'_>,
    faster: f64,
) -> anyhow::Result<LiveRunOptions> {
    Ok(LiveRunOptions {
        messages: messages(model, arrivals),
        length: Duration::from_nanos(arrivals.length()),
        faster,
        min: model.scale.min,
        max: model.scale.max,
        interval: model.scale.interval,
        window: model.scale.window,
        batch: model.batch,
        start_delay: Duration::from_nanos(model.start_delay),
        start_ms: MIDNIGHT_MS,
        wait: workers::WAIT,
        policy: std::fs::read(&simulated.policy)?,
        settings: simulated.settings.clone(),
    })
}

fn answer(simulated: &Simulated<'_>, measured: &Measured, faster: f64) -> LiveReport {
    let late = Duration::from_micros(measured.late.value_at_quantile(0.99));
    if late > LATE {
        tracing::warn!(
            "{}: one message in a hundred was sent {} ms late: the machine is too busy to measure anything; lower \
             --live",
            simulated.name,
            late.as_millis()
        );
    }
    let outcome = simulated.outcome;
    let foretold = Numbers {
        worker_seconds: outcome.worker_seconds(),
        p50_ms: outcome.wait_ms(0.5),
        p95_ms: outcome.wait_ms(0.95),
        p99_ms: outcome.wait_ms(0.99),
        peak_workers: outcome.peak_workers,
    };
    let wait_ms = |quantile| measured.waits.value_at_quantile(quantile) as f64 / 1000.0;
    let measured = Numbers {
        worker_seconds: measured.worker_seconds,
        p50_ms: wait_ms(0.5),
        p95_ms: wait_ms(0.95),
        p99_ms: wait_ms(0.99),
        peak_workers: measured.peak_workers,
    };
    let comparison = LiveComparison::new(&foretold, &measured, faster);
    LiveReport { name: simulated.name.to_owned(), messages: outcome.messages, faster, comparison }
}

fn print(answers: &[LiveReport], format: ReportFormat, out: &mut impl Write) -> anyhow::Result<()> {
    match format {
        ReportFormat::Json => json_line(out, &serde_json::json!({ "policies": answers }))?,
        ReportFormat::Csv => write!(out, "{}", csv(answers)?)?,
        ReportFormat::Text => {
            for LiveReport { name, messages, faster, comparison } in answers {
                writeln!(out, "{name}: {messages} messages, {faster} times as fast\n{comparison}")?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

/// A line for each number of each policy.
fn csv(answers: &[LiveReport]) -> anyhow::Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["name", "number", "foretold", "measured", "ratio"])?;
    for LiveReport { name, comparison, .. } in answers {
        for ComparedNumber { number, foretold, measured, ratio, .. } in &comparison.rows {
            csv.write_field(name)?;
            csv.write_field(number)?;
            csv.write_record([foretold, measured, ratio].map(f64::to_string))?;
        }
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use tidegate_lab::simulate::arrivals::ArrivalRow;
    use tidegate_lab::simulate::{RetryModel, ServiceTime};
    use tidegate_runtime::config::{Scale, SignalSource, StartLimits};

    const SECOND: u64 = 1_000_000_000;

    fn model(retry: Option<RetryModel>) -> Model {
        let second = Duration::from_secs(1);
        Model {
            scale: Scale { min: 0, max: 8, interval: second, window: 5 * second, source: SignalSource::Info },
            start_delay: 0,
            batch: 100,
            service: ServiceTime::Exponential(SECOND / 5),
            retry,
            outage: None,
            limits: StartLimits::default(),
            keys: None,
            per_key: None,
            seed: 3,
            objective: SECOND,
        }
    }

    fn arrivals(counts: &[u64]) -> Arrivals {
        let row =
            |(index, count): (usize, &u64)| ArrivalRow { start: index as u64 * SECOND, step: SECOND, count: *count };
        Arrivals::new(counts.iter().enumerate().map(row).collect())
    }

    #[test]
    fn a_live_run_has_the_messages_of_the_simulation() {
        let messages = messages(&model(None), &arrivals(&[3, 0, 40]));
        assert_eq!(messages.len(), 43);
        assert!(messages.is_sorted_by_key(|message| message.at));
        assert_eq!(messages.iter().filter(|message| message.at < Duration::from_secs(1)).count(), 3);
        let mut attempts = RandomAttempts::new(&ServiceTime::Exponential(SECOND / 5), None, 3);
        assert!(messages.iter().all(|message| message.service == Duration::from_nanos(attempts.first().time)));
    }

    #[test]
    fn what_cannot_be_run_for_real_is_refused_before_anything_runs() {
        let retry = Some(RetryModel { share: 0.1, delay: SECOND });
        let refused = check(&model(retry), &arrivals(&[1]), 10.0).unwrap_err().to_string();
        assert!(refused.contains("leave --retry out"), "{refused}");
        let limits = StartLimits { max_in_flight: Some(1), ..StartLimits::default() };
        let refused = check(&Model { limits, ..model(None) }, &arrivals(&[1]), 10.0).unwrap_err().to_string();
        assert!(refused.contains("leave --rate, --max-in-flight and --breaker-ratio out"), "{refused}");
        let keys = Some("5:zipf".parse().unwrap());
        let refused = check(&Model { keys, ..model(None) }, &arrivals(&[1]), 10.0).unwrap_err().to_string();
        assert!(refused.contains("leave --keys out"), "{refused}");
        let refused = check(&model(None), &arrivals(&[MOST + 1]), 10.0).unwrap_err().to_string();
        assert!(refused.contains("lower --arrival-scale"), "{refused}");
        let scale = Scale { max: 20_000, ..model(None).scale };
        let refused = check(&Model { scale, ..model(None) }, &arrivals(&[1]), 10.0).unwrap_err().to_string();
        assert_eq!(refused, "--live: a host runs 10000 workers at most; lower --max, which is 20000");
        check(&model(None), &arrivals(&[1]), 10.0).unwrap();
        assert!(faster("0.5").is_err() && faster("1001").is_err() && faster("ten").is_err());
        assert_eq!(faster("2.5"), Ok(2.5));
    }

    #[test]
    fn a_run_whose_way_is_longer_than_the_objective_is_told() {
        assert_eq!((too_fast(SECOND, 10.0), too_fast(SECOND, 200.0)), (None, None));
        let told = too_fast(SECOND, 1000.0).unwrap();
        assert!(told.contains("5000 ms of the trace, more than the objective of 1000 ms"), "{told}");
    }

    #[test]
    fn every_format_has_every_number() {
        let numbers = Numbers { worker_seconds: 1.0, p50_ms: 2.0, p95_ms: 3.0, p99_ms: 4.0, peak_workers: 5 };
        let comparison = LiveComparison::new(&numbers, &numbers, 10.0);
        let answers = [LiveReport { name: "step".to_owned(), messages: 7, faster: 10.0, comparison }];
        for format in [ReportFormat::Text, ReportFormat::Json, ReportFormat::Csv] {
            let mut out = Vec::new();
            print(&answers, format, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            for row in &answers[0].comparison.rows {
                assert!(text.contains(row.number), "{format:?}: {text}");
            }
            if format == ReportFormat::Json {
                let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(json["policies"][0]["holds"], true);
                assert_eq!(json["policies"][0]["rows"][0]["measured"], 1.0);
            }
        }
    }
}
