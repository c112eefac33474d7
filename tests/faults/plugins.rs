//! Plugin files: half written, swapped again and again, not to be compiled, not what they should be.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use sha2::{Digest as _, Sha256};
use tidegate_artifacts::policies;
use tidegate_runtime::plugin::inspect;
use tidegate_test_artifacts::probes;
use wasmparser::Parser;

use crate::hosts::Host;
use crate::ledger::{Audit, Ledger, read};
use crate::patience::{percentile, until};
use crate::row::{Form, Report, Row, head, row};
use crate::stage::{Stage, with, work};

pub(crate) const ROWS: &[Row] = &[
    row!(17, "half-written plugin", half_written),
    row!(18, "swap storm", swap_storm),
    row!(19, "ConfigMap flip", flip),
    row!(32, "compile bomb", compile_bomb),
    row!(33, "files that are no plugin", no_plugins),
];

const MIB: u64 = 1 << 20;

/// The digits that name a generation in the log.
pub(crate) fn generation(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes)[..6])
}

/// Puts a file into place that is old, so that the host judges it at once and does not wait for the rest of it.
fn put_old(plugins: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let beside = plugins.join(format!(".{name}.new"));
    std::fs::write(&beside, bytes)?;
    let old = SystemTime::now() - Duration::from_secs(60);
    std::fs::File::options().write(true).open(&beside)?.set_modified(old)?;
    Ok(std::fs::rename(beside, plugins.join(format!("{name}.wasm")))?)
}

/// Awaits what a host says about a generation of a plugin: whether it is in use.
async fn judged(host: &Host, plugin: &str, generation: &str, limit: Duration) -> Result<bool> {
    let (file, about) = (format!("{plugin}.wasm"), format!("generation={generation}"));
    let what = format!("a word about {generation}");
    let judged = until(limit, &what, async || {
        let log = host.log();
        let line = log.lines().rev().find(|line| line.contains(&about) && line.contains(&file))?;
        (line.contains("loaded ") || line.contains("refused ")).then(|| line.contains("loaded "))
    });
    judged.await.with_context(|| last_words(host))
}

/// Where a component's sections end, and one byte more and less.
fn boundaries(bytes: &[u8]) -> BTreeSet<usize> {
    let ends = Parser::new(0).parse_all(bytes).filter_map(|payload| Some(payload.ok()?.as_section()?.1.end));
    ends.flat_map(|end| [end - 1, end, end + 1]).filter(|length| *length < bytes.len()).collect()
}

