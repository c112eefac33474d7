//! Handlers that spend what is not theirs: time, memory, results, calls, lines of log. And those that reach out.

use std::time::{Duration, Instant};

use anyhow::Result;
use tidegate_runtime::config::Limits;

use super::cases::{Case, GOOD, HostileBench, decided, each, tail};
use super::text;
use crate::row::{Form, Report, Row, row};

pub(crate) const ROWS: &[Row] = &[
    row!(21, "infinite loop", infinite_loop),
    row!(23, "memory, table and instance bombs", bombs),
    row!(24, "stack overflow, unreachable, panic", traps),
    row!(25, "huge and bogus results", results),
    row!(26, "host-call storms, leaked handles", storms),
    row!(27, "blocked in a host call", blocked),
    row!(28, "log flood", log_flood),
    row!(29, "reaching out", reaching_out),
];

const MIB: u64 = 1 << 20;

/// In `handle`: killed when its time is over. In a start function: refused after the same time, and what ran before
/// goes on. In `init` of a policy: its fuel ends it, and its workload stays at `scale.min`.
async fn infinite_loop(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let spin = Case::probe("spin", "spin", "time", "took longer than the 500ms").over("limits.time = '500ms'");
    let init = decided("init", "spin-in-init", "", "scale.min = 1\nlimits.time = '500ms'");
    let mut bench = HostileBench::start_with(std::slice::from_ref(&spin), init).await?;
    bench.good.publish(300, |_| String::new()).await?;
    for _ in 0..form.pick(3, 30) {
        let took = bench.inject(&spin, 1, form.patience()).await?;
        report.injected();
        report.recovered(took);
        report.must(took >= Duration::from_millis(500), "it has the time that it may have");
        bench.stage.js.get_stream(crate::stage::DEAD).await?.purge().await?;
    }
    let start = Instant::now();
    bench.stage.install("probe", &text::loops_at_its_start())?;
    bench.host.says(&["refused", "probe.wasm", "took longer than"], form.patience()).await?;
    report.injected();
    report.note(format!("start function refused after {:.2} s", start.elapsed().as_secs_f64()));
    bench.host.says(&["policy not used", "workload=init"], form.patience()).await?;
    report.injected();
    // What ran before goes on, with the workers that it had.
    bench.good.publish(300, |_| String::new()).await?;
    bench.finish(form, &mut report).await?;
    report.note("recovery: from publishing to the dead letter; limits.time 500 ms");
    Ok(report)
}

/// Asks for more memory, table elements and instances than it may have: in its calls, and from the beginning.
async fn bombs(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let cases = [
        Case::probe("memory", "grow", "memory", "67108864 bytes of memory"),
        Case::text("elements", text::grows_a_table(), "memory", "limits.table-elements"),
    ];
    let mut bench = each(form, &mut report, &cases, form.pick(4, 100)).await?;
    for (bytes, said) in [
        (text::four_gibibytes(), "bytes of memory"),
        (text::large_table(), "did not start"),
        (text::thousand_instances(), "did not start"),
    ] {
        bench.stage.install("probe", &bytes)?;
        let refused = bench.host.says(&["refused", "probe.wasm", said], form.patience()).await;
        report.must(refused.is_ok(), format!("refused with `{said}`; the host said\n{}", tail(&bench.host.log())));
        report.injected();
        bench.good.publish(100, |_| String::new()).await?;
    }
    // Two workers of 64 MiB and what a host has anyway.
    report.must(bench.host.peak() < 400 * MIB, format!("peak memory {} MiB", bench.host.peak() / MIB));
    bench.finish(form, &mut report).await?;
    Ok(report)
}

/// Each call ends in a trap, and each message is tried three times with a delay.
async fn traps(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let retry = "retry = { max-attempts = 3, backoff = ['50ms'] }";
    let cases = [
        Case::probe("overflow", "overflow", "trapped", "out of bounds memory").over(retry),
        Case::text("recursion", text::recurses(), "trapped", "call stack exhausted").over(retry),
        Case::probe("unreachable", "trap", "trapped", "unreachable").over(retry),
        Case::probe("panic", "panic no stock", "trapped", "no stock").over(retry),
    ];
    let times = form.pick(50, 2000);
    let start = Instant::now();
    let bench = each(form, &mut report, &cases, times).await?;
    let respawns = (cases.len() as u64 * times * 3) as f64 / start.elapsed().as_secs_f64();
    report.note(format!("{respawns:.0} respawns/s"));
    let again = bench.host.logged(&["to be tried again"]) as u64;
    report.must(again == cases.len() as u64 * times * 2, format!("{again} retries, of {times} x 4 x 2"));
    bench.finish(form, &mut report).await?;
    Ok(report)
}

