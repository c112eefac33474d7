//! A machine that gives little: memory mappings, address space, descriptors, room on the disk of the cache.

use anyhow::Result;
use rustix::process::Resource;
use tidegate_test_artifacts::probes;

use crate::ledger::Ledger;
use crate::patience::within;
use crate::plugins::generation;
use crate::resources::Small;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, with, work};

pub(crate) const ROWS: &[Row] = &[row!(47, "small machine", small_machine)];

/// Memories of the guest that takes most of the mappings.
const MEMORIES: usize = 98;

async fn small_machine(form: Form) -> Result<Report> {
    let mut report = Report::new();
    mappings(form, &mut report).await?;
    if form.long {
        most_workers(form, &mut report).await?;
    }
    address_space(form, &mut report).await?;
    descriptors_and_disk(form, &mut report).await?;
    Ok(report)
}

/// A handler with many memories that does nothing.
fn memories() -> Result<Vec<u8>> {
    let more = "(memory 1)".repeat(MEMORIES - 1);
    let core = format!(
        r#"(memory (export "memory") 1) {more}
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
           (func (export "handle") (param i32 i32 i32 i32 i32 i32 i64 i32 i64 i32) (result i32) (i32.const 0))"#
    );
    let text = include_str!("../guests/handler.wat");
    let text = text.replace("CORE", &core).replace("IMPORTS", "").replace("WITH", "").replace("VERSION", "0.1.0");
    Ok(wat::parse_str(text)?)
}

/// A guest that takes as many mappings as it gets, and a neighbour that wants a hundred workers.
async fn mappings(form: Form, report: &mut Report) -> Result<()> {
    let limit: usize = std::fs::read_to_string("/proc/sys/vm/max_map_count")?.trim().parse()?;
    if limit > 100_000 {
        report.note(format!("mappings: this machine gives {limit}, too many to take"));
        return Ok(());
    }
    let stage = Stage::one().await?;
    stage.install("memories", &memories()?)?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let hungry = "handler = 'memories'\npolicy-settings.workers = '240'\nscale.max = 240\nlimits.instances = 100";
    let wide = "policy-settings.workers = '100'\nscale.max = 100";
    let mut host = stage.host(&with(work("hungry", hungry), work("work", wide))).await?;
    report.injected();
    host.says(&["there is room for", "workload=hungry", "vm.max_map_count"], form.patience()).await?;
    let started = async || host.logged(&["worker started", "workload=work "]) >= 100;
    within(form.patience(), "the neighbour has its hundred workers", started).await?;
    ledger.publish(form.pick(2_000, 100_000), |_| String::new()).await?;
    stage.settled("work", form.patience()).await?;
    report.must(host.is_running(), "the host lives with a guest of many memories");
    let taken = host.mappings();
    report.must(taken < limit, format!("{taken} of {limit} mappings"));
    report.must(host.logged(&["ended by itself"]) == 0, "no worker ends for want of room");
    report.count(&ledger.audit().await?);
    report.note(format!("{taken} of {limit} mappings"));
    host.stop().await
}

/// As many workers as a configuration may ask for: as many as there is room for work, and the host lives.
async fn most_workers(form: Form, report: &mut Report) -> Result<()> {
    let limit: usize = std::fs::read_to_string("/proc/sys/vm/max_map_count")?.trim().parse()?;
    if limit > 100_000 {
        return Ok(());
    }
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let over = "policy-settings.workers = '10000'\nscale.max = 10000";
    let mut host = stage.host(&work("work", over)).await?;
    report.injected();
    host.says(&["there is room for", "vm.max_map_count"], form.patience()).await?;
    ledger.publish(100_000, |_| String::new()).await?;
    stage.settled("work", form.patience()).await?;
    report.must(host.is_running(), "the host lives with as many workers as there is room for");
    let (workers, taken) = (host.logged(&["worker started"]), host.mappings());
    report.must(taken < limit, format!("{taken} of {limit} mappings"));
    report.must(host.logged(&["ended by itself"]) == 0, "no worker ends for want of room");
    report.must(host.logged(&["works again"]) == 0, "that there is no room for all is told once");
    report.count(&ledger.audit().await?);
    report.note(format!("{workers} workers of 10,000, {taken} of {limit} mappings"));
    host.stop().await
}

/// `ulimit -v`: fewer workers than are wanted, and as many as that as soon as it is lifted.
async fn address_space(form: Form, report: &mut Report) -> Result<()> {
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let config = stage.config(&work("work", "policy-settings.workers = '8'"));
    // In KiB.
    let mut host = stage.launch_under(&format!("-S -v {}", 16 << 20), &config)?;
    host.ready(1).await?;
    report.injected();
    host.says(&["there is room for", "ulimit -v"], form.patience()).await?;
    ledger.publish(form.pick(500, 20_000), |_| String::new()).await?;
    stage.settled("work", form.patience()).await?;
    report.must(host.is_running(), "the host lives in a small address space");
    let few = host.logged(&["worker started"]);
    report.must((1..8).contains(&few), format!("{few} workers in 16 GiB of address space"));
    host.limit(Resource::As, None)?;
    let started = async || host.logged(&["worker started"]) >= 8;
    report.recovered(within(form.patience(), "all workers are there", started).await?);
    host.says(&["works again", "part=workers"], form.patience()).await?;
    report.count(&ledger.audit().await?);
    report.note(format!("{few} workers in 16 GiB of address space, 8 without a bound"));
    host.stop().await
}

/// A plugin that is replaced while there are no descriptors to compile it with, and while there is no room for what is
/// compiled: in use as soon as there are.
async fn descriptors_and_disk(form: Form, report: &mut Report) -> Result<()> {
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let disk = Small::mount();
    let cache = match &disk {
        Ok(disk) => disk.path().join("cache"),
        Err(_) => stage.plugins.with_file_name("cache"),
    };
    let cached = toml::from_str(&format!("plugins.cache = {cache:?}"))?;
    let mut host = stage.host(&with(work("work", ""), cached)).await?;
    let (first, second) = (probes::WORKER_V1, probes::WORKER_V2);
    let loaded = |bytes: &[u8]| host.logged(&["loaded ", "probe.wasm", &format!("generation={}", generation(bytes))]);
    host.limit(Resource::Nofile, Some(host.descriptors() + 1))?;
    stage.install("probe", second)?;
    report.injected();
    host.says(&["probe.wasm", "stays"], form.patience()).await?;
    report.must(loaded(second) == 0, "a plugin is compiled without descriptors");
    host.limit(Resource::Nofile, None)?;
    report.recovered(within(form.patience(), "it is loaded", async || loaded(second) == 1).await?);
    match &disk {
        Ok(disk) => {
            let third = memories()?;
            let ballast = disk.path().join("ballast");
            // Fills what is left, and fails then.
            let _ = std::fs::write(&ballast, vec![0; 8 << 20]);
            stage.install("probe", &third)?;
            report.injected();
            host.says(&["cannot be kept", "it will be tried again"], form.patience()).await?;
            std::fs::remove_file(&ballast)?;
            report.recovered(within(form.patience(), "it is loaded", async || loaded(&third) == 1).await?);
        }
        Err(error) => report.note(format!("a file system of 8 MiB cannot be mounted: {error:#}")),
    }
    let before = loaded(first);
    stage.install("probe", first)?;
    within(form.patience(), "the first is loaded again", async || loaded(first) > before).await?;
    ledger.publish(form.pick(100, 1_000), |_| String::new()).await?;
    stage.settled("work", form.patience()).await?;
    report.must(host.is_running(), "the host lives");
    report.count(&ledger.audit().await?);
    host.stop().await
}