/// Does something while messages are published.
async fn under_load<T>(work: impl Future<Output = Result<T>>, ledger: &mut Ledger) -> Result<T> {
    let done = AtomicBool::new(false);
    let load = async {
        while !done.load(Ordering::Relaxed) {
            ledger.publish(20, |_| String::new()).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    let work = async {
        let result = work.await;
        done.store(true, Ordering::Relaxed);
        result
    };
    let (result, load) = tokio::join!(work, load);
    load?;
    result
}

/// The last lines that a host has logged.
fn last_words(host: &Host) -> String {
    let log = host.log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// How many plugins are judged at the same time: a host waits a moment until a file that changed is quiet.
const LANES: usize = 8;

/// Prefixes of a component in place of a plugin that runs, one after the other, while messages come.
async fn put_prefixes(
    stage: &Stage,
    host: &Host,
    (name, lengths): (&str, &[usize]),
    form: Form,
) -> Result<(Vec<usize>, Audit)> {
    let mut ledger = Ledger::open(stage, name).await?;
    let storm = async {
        let mut active = Vec::new();
        for length in lengths {
            let prefix = &probes::WORKER_V2[..*length];
            put_old(&stage.plugins, name, prefix)?;
            active.extend(judged(host, name, &generation(prefix), form.patience()).await?.then_some(*length));
        }
        anyhow::Ok(active)
    };
    let active = under_load(storm, &mut ledger).await?;
    stage.settled(name, form.patience()).await?;
    Ok((active, ledger.audit().await?))
}

/// Prefixes of a component in place of a plugin that runs. Of every length it is asked what it is; those that pass for
/// a handler, and a sample of the others, are put into place.
async fn half_written(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let whole = probes::WORKER_V2;
    // What a file is for comes at its end.
    let every = form.pick(97, 1);
    let ends = boundaries(whole);
    let is_asked =
        |length: &usize| length.is_multiple_of(every) || whole.len() - length < 4096 || ends.contains(length);
    let asked = (0..whole.len()).filter(is_asked);
    let (mut inspected, mut passing) = (0, Vec::new());
    for length in asked {
        inspected += 1;
        passing.extend(inspect(&whole[..length]).is_ok().then_some(length));
    }
    let mut lengths = ends.clone();
    lengths.extend((0..whole.len()).step_by(whole.len() / form.pick(40, 2000)));
    // Those that pass lack no more than names.
    lengths.extend(passing.iter().step_by((passing.len() / form.pick(20, 500)).max(1)));
    let lengths: Vec<usize> = lengths.into_iter().collect();

    let stage = Stage::one().await?;
    let names: Vec<String> = (0..LANES).map(|lane| format!("probe{lane}")).collect();
    for name in &names {
        stage.install(name, probes::WORKER_V1)?;
    }
    let configs = names.iter().map(|name| work(name, &format!("handler = '{name}'\nretry.max-attempts = 1")));
    let config = configs.reduce(with).context("there is a lane")?;
    let host = stage.host(&config).await?;
    let lanes: Vec<Vec<usize>> =
        (0..LANES).map(|lane| lengths.iter().copied().skip(lane).step_by(LANES).collect()).collect();
    let storms = names.iter().zip(&lanes).map(|(name, lengths)| put_prefixes(&stage, &host, (name, lengths), form));
    let done = futures_util::future::try_join_all(storms).await?;

    lengths.iter().for_each(|_| report.injected());
    let mut active = Vec::new();
    for (ran, audit) in done {
        report.count(&audit);
        report.must(audit.dead == 0, format!("a bad generation handled them: {:?}", audit.causes));
        active.extend(ran);
    }
    let bad: Vec<usize> = active.iter().copied().filter(|length| !passing.contains(length)).collect();
    report.must(bad.is_empty(), format!("bad activations of {:?}", head(&bad)));
    report.must(host.is_running(), "the host lives");
    report.note(format!(
        "of {inspected} lengths of {} {} pass for a handler (only names are cut off); of {} put into \
         place {} ran, bad activations {}",
        whole.len(),
        passing.len(),
        lengths.len(),
        active.len(),
        bad.len()
    ));
    Ok(report)
}

/// Swaps between two versions under load. Each message is handled by one of them, once.
async fn swap_storm(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let host = stage.host(&work("work", "policy-settings.workers = '4'\nack-wait = '30s'")).await?;
    let mut outputs = stage.client.subscribe("out.work").await?;
    let storm = async {
        let mut times = Vec::new();
        for swap in 0..form.pick(100, 1000) {
            let (bytes, version) = [(probes::WORKER_V2, "v2"), (probes::WORKER_V1, "v1")][swap % 2];
            let start = Instant::now();
            stage.install("probe", bytes)?;
            loop {
                let output = tokio::time::timeout(form.patience(), outputs.next()).await.context("an output")?;
                if output.context("an output")?.payload.ends_with(version.as_bytes()) {
                    break;
                }
            }
            times.push(start.elapsed());
        }
        anyhow::Ok(times)
    };
    let mut times = under_load(storm, &mut ledger).await.with_context(|| last_words(&host))?;
    for _ in &times {
        report.injected();
    }
    stage.settled("work", form.patience()).await?;
    let audit = ledger.audit().await?;
    report.count(&audit);
    report.must(audit.dead == 0, format!("{} dead letters", audit.dead));
    let mut versions = HashMap::<String, BTreeSet<String>>::new();
    read(&stage.js, "RAW", "raw.work", |message| {
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        let mut words = text.split(' ').map(str::to_owned);
        if let (Some(id), Some(version)) = (words.next(), words.next_back()) {
            versions.entry(id).or_default().insert(version);
        }
    })
    .await?;
    let both: Vec<_> = versions.iter().filter(|(_, versions)| versions.len() > 1).map(|(id, _)| id).collect();
    report.must(both.is_empty(), format!("handled by two versions: {:?}", head(&both)));
    report.must(host.is_running(), "the host lives");
    report.must(host.logged(&["to be tried again"]) == 0, "no delivery fails because of a swap");
    report.recovered(percentile(&mut times, 1.0));
    let (p50, p99) = (percentile(&mut times, 0.5).as_millis(), percentile(&mut times, 0.99).as_millis());
    report.note(format!("from the rename to the first output of the new version: p50 {p50} ms, p99 {p99} ms"));
    Ok(report)
}

/// As Kubernetes mounts a ConfigMap: files are links through `..data`, which is replaced.
async fn flip(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let flip = |name: &str, bytes: &[u8]| -> Result<()> {
        let version = stage.plugins.join(name);
        std::fs::create_dir(&version)?;
        std::fs::write(version.join("probe.wasm"), bytes)?;
        symlink(name, stage.plugins.join("..data_tmp"))?;
        Ok(std::fs::rename(stage.plugins.join("..data_tmp"), stage.plugins.join("..data"))?)
    };
    flip("..0", probes::WORKER_V1)?;
    std::fs::remove_file(stage.plugins.join("probe.wasm"))?;
    symlink("..data/probe.wasm", stage.plugins.join("probe.wasm"))?;
    let host = stage.host(&work("work", "")).await?;
    let mut outputs = stage.client.subscribe("out.work").await?;
    let mut times = Vec::new();
    for number in 1..=form.pick(6, 60) {
        let (bytes, version) = [(probes::WORKER_V1, "v1"), (probes::WORKER_V2, "v2")][number % 2];
        let start = Instant::now();
        flip(&format!("..{number}"), bytes)?;
        std::fs::remove_dir_all(stage.plugins.join(format!("..{}", number - 1)))?;
        report.injected();
        let seen = async {
            loop {
                ledger.publish(1, |_| String::new()).await?;
                let output = outputs.next().await.context("an output")?;
                if output.payload.ends_with(version.as_bytes()) {
                    return anyhow::Ok(());
                }
            }
        };
        tokio::time::timeout(form.patience(), seen)
            .await
            .with_context(|| format!("the flip is not seen: {}", last_words(&host)))??;
        times.push(start.elapsed());
    }
    stage.settled("work", form.patience()).await?;
    report.count(&ledger.audit().await?);
    report.must(host.is_running(), "the host lives");
    report.recovered(percentile(&mut times, 1.0));
    report.note(format!("latency p50 {} ms; rescan 200 ms", percentile(&mut times, 0.5).as_millis()));
    Ok(report)
}

/// A component of so many functions, each of so many instructions, that passes for a handler.
fn bomb(functions: usize, length: usize) -> Result<Vec<u8>> {
    let body = "(local.set 0 (i64.mul (local.get 0) (i64.const 3)))".repeat(length);
    let function = format!("(func (param i64) (result i64) {body} (local.get 0))");
    let core = function.repeat(functions);
    let text = format!(
        r#"(component (core module $m {core} (func (export "handle"))) (core instance $i (instantiate $m))
           (func $handle (canon lift (core func $i "handle"))) (instance $handler (export "handle" (func $handle)))
           (export "tidegate:plugin/handler@0.1.0" (instance $handler)))"#
    );
    Ok(wat::parse_str(text)?)
}

/// The bytes of a number as WebAssembly has it.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

/// A component with so many imports of one function type.
fn imports(count: usize) -> Vec<u8> {
    // A component, the type of a function without parameters and results, and imports of it.
    let head = b"\0asm\x0d\0\x01\0\x07\x05\x01\x40\x00\x01\x00";
    let body = [leb128(count), b"\0\x01a\x01\0".repeat(count)].concat();
    [head.as_slice(), &[10], &leb128(body.len()), &body].concat()
}

/// A component that passes for a handler, with this beside its code.
fn beside(text: &str) -> Result<Vec<u8>> {
    let text = format!(
        r#"(component {text} (core module $m (func (export "handle"))) (core instance $i (instantiate $m))
           (func $handle (canon lift (core func $i "handle"))) (instance $handler (export "handle" (func $handle)))
           (export "tidegate:plugin/handler@0.1.0" (instance $handler)))"#
    );
    Ok(wat::parse_str(text)?)
}

/// The most memory that a child of this host was seen to have.
async fn watch_children(host: &Host, peak: &std::sync::atomic::AtomicU64) {
    loop {
        peak.fetch_max(host.children_resident(), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Files that are too large, have too much in them, or take too long or too much memory to compile. What runs goes on.
async fn compile_bomb(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let (time, memory) = (Duration::from_secs(2), 256 * MIB);
    let bounds = format!(
        "plugins.compile-time = '2s'\nplugins.compile-memory = '256MiB'\nplugins.cache = {:?}",
        stage.plugins.with_file_name("cache")
    );
    let config = crate::stage::with(work("work", ""), toml::from_str(&bounds)?);
    let host = stage.host(&config).await?;
    let own = host.peak();
    let many = bomb(99_000, 1)?;
    let long = bomb(400, 2500)?;
    let globals = format!("(core module $g {})", "(global i32 (i32.const 0))".repeat(20_000));
    let globals = beside(&format!("{globals} {}", "(core instance (instantiate $g))".repeat(98)))?;
    let sparse = "(core module (memory 256) (data (i32.const 0) \"a\") (data (i32.const 16000000) \"b\"))";
    let levels =
        (1..12).map(|n| format!("(component $c{n} {})", format!("(instance (instantiate $c{}))", n - 1).repeat(100)));
    let nested: String = ["(component $c0 (core module $m) (core instance (instantiate $m)))".to_owned()]
        .into_iter()
        .chain(levels)
        .collect();
    let name = format!("(instance $n) (export \"{}\" (instance $n))", "a".repeat(90_000));
    let cases: [(&str, Vec<u8>, &[&str]); 9] = [
        ("5,000,000 imports", imports(5_000_000), &["refused", "more than 65536 imports"]),
        ("20,000 globals in 98 instances", globals, &["refused", "an instance"]),
        ("components that multiply", beside(&nested)?, &["refused", "instances"]),
        ("a name of 90,000 bytes", beside(&name)?, &["refused", "a name of 90000 bytes"]),
        ("data far apart", beside(&sparse.repeat(100))?, &["refused"]),
        ("100 MB", vec![b'x'; 100_000_000], &["more than 64MiB", "plugins.max-size"]),
        ("100,001 functions", bomb(100_001, 0)?, &["refused", "more than 100000 functions"]),
        ("99,000 functions", many, &["refused", "compiling it took more than"]),
        ("functions of 25,000 bytes", long, &["refused", "compiling it took more than"]),
    ];
    let peak = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let storm = async {
        for (name, bytes, said) in cases {
            let before = host.logged(said);
            let start = Instant::now();
            stage.install("probe", &bytes)?;
            let judged = until(form.patience(), name, async || (host.logged(said) > before).then_some(())).await;
            let took = start.elapsed();
            report.injected();
            report.recovered(took);
            report.note(format!("{name} {:.2} s", took.as_secs_f64()));
            report.must(judged.is_ok(), format!("{name}: the host said\n{}", last_words(&host)));
            report.must(took < time * 4, format!("{name} took {took:?}"));
        }
        anyhow::Ok(())
    };
    tokio::select! {
        () = watch_children(&host, &peak) => {}
        done = under_load(storm, &mut ledger) => done?,
    }
    stage.settled("work", form.patience()).await?;
    report.count(&ledger.audit().await?);
    report.must(host.is_running(), "the host lives");
    // It reads a file of 64 MiB whole, and no more than that.
    let (before, most) = (own / MIB, host.peak() / MIB);
    report.must(most < before + 256, format!("the host had {before} MiB, and {most} MiB at its peak"));
    let longest = host.log().lines().map(str::len).max().unwrap_or(0);
    report.must(longest < 4_000, format!("a line of {longest} bytes"));
    let child = peak.load(Ordering::Relaxed);
    report.must(child < memory, format!("a compiling process had {} MiB", child / MIB));
    report.note(format!(
        "memory: host {} MiB before, {} MiB at its peak; compiling at most {} MiB",
        own / MIB,
        host.peak() / MIB,
        child / MIB
    ));
    Ok(report)
}

/// Each is refused by name with the reason, and what runs goes on.
async fn no_plugins(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let host = stage.host(&work("work", "")).await?;
    let module = wat::parse_str("(module)")?;
    let file = stage.plugins.join("probe.wasm");
    let files: &[(&[u8], &str)] = &[
        (policies::STEP, "it is a policy, and is used as a handler"),
        (b"\0asm\x0d\0\x01\0", "it exports neither tidegate:plugin/handler nor"),
        (probes::OTHER_VERSION, "it was built for tidegate:plugin@0.2.0"),
        (probes::UNKNOWN_IMPORT, "it imports probe:unknown/secrets@1.0.0"),
        (&module, "it is a core module, not a component"),
        (b"fn main() {}", "it is text, not a component"),
        (b"\x7fELF\x02\x01\x01\0", "it is not WebAssembly"),
        (b"", "it is empty"),
    ];
    let said = async |said: &str| host.says(&["probe.wasm", said], form.patience()).await.is_ok();
    for (bytes, reason) in files {
        put_old(&stage.plugins, "probe", bytes)?;
        report.injected();
        report.must(said(reason).await, format!("refused with `{reason}`"));
        ledger.publish(50, |_| String::new()).await?;
    }
    std::fs::remove_file(&file)?;
    std::fs::create_dir(&file)?;
    report.injected();
    report.must(said("it is not a file").await, "a directory is refused");
    std::fs::remove_dir(&file)?;
    symlink("/nowhere", &file)?;
    report.injected();
    report.must(said("it is a link that leads nowhere").await, "a dangling link is refused");
    ledger.publish(50, |_| String::new()).await?;
    std::fs::remove_file(&file)?;
    stage.install("probe", probes::WORKER_V2)?;
    report.must(said(&format!("generation={}", generation(probes::WORKER_V2))).await, "a good one is taken afterwards");
    stage.settled("work", form.patience()).await?;
    report.count(&ledger.audit().await?);
    report.must(host.is_running(), "the host lives");
    Ok(report)
}
