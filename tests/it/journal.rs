//! What a host writes down of its decisions, and what `tidegate replay` makes of it.

mod in_a_stream;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_artifacts::policies;
use tidegate_runtime::config::JournalFile;
use tidegate_runtime::config::{Config, JournalConfig, JournalStream, Limits, ShadowConfig, Workload};
use tidegate_runtime::events::Event;
use tidegate_test_artifacts::probes;

use crate::support::cli::{Ended, Running, run, tidegate};
use crate::support::eventually;
use crate::support::host::{Host, install, policy, workload};
use crate::support::site::Site;
use crate::support::web::get;

/// A host that writes a journal.
async fn host(site: Arc<Site>, file: &Path, workloads: Vec<Workload>) -> Host {
    let options = JournalFile { path: file.to_owned(), max_size: 64 << 20, keep: 4 };
    let journal = JournalConfig { file: Some(options), stream: None };
    let count = workloads.len();
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(site.clone(), Config { journal, http, workloads, ..site.config() });
    host.ready(count).await;
    host
}

/// A metric's value, by its name and its labels.
async fn metric(host: &Host, metric: &str) -> u64 {
    let listening = |event: &Event| matches!(event, Event::Listening { .. });
    let Some(Event::Listening { address }) = host.events().into_iter().find(listening) else { panic!("no address") };
    let (_, metrics) = get(&address.to_string(), "/metrics").await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {metric}")).parse().unwrap()
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // The last one may be half written.
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// The decisions of one workload in one role.
fn decisions(file: &Path, of: &str, role: &str) -> Vec<Value> {
    let is = |line: &Value| line["event"] == "decide" && line["workload"] == of && line["role"] == role;
    lines(file).into_iter().filter(is).collect()
}

async fn decided(file: &Path, of: &str, role: &str, count: usize) {
    eventually(&format!("{count} decisions of {of}"), async || decisions(file, of, role).len() >= count).await;
}

async fn replay(file: &Path, plugins: &Path, more: &[&str]) -> Ended {
    let mut arguments = vec!["replay", "--journal", file.to_str().unwrap(), "--plugins", plugins.to_str().unwrap()];
    arguments.extend(more);
    run(arguments).await
}

/// A copy of the journal with one line changed.
fn changed(file: &Path, change: impl FnOnce(&mut Vec<Value>)) -> (TempDir, PathBuf) {
    let mut all = lines(file);
    change(&mut all);
    let dir = TempDir::new().unwrap();
    let copy = dir.path().join("changed.jsonl");
    let text: String = all.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&copy, text).unwrap();
    (dir, copy)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_code_decides_the_same_again_bit_for_bit() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("j");
    let site = Site::new().await;
    let modes = ["random", "clock", "third"];
    let mut workloads =
        vec![policy(workload("real"), "backlog", &[("pending-per-worker", "2"), ("cooldown", "100ms")])];
    workloads.extend(modes.map(|mode| policy(workload(mode), "probe-policy", &[("mode", mode), ("desired", "1")])));
    let host = host(site.clone(), &file, workloads).await;
    for _ in 0..9 {
        host.publish("in.real.a", "sleep 300").await;
    }
    host.settled("real").await;
    decided(&file, "real", "live", 5).await;
    for mode in modes {
        decided(&file, mode, "live", 7).await;
    }
    // A newer version takes over with the state of the one before.
    site.install("backlog", policies::BACKLOG);
    let (site, _) = host.stop().await;

    let real = decisions(&file, "real", "live");
    let up = real.iter().find(|line| line["workers"]["to"].as_u64().unwrap() > 1).expect("it scaled up");
    assert!(up["decision"]["reason"].as_str().unwrap().starts_with("backlog "), "{up}");
    assert_eq!(up["policy"]["name"], "backlog");
    assert_eq!(up["settings"]["pending-per-worker"], "2");
    assert!(up["observation"]["arrival-rate"].as_f64().unwrap() >= 0.0);
    assert!(decisions(&file, "third", "live").iter().any(|line| line["fault"]["kind"] == "trap"));
    let said = replay(&file, site.plugins.path(), &[]).await;
    assert_eq!(said.code, Some(0), "{}", said.said());
    assert!(said.stdout.contains("are the same, bit for bit"), "{}", said.stdout);

    // Each is told the state that the one before left, which is its own where it did not answer.
    for of in ["real", "random", "clock", "third"] {
        for pair in decisions(&file, of, "live").windows(2) {
            let left = if pair[0]["fault"].is_null() { &pair[0]["decision"]["state"] } else { &pair[0]["state"] };
            assert_eq!(pair[1]["state"]["digest"], left["digest"], "{pair:?}");
        }
    }

    let x = json!({
        "digest": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        "bytes": "eA==",
    });
    for (part, value, shown) in
        [("desired", json!(77), "77"), ("reason", json!("another"), "\"another\""), ("state", x.clone(), "\"x\"")]
    {
        let (_dir, copy) = changed(&file, |all| {
            let line = all.iter_mut().rfind(|line| line["event"] == "decide" && line["workload"] == "real").unwrap();
            line["decision"][part] = value.clone();
        });
        let said = replay(&copy, site.plugins.path(), &["--workload", "real"]).await;
        assert_eq!(said.code, Some(1), "{}", said.said());
        assert!(said.stdout.contains(&format!("- {part} {shown}\n+ {part} ")), "{}", said.stdout);
    }
    // Nor is a first state the same that begins with another one before it.
    let (_dir, copy) = changed(&file, |all| {
        let is = |line: &&Value| line["workload"] == "real" && line["decision"]["state"]["bytes"].is_string();
        let before = all.iter().rfind(is).unwrap()["decision"]["state"].clone();
        let init = all.iter_mut().find(|line| line["event"] == "init" && line["workload"] == "real").unwrap();
        init["previous"] = before;
    });
    let said = replay(&copy, site.plugins.path(), &["--workload", "real"]).await;
    assert_eq!(said.code, Some(1), "{}", said.said());
    assert!(said.stdout.contains("init of workload real") && said.stdout.contains("- state "), "{}", said.stdout);
    // One that was tried and not used has decided nothing.
    let (_dir, copy) = changed(&file, |all| {
        let mut tried = all.iter().find(|line| line["event"] == "init").unwrap().clone();
        tried["policy"]["generation"] = "another".into();
        tried.as_object_mut().unwrap().remove("state");
        tried["refusal"] = "no".into();
        all.push(tried);
    });
    let said = replay(&copy, site.plugins.path(), &[]).await;
    assert_eq!(said.code, Some(0), "{}", said.said());
    // Other code of the same name is not what decided.
    install(site.plugins.path(), "backlog", policies::STEP);
    let said = replay(&file, site.plugins.path(), &["--workload", "real"]).await;
    said.failed_with(1, &["backlog.wasm is generation", "was written by generation", "--policy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_spans_a_swap_is_verified_stretch_by_stretch() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("j");
    let count = policy(workload("count"), "probe-policy", &[("mode", "third"), ("desired", "1")]);
    let host = host(Site::new().await, &file, vec![count, workload("other")]).await;
    decided(&file, "count", "live", 4).await;
    let first = decisions(&file, "count", "live")[0]["policy"]["generation"].clone();
    host.site.install("probe-policy", probes::POLICY_V2);
    let of_the_second =
        || decisions(&file, "count", "live").iter().filter(|line| line["policy"]["generation"] != first).count();
    eventually("the second version decides", async || of_the_second() >= 4).await;
    let (site, _) = host.stop().await;
    let plugins = site.plugins.path();

    // Of the first version there is no file any more.
    let said = replay(&file, plugins, &[]).await;
    assert_eq!(said.code, Some(1), "{}", said.said());
    let shown = &first.as_str().unwrap()[..12];
    for part in [
        "not verified: ",
        "calls of workload count, ",
        &format!("has no probe-policy {shown}"),
        "are the same, bit for bit",
    ] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    let said = replay(&file, plugins, &["--output", "json"]).await;
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(answer["same"], false);
    assert_eq!(answer["unverified"].as_array().unwrap().len(), 1);
    assert_eq!(answer["unverified"][0]["policy"]["generation"], first);
    assert!(answer["unverified"][0]["calls"].as_u64().unwrap() >= 5 && answer["decisions"].as_u64().unwrap() >= 8);

    let old = dir.path().join("old.wasm");
    std::fs::write(&old, probes::POLICY_V1).unwrap();
    let (old, new, other) = (old.as_path(), plugins.join("probe-policy.wasm"), plugins.join("fixed.wasm"));
    let all = [old, &new, &other].map(|file| file.to_str().unwrap());
    let [old, new, other] = all.map(|file| ["--policy", file]);
    let said = replay(&file, plugins, &[old, new, other].concat()).await;
    assert_eq!(said.code, Some(0), "{}", said.said());
    let said = replay(&file, plugins, &[&[old, new].concat()[..], &["--workload", "count"]].concat()).await;
    assert_eq!(said.code, Some(0), "{}", said.said());
    // One that is not there is named, and so is one that decided nothing.
    let said = replay(&file, plugins, &[&[new, other].concat()[..], &["--workload", "count"]].concat()).await;
    assert_eq!(said.code, Some(1), "{}", said.said());
    assert!(said.stdout.contains(&format!("what --policy names has no probe-policy {shown}")), "{}", said.stdout);
    assert!(said.stderr.contains("decided nothing of it"), "{}", said.stderr);
    let more = ["--policy-setting", "mode=count"];
    replay(&file, plugins, &[&[old, new].concat()[..], &more].concat())
        .await
        .failed_with(1, &["is for one --policy; 2 are given"]);
    // In the plugin directory it is found under any name.
    install(plugins, "probe-policy-before", probes::POLICY_V1);
    let said = replay(&file, plugins, &[]).await;
    assert_eq!(said.code, Some(0), "{}", said.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_policy_is_shown_where_it_would_have_parted() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("j");
    let site = Site::new().await;
    let host = host(site, &file, vec![workload("one"), workload("two")]).await;
    decided(&file, "one", "live", 4).await;
    let (site, _) = host.stop().await;
    let plugins = site.plugins.path();
    let other = plugins.join("probe-policy.wasm");
    let other = other.to_str().unwrap();

    let said = replay(&file, plugins, &["--policy", other, "--policy-setting", "mode=count"]).await;
    said.failed_with(1, &["several workloads: one, two", "--workload"]);
    let asked = ["--policy", other, "--workload", "one"];
    let said = replay(&file, plugins, &[&asked[..], &["--policy-setting", "mode=nothing"]].concat()).await;
    said.failed_with(1, &["refuses its settings: mode = \"nothing\": must be one of", "--policy-setting"]);
    let said = replay(&file, plugins, &[&asked[..], &["--policy-setting", "mode=count"]].concat()).await;
    assert_eq!(said.code, Some(0), "{}", said.said());
    // It wants 1, 2, 3 workers where there was always one.
    assert!(said.stdout.contains("the same number of workers on 1 of "), "{}", said.stdout);
    assert!(said.stdout.contains("call 2"), "{}", said.stdout);
    let more = ["--policy-setting", "mode=count", "--output", "json"];
    let said = replay(&file, plugins, &[&asked[..], &more].concat()).await;
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((answer["same"].as_u64(), answer["other"]["name"].as_str()), (Some(1), Some("probe-policy")));
    assert_eq!(answer["stretches"][0]["other"]["workers"], 2);
    // The handler is no policy.
    let handler = plugins.join("probe.wasm");
    let said = replay(&file, plugins, &["--policy", handler.to_str().unwrap(), "--workload", "one"]).await;
    said.failed_with(1, &["probe.wasm", "it is a handler, and is used as a policy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_noted_and_changes_nothing_whatever_it_does() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("j");
    let shadow = |name: &str, mode: &str| {
        let settings = vec![("mode".to_owned(), mode.to_owned()), ("desired".to_owned(), "5".to_owned())];
        let shadow = Some(ShadowConfig { policy: "probe-policy".to_owned(), pin: None, settings });
        let work = workload(name);
        // Enough to spin for several ticks on any machine, however long that takes on a busy one.
        let limits = Limits { fuel: 10_000_000_000, time: Duration::from_secs(600), ..work.limits.clone() };
        Workload { shadow, limits: if mode == "spin" { limits } else { work.limits.clone() }, ..work }
    };
    let modes = ["fixed", "trap", "spin", "grow", "huge-state", "trap-in-init", "refuse"];
    let host = host(Site::new().await, &file, modes.map(|mode| shadow(mode, mode)).into()).await;
    for mode in modes {
        decided(&file, mode, "live", 10).await;
        host.publish(&format!("in.{mode}.a"), "ok").await;
        host.settled(mode).await;
    }
    decided(&file, "fixed", "shadow", 5).await;
    for (mode, kind) in [("trap", "trap"), ("spin", "fuel"), ("grow", "memory"), ("huge-state", "answer")] {
        eventually(&format!("the shadow's {kind}"), async || {
            decisions(&file, mode, "shadow").iter().any(|line| line["fault"]["kind"] == kind)
        })
        .await;
    }
    let of = |name: &str, mode: &str| format!("tidegate_shadow_{name}_total{{workload=\"{mode}\"}}");
    assert!(metric(&host, &of("decisions", "fixed")).await >= 5);
    assert!(metric(&host, &of("differences", "fixed")).await >= 5);
    assert!(metric(&host, &of("failures", "trap")).await > 0);
    // It is at one tick for longer than until the next.
    eventually("the shadow misses ticks", async || metric(&host, &of("missed", "spin")).await > 0).await;
    for mode in modes {
        // The live policy had its one worker from first to last.
        let scalings: Vec<_> = host.scalings(mode).into_iter().map(|(from, to, _)| (from, to)).collect();
        assert_eq!(scalings, [(0, 1)], "{mode}");
    }
    let (site, _) = host.stop().await;
    let init = |mode: &str| {
        let is = |line: &&Value| line["event"] == "init" && line["workload"] == mode && line["role"] == "shadow";
        lines(&file).iter().find(is).cloned().unwrap()
    };
    assert_eq!(init("trap-in-init")["fault"]["kind"], "trap");
    assert!(init("refuse")["refusal"].as_str().unwrap().contains("refuses to start"));
    assert!(decisions(&file, "refuse", "shadow").is_empty());

    // What the shadow decided can be replayed too, and compared with the live one's out of the journal alone.
    let said = replay(&file, site.plugins.path(), &[]).await;
    assert_eq!(said.code, Some(0), "{}", said.said());
    let said = replay(&file, site.plugins.path(), &["--shadow", "--workload", "fixed", "--output", "json"]).await;
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(answer["same"], 0, "{}", said.said());
    assert_eq!(answer["stretches"].as_array().unwrap().len(), 1);
    assert_eq!(answer["stretches"][0]["recorded"]["workers"], 1);
    assert_eq!(answer["stretches"][0]["other"]["workers"], 5);
    let said = replay(&file, site.plugins.path(), &["--shadow", "--workload", "refuse"]).await;
    said.failed_with(1, &["no decision of a shadow of workload refuse", "[workload.refuse.shadow]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_replayed_says_where_and_why() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("j");
    let host = host(Site::new().await, &file, vec![workload("work")]).await;
    decided(&file, "work", "live", 3).await;
    let (site, _) = host.stop().await;
    let plugins = site.plugins.path();
    let text = std::fs::read_to_string(&file).unwrap();
    let bad = dir.path().join("bad");
    for (text, parts) in [
        (
            text[..text.len() - 20].to_owned(),
            ["it is cut off: the file ends in the middle of it", "copy the whole file"],
        ),
        (text.replacen("\"journal\":1", "\"journal\":2", 1), ["bad:1: it has the form of version 2", "or a newer one"]),
        (
            text.lines().skip(2).map(|l| format!("{l}\n")).collect(),
            ["bad:1: the bytes of its state are not", "first line"],
        ),
        ("second,arrivals\n0,1\n".to_owned(), ["bad:1: it is not a line of a journal", "that a host wrote"]),
        (String::new(), ["is empty", "journal.path"]),
    ] {
        std::fs::write(&bad, text).unwrap();
        replay(&bad, plugins, &[]).await.failed_with(1, &parts);
    }
    let said = replay(&dir.path().join("none"), plugins, &[]).await;
    said.failed_with(1, &["none cannot be read", "No such file"]);
    // Nothing of it acts upon a terminal.
    let (_dir, copy) = changed(&file, |all| all[0]["policy"]["generation"] = json!("\u{1b}[2J"));
    let said = replay(&copy, plugins, &[]).await;
    assert_eq!(said.code, Some(1), "{}", said.said());
    assert!(
        said.stdout.contains("not verified: 1 calls of workload work") && said.stdout.contains("[2J"),
        "{}",
        said.stdout
    );
    assert!(!said.stdout.contains('\u{1b}'), "{:?}", said.stdout);
    std::fs::remove_file(plugins.join("fixed.wasm")).unwrap();
    replay(&file, plugins, &[]).await.failed_with(1, &["fixed.wasm"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow_is_told_and_ends_no_host() {
    let (site, dir) = (Site::new().await, TempDir::new().unwrap());
    site.stream("full", &["in.full.>"]).await;
    let journal = dir.path().join("j");
    let config = dir.path().join("tidegate.toml");
    let (url, plugins) = (&site.nats.servers[0], site.plugins.path());
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
    let text = format!(
        "nats.url = {url:?}\nplugins = {{ dir = {plugins:?}, cache = {cache:?} }}\njournal.path = {journal:?}\n\
         [workload.full]\nstream = \"full\"\nmanage = \"create\"\nhandler = \"probe\"\npolicy = \"fixed\"\n\
         scale.interval = \"50ms\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut host = Running::start(tidegate(["run", "--config", config.to_str().unwrap()]));
    decided(&journal, "full", "live", 1).await;
    let (pid, maximum) = (host.pid(), getrlimit(Resource::Fsize).maximum);
    let allow = |current| prlimit(Some(pid), Resource::Fsize, Rlimit { current, maximum }).unwrap();
    let before = allow(Some(1));
    let line = host.line_with("cannot write to the journal").await;
    assert!(line.contains("File too large"), "{line}");
    let decided_until_then = decisions(&journal, "full", "live").len();
    allow(before.current);
    host.line_with("lines of the journal are missing: its file could not be written, as was told").await;
    host.line_with("the journal's file is written again").await;
    decided(&journal, "full", "live", decided_until_then + 1).await;
    assert!(lines(&journal).iter().any(|line| line["event"] == "dropped"));
    host.signal(Signal::TERM);
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("does not keep up"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_arrivals_of_a_journal_can_be_simulated() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("j");
    let host = host(Site::new().await, &file, vec![workload("work")]).await;
    decided(&file, "work", "live", 1).await;
    for _ in 0..40 {
        host.publish("in.work.a", "ok").await;
    }
    host.settled("work").await;
    let counted = async || decisions(&file, "work", "live").iter().any(|line| line["arrivals"] == 40);
    eventually("all arrivals are written down", counted).await;
    let (site, _) = host.stop().await;
    let fixed = site.plugins.path().join("fixed.wasm");
    // What a shadow was told has come already.
    let (_dir, copy) = changed(&file, |all| {
        let mut shadow = all.last().unwrap().clone();
        shadow["role"] = json!("shadow");
        shadow["arrivals"] = json!(1000);
        shadow["observation"]["now-ms"] = json!(shadow["observation"]["now-ms"].as_u64().unwrap() + 1000);
        all.push(shadow);
    });
    let journal = copy.to_str().unwrap();
    let simulate = ["simulate", "--policy", fixed.to_str().unwrap(), "--journal", journal];
    let said = run([&simulate[..], &["--arrival-scale", "3", "--output", "json"]].concat()).await;
    assert_eq!(said.code, Some(0), "{}", said.said());
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(answer["trace"], journal);
    // 120 messages of a tenth of a second each, more or less.
    let work = answer["bound"]["worker_seconds"].as_f64().unwrap();
    assert!((8.0..17.0).contains(&work), "{work}");
    run([&simulate[..], &["--workload", "other"]].concat()).await.failed_with(1, &["of workload other; it has work"]);
    run([&simulate[..3], &[]].concat()).await.failed_with(2, &["--trace", "--journal", "--generate"]);
}