/// Answers that are too large, too many, or not there.
async fn results(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let cases = [
        Case::probe("reply", "big-reply 100000000", "memory", "bytes of memory"),
        Case::probe("reply-within-memory", "big-reply 100000000", "effects", "limits.response")
            .over("limits.memory = '256MiB'"),
        Case::probe("million", "many out.x 1000000", "effects", "limits.response").over("limits.memory = '256MiB'"),
        Case::text("same-megabyte", text::same_megabyte_often(), "effects", "limits.response"),
        Case::text("pointer", text::bogus_pointer(), "effects", "cannot be carried out"),
        Case::text("length", text::bogus_length(), "effects", "cannot be carried out"),
    ];
    let bench = each(form, &mut report, &cases, form.pick(4, 50)).await?;
    // At most two workers at once, each with its memory and as much again on the host's side.
    report.must(bench.host.peak() < 1300 * MIB, format!("peak memory {} MiB", bench.host.peak() / MIB));
    bench.finish(form, &mut report).await?;
    Ok(report)
}

/// Functions of the host called without end, and handles that are never given back.
async fn storms(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let limit = "limits.time = '500ms'";
    let storm = |name, what: &str| {
        Case::probe(name, &format!("storm {what}"), "time", "took longer than the 500ms").over(limit)
    };
    let cases = [
        storm("clock", "clock"),
        storm("settings", "settings"),
        storm("stdout", "stdout"),
        storm("logging", "log"),
        Case::text("random", text::random_storm(), "time", "took longer than the 500ms").over(limit),
        Case::text("handles", text::leaks_handles(), "trapped", ""),
    ];
    let bench = each(form, &mut report, &cases, form.pick(2, 40)).await?;
    report.must(bench.host.peak() < 300 * MIB, format!("peak memory {} MiB", bench.host.peak() / MIB));
    bench.finish(form, &mut report).await?;
    Ok(report)
}

/// Sleeps for an hour, where no epoch interrupts it.
async fn blocked(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let cases =
        [Case::probe("sleep", "sleep 3600000", "time", "took longer than the 500ms").over("limits.time = '500ms'")];
    let bench = each(form, &mut report, &cases, form.pick(6, 100)).await?;
    bench.finish(form, &mut report).await?;
    report.note("recovery: all of them, two at a time; limits.time 500 ms");
    Ok(report)
}

/// A gigabyte to standard error.
async fn log_flood(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let flood = Case::probe("flood", &format!("flood {}\nreject done", 1_000_000_000), "rejected", "done")
        .over("limits.time = '5m'\nack-wait = '10s'\npolicy-settings.workers = '1'");
    let mut bench = HostileBench::start(std::slice::from_ref(&flood)).await?;
    bench.good.publish(300, |_| String::new()).await?;
    let took = bench.inject(&flood, 1, form.pick(Duration::from_secs(150), Duration::from_secs(600))).await?;
    report.injected();
    // Each of its lines is 99 times x and an end.
    let logged = 100 * bench.host.logged(&[&"x".repeat(99)]) as u64;
    let seconds = took.as_secs_f64();
    report.recovered(took);
    report.note(format!("bytes logged {logged} in {seconds:.1} s"));
    report.must(logged > 0, "none of it is logged");
    report.must(bench.host.logged(&["dropped log lines"]) > 0, "what is dropped is counted and told");
    // A second's bytes at once, and then as many in each second; a second more, for when it was seen to end.
    let most = (seconds + 2.0) * Limits::default().log_rate as f64;
    report.must((logged as f64) < most, format!("{logged} bytes logged, more than {most:.0}"));
    bench.finish(form, &mut report).await?;
    Ok(report)
}

/// Files, connections, variables, arguments: none of them is there, for a handler or a policy.
async fn reaching_out(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let bench = HostileBench::start_with(&[], decided("policy", "reach", "desired = '3'", "")).await?;
    let mut escapes = 0;
    for (line, denied) in [
        ("open /etc/passwd", "error: "),
        ("open plugins/probe.wasm", "error: "),
        ("connect 127.0.0.1:4222", "error: "),
        ("env", r#"{"arguments":[],"variables":[]}"#),
    ] {
        for _ in 0..form.pick(2, 50) {
            let reply = bench.ask(GOOD, line).await?;
            report.injected();
            let escaped = !reply.starts_with(denied);
            report.must(!escaped, format!("{line}: {reply}"));
            escapes += u32::from(escaped);
        }
    }
    let said = ["scaling 0 -> 3", "file false network false arguments 0 variables 0"];
    let denied = bench.host.says(&said, form.patience()).await;
    report.injected();
    report.must(denied.is_ok(), format!("the policy reached out: {}", tail(&bench.host.log())));
    report.note(format!("escapes {}", escapes + u32::from(denied.is_err())));
    bench.finish(form, &mut report).await?;
    Ok(report)
}
