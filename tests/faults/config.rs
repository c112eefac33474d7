//! Configurations that are none.

use std::process::Stdio;

use anyhow::Result;
use fastrand::Rng;
use tidegate_runtime::config::Config;
use tokio::process::Command;

use crate::ledger::Ledger;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, work};

pub(crate) const ROWS: &[Row] = &[row!(16, "malformed config", malformed)];

const EXAMPLE: &str = include_str!("../../examples/tidegate.example.toml");

/// One to three things that go wrong with a file: bytes lost, bytes doubled, a line gone, a value of another kind.
fn spoilt(random: &mut Rng) -> String {
    let mut text: Vec<char> = EXAMPLE.chars().collect();
    for _ in 0..random.usize(1..=3) {
        if text.is_empty() {
            break;
        }
        let at = random.usize(0..text.len());
        let to = (at + random.usize(1..40)).min(text.len());
        match random.u8(0..6) {
            0 => drop(text.drain(at..to)),
            1 => drop(text.splice(at..at, text[at..to].to_vec())),
            2 => text[at] = random.choice(['\0', '"', '[', ']', '=', '\n', '\u{feff}', '-', '9', '#']).unwrap(),
            3 => text.truncate(at.max(1)),
            4 => drop(text.splice(at..at, "\n[workload.orders]\n".chars())),
            _ => drop(text.splice(at..at, (0..20).map(|_| random.char('!'..'\u{3000}')).collect::<Vec<_>>())),
        }
    }
    text.into_iter().collect()
}

/// `tidegate check` on files that are spoilt, and a host whose file is spoilt while it runs.
async fn malformed(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut random = Rng::with_seed(form.seed);
    let (mut panics, mut refused, mut read) = (0u64, 0u64, 0u64);
    for _ in 0..form.pick(3000, 200_000) {
        let text = spoilt(&mut random);
        report.injected();
        match std::panic::catch_unwind(|| Config::from_toml(&text).map_err(|errors| errors.to_string())) {
            Ok(Ok(_)) => read += 1,
            Ok(Err(said)) => {
                refused += 1;
                let named = said.lines().all(|line| {
                    ["line ", "there is no workload", "the file is empty"].iter().any(|part| line.contains(part))
                });
                report.must(named, format!("no line is named: {said}"));
            }
            Err(_) => panics += 1,
        }
    }
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let host = stage.host(&work("work", "")).await?;
    for _ in 0..form.pick(25, 500) {
        let file = host.config_file();
        std::fs::write(file, spoilt(&mut random))?;
        report.injected();
        let mut check = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let done = check.args(["check", "--config"]).arg(file).stdin(Stdio::null()).output().await?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
        panics += u64::from(said.contains("panicked") || done.status.code().is_none());
        if !done.status.success() {
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            report.must(said.contains(&name) || said.contains("plugin"), format!("the file is not named: {said}"));
        }
    }
    ledger.publish(200, |_| String::new()).await?;
    stage.settled("work", form.patience()).await?;
    report.must(host.is_running(), "the host keeps what it has read");
    report.must(panics == 0, format!("{panics} panics"));
    report.count(&ledger.audit().await?);
    report.note(format!("refused {refused}, still good {read}, panics {panics}"));
    Ok(report)
}
