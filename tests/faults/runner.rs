//! Runs rows one after the other, says on standard error how they go, and prints one table or JSON on standard output.

use std::io::{Write, stderr, stdout};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Parser;
use futures_util::FutureExt;
use serde_json::{Value, json};
use tidegate_lab::text_table::aligned;

use crate::row::{Form, Report, Row, Verdict};

/// Injects faults, and says what held.
///
/// Exit code 0: all that was injected held. 1: something broke.
#[derive(Parser)]
#[command(name = "faults")]
struct Args {
    /// The long form of each row instead of the short one
    #[arg(long)]
    long: bool,
    /// How long the soak takes in the long form
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    soak: Duration,
    /// What random choices follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many hosts each fleet has, in the rows of fleets: a row has its own number otherwise
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(3..=200))]
    hosts: Option<u16>,
    /// The form of the answer on standard output: `table` or `json`
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    output: String,
    /// List the rows
    #[arg(long)]
    list: bool,
    /// Only rows with this number or this in their name; none at all if it is in no name
    #[arg(value_name = "ROW", allow_hyphen_values = true)]
    rows: Vec<String>,
    /// Leave out rows with this number or this in their name
    #[arg(long)]
    skip: Vec<String>,
    // What `cargo test` passes on to every test binary takes a value here as there, and means nothing.
    #[arg(long, hide = true)]
    test_threads: Option<String>,
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    color: Option<String>,
    #[arg(long, hide = true)]
    logfile: Option<String>,
}

impl Args {
    fn wants(&self, row: &Row) -> bool {
        let is = |text: &String| match text.parse::<u32>() {
            Ok(number) => row.number == number,
            Err(_) => row.fault.to_lowercase().contains(&text.to_lowercase()),
        };
        // Flags that only libtest knows, as `--nocapture`.
        let mut filters = self.rows.iter().filter(|text| !text.starts_with('-')).peekable();
        (filters.peek().is_none() || filters.any(is)) && !self.skip.iter().any(is)
    }
}

/// Runs what the arguments say.
pub(crate) async fn run(rows: Vec<Row>) -> ExitCode {
    let args = Args::parse();
    let rows: Vec<Row> = rows.into_iter().filter(|row| args.wants(row)).collect();
    if args.list {
        for row in rows {
            say(&mut stdout(), &format!("{} {}", row.number, row.fault));
        }
        return ExitCode::SUCCESS;
    }
    let form = Form { long: args.long, soak: args.soak, seed: args.seed, hosts: args.hosts.map(usize::from) };
    let all = async {
        let mut done = Vec::new();
        for row in rows {
            let report = one(row, form).await;
            done.push((row, report));
        }
        done
    };
    let done = tokio::select! {
        done = all => done,
        // What runs is dropped, and ends its processes.
        _ = tokio::signal::ctrl_c() => return ExitCode::from(130),
    };
    let answer = match args.output.as_str() {
        "json" => serde_json::to_string_pretty(&done.iter().map(object).collect::<Vec<_>>()).unwrap_or_default(),
        _ if done.is_empty() => return ExitCode::SUCCESS,
        _ => table(&done),
    };
    say(&mut stdout(), &answer);
    let broken: Vec<_> = done.iter().filter(|(_, report)| report.verdict() == Verdict::Broken).collect();
    if broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    // Last of all: of a long run's output, often only the end is kept.
    say(&mut stderr(), &format!("broken: {} of {} rows", broken.len(), done.len()));
    for (row, report) in broken {
        say(&mut stderr(), &format!("fault {:>2} {}", row.number, row.fault));
        tell_broken(report);
    }
    ExitCode::FAILURE
}

async fn one(row: Row, form: Form) -> Report {
    let Row { number, fault, run } = row;
    say(&mut stderr(), &format!("fault {number:>2} {fault} ..."));
    let start = Instant::now();
    let limit = form.pick(Duration::from_secs(180), Duration::from_secs(7200) + form.soak);
    let ended = tokio::time::timeout(limit, AssertUnwindSafe(run(form)).catch_unwind()).await;
    let report: Result<Report> = match ended {
        Ok(Ok(report)) => report,
        Ok(Err(_)) => Err(anyhow!("it panicked, see above")),
        Err(_) => Err(anyhow!("not done within {limit:?}")),
    };
    let report = report.unwrap_or_else(|error| {
        let mut report = Report::new();
        report.must(false, format!("{error:#}"));
        report
    });
    let (verdict, took) = (report.verdict().as_str(), start.elapsed().as_secs_f64());
    say(&mut stderr(), &format!("fault {number:>2} {fault}: {verdict} in {took:.1} s"));
    for line in &report.notes {
        say(&mut stderr(), &format!("         {line}"));
    }
    for line in &report.picture {
        say(&mut stderr(), &format!("         {line}"));
    }
    tell_broken(&report);
    report
}

fn tell_broken(report: &Report) {
    for line in &report.broken {
        say(&mut stderr(), &format!("         BROKEN: {line}"));
    }
    if report.verdict() == Verdict::Broken && report.injected == 0 {
        say(&mut stderr(), "         BROKEN: nothing was injected");
    }
}

fn object((row, report): &(Row, Report)) -> Value {
    json!({
        "fault": row.fault,
        "injected": report.injected,
        "messages": report.messages,
        "lost": report.lost,
        "duplicates": report.duplicates,
        "recovery_s": report.recovery.map(|after| (after.as_secs_f64() * 1000.0).round() / 1000.0),
        "verdict": report.verdict().as_str(),
    })
}

/// What held, a line for each row of the bench, with the notes at its end.
fn table(done: &[(Row, Report)]) -> String {
    let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let mut lines = vec![
        ["", "fault", "injected", "messages", "lost", "duplicates", "recovery", "verdict", "note"].map(str::to_owned),
    ];
    for (row, report) in done {
        lines.push([
            row.number.to_string(),
            row.fault.to_owned(),
            report.injected.to_string(),
            number(report.messages),
            number(report.lost),
            number(report.duplicates),
            report.recovery.map_or_else(|| "-".to_owned(), |after| format!("{:.2} s", after.as_secs_f64())),
            report.verdict().as_str().to_owned(),
            [report.broken.join("; "), report.notes.join("; ")].join(" ").trim().to_owned(),
        ]);
    }
    aligned(lines, &[0, 2, 3, 4, 5, 6])
}

/// A reader that is gone is no fault of the rows.
fn say(to: &mut impl Write, line: &str) {
    let _ = writeln!(to, "{line}");
}
