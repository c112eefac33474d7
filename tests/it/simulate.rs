//! Policies simulated, by the program and through the real components.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tidegate_artifacts::policies;

use crate::support::cli::{Ended, Running, run, tidegate};
use crate::support::host::{install, plugins};

const GENERATED: [&str; 6] = ["--generate", "poisson:20", "--duration", "5m", "--service", "exponential:100ms"];

async fn simulate(dir: &Path, policies: &[&str], more: &[&str]) -> Ended {
    let mut arguments = vec!["simulate".to_owned()];
    for policy in policies {
        arguments.extend(["--policy".to_owned(), dir.join(format!("{policy}.wasm")).display().to_string()]);
    }
    arguments.extend(more.iter().map(|more| (*more).to_owned()));
    run(arguments).await
}

#[tokio::test]
async fn real_policies_side_by_side_and_the_same_seed_gives_the_same() {
    let plugins = plugins();
    let settings = ["--policy-setting", "fixed.workers=4", "--output", "json"];
    let more: Vec<&str> = GENERATED.into_iter().chain(settings).collect();
    let first = simulate(plugins.path(), &["fixed", "step"], &more).await;
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let report: Value = serde_json::from_str(&first.stdout).unwrap();
    let [fixed, step] = report["policies"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((&fixed["name"], &step["name"]), (&Value::from("fixed"), &Value::from("step")));
    assert_eq!((&fixed["peak_workers"], &step["peak_workers"]), (&Value::from(4), &Value::from(1)));
    // Four workers for five minutes, and the little that the last message takes longer.
    let seconds = fixed["worker_seconds"].as_f64().unwrap();
    assert!((1199.0..1210.0).contains(&seconds), "{seconds}");
    let bound = report["bound"]["worker_seconds"].as_f64().unwrap();
    assert!((fixed["ratio_to_bound"].as_f64().unwrap() - seconds / bound).abs() < 1e-9);
    assert!(step["over_slo"].as_f64().unwrap() > 0.5 && fixed["over_slo"].as_f64().unwrap() < 0.01, "{report}");
    assert_eq!(simulate(plugins.path(), &["fixed", "step"], &more).await.stdout, first.stdout);
}

#[tokio::test]
async fn a_picture_is_written_whole_and_a_table_marks_who_misses() {
    let (plugins, dir) = (plugins(), tempfile::tempdir().unwrap());
    let picture = dir.path().join("day.svg");
    let plot = ["--plot", picture.to_str().unwrap()];
    let more: Vec<&str> = GENERATED.into_iter().chain(plot).collect();
    let ended = simulate(plugins.path(), &["step"], &more).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("MISSED") && ended.stdout.contains("lower bound"), "{}", ended.stdout);
    assert!(ended.stdout.contains("arrivals  |") && ended.stdout.contains("0 to 1 workers"), "{}", ended.stdout);
    assert!(std::fs::read_to_string(&picture).unwrap().ends_with("</svg>\n"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    // What a link leads to is written, and the link stays.
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    std::fs::write(&real, "before").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let more: Vec<&str> = GENERATED.into_iter().chain(["--plot", link.to_str().unwrap()]).collect();
    assert_eq!(simulate(plugins.path(), &["step"], &more).await.code, Some(0));
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(std::fs::read_to_string(&real).unwrap().ends_with("</svg>\n"));
}

#[tokio::test]
async fn what_cannot_be_used_is_told_and_nothing_is_written() {
    let (plugins, dir) = (plugins(), tempfile::tempdir().unwrap());
    let simulate = async |policy: &str, more: &[&str]| simulate(plugins.path(), &[policy], more).await;
    simulate("nix", &GENERATED).await.failed_with(1, &["nix.wasm: there is no such file", "the directory has"]);
    simulate("probe", &GENERATED)
        .await
        .failed_with(1, &["probe.wasm: it is a handler, and is used as a policy; name a policy instead"]);
    let wrong: Vec<&str> = GENERATED.into_iter().chain(["--policy-setting", "wurkers=2"]).collect();
    simulate("fixed", &wrong)
        .await
        .failed_with(1, &["fixed refuses its settings: wurkers", "there is no such setting"]);
    let trace = dir.path().join("bad.csv");
    std::fs::write(&trace, "second,arrivals\n0,1\n0,2\n").unwrap();
    let (trace, picture) = (trace.to_str().unwrap(), dir.path().join("a.svg"));
    let more = ["--trace", trace, "--plot", picture.to_str().unwrap()];
    simulate("fixed", &more).await.failed_with(1, &["bad.csv:3: second 0 comes twice"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    simulate("fixed", &[]).await.failed_with(2, &["--trace <FILE>", "--generate <KIND>"]);
    let endless = ["--generate", "poisson:1e6", "--duration", "1000000h"];
    simulate("fixed", &endless).await.failed_with(2, &["--duration <TIME>", "it must be at most 366days"]);
    let directory: Vec<&str> = GENERATED.into_iter().chain(["--plot", "/"]).collect();
    simulate("fixed", &directory).await.failed_with(1, &["--plot: cannot write /: it is a directory"]);
    let slow: Vec<&str> = GENERATED.into_iter().chain(["--start-delay", "10000000000h"]).collect();
    simulate("fixed", &slow).await.failed_with(2, &["--start-delay <TIME>", "it must be at most 10days"]);
    let live: Vec<&str> = GENERATED.into_iter().chain(["--live", "10", "--max", "20000"]).collect();
    simulate("fixed", &live).await.failed_with(1, &["--live: a host runs 10000 workers at most; lower --max"]);
    simulate("fixed", &["--trace", "/dev/zero"])
        .await
        .failed_with(1, &["/dev/zero: it has more than 512 MiB; a trace"]);
}

#[tokio::test]
async fn a_live_run_draws_the_picture_too() {
    let (plugins, dir) = (plugins(), tempfile::tempdir().unwrap());
    let picture = dir.path().join("live.svg");
    let live = ["--generate", "constant:20", "--duration", "10s", "--min", "2", "--live", "2", "--slo-ms", "1000"];
    let more: Vec<&str> = live.into_iter().chain(["--plot", picture.to_str().unwrap()]).collect();
    // Whether it is as foretold is the machine's business.
    let ended = simulate(plugins.path(), &["fixed"], &more).await;
    assert!(ended.stdout.contains("foretold"), "{}", ended.said());
    assert!(std::fs::read_to_string(&picture).unwrap().ends_with("</svg>\n"));
}

#[tokio::test]
async fn workers_that_start_slowly_stand_by_for_the_bursts_that_were_seen() {
    let (plugins, dir) = (plugins(), tempfile::tempdir().unwrap());
    install(plugins.path(), "objective", policies::OBJECTIVE);
    let trace = dir.path().join("minutes.csv");
    let row = |second: u32| format!("{second},{}\n", if second % 60 < 10 { 100 } else { 10 });
    std::fs::write(&trace, "second,arrivals\n".to_owned() + &(0..7_200).map(row).collect::<String>()).unwrap();
    let more = ["--trace", trace.to_str().unwrap(), "--service", "exponential:200ms", "--start-delay", "5s"];
    let settings = ["--policy-setting", "objective.start-delay=5s", "--policy-setting", "objective-2.start-delay=5s"];
    let without = ["--policy-setting", "objective-2.burst-memory=0s", "--output", "json"];
    let more: Vec<&str> = more.into_iter().chain(settings).chain(without).collect();
    let ended = simulate(plugins.path(), &["objective", "objective"], &more).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let of = |policy: usize, key: &str| report["policies"][policy][key].as_f64().unwrap();
    assert!(of(0, "over_slo") < 0.01 && of(1, "over_slo") > 0.3, "{report}");
    assert!(of(0, "worker_seconds") < 2.0 * of(1, "worker_seconds"), "{report}");
}

#[tokio::test]
async fn an_outage_is_told_with_the_breaker_and_without() {
    let plugins = plugins();
    let outage = ["--outage", "60s..120s", "--breaker-ratio", "0.5", "--min", "4"];
    let more: Vec<&str> = GENERATED.into_iter().chain(outage).collect();
    let ended = simulate(plugins.path(), &["step"], &[&more[..], &["--output", "json"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let [with, without] = report["policies"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((&with["name"], &without["name"]), (&"step".into(), &"step, no breaker".into()));
    let of = |row: &Value, key: &str| row["outage"][key].as_f64().unwrap();
    assert!(of(with, "calls") * 4.0 < of(without, "calls"), "{report}");
    assert!(of(with, "most_attempts") < of(without, "most_attempts"), "{report}");
    let table = simulate(plugins.path(), &["step"], &more).await.stdout;
    assert!(table.contains("calls in it") && table.contains("step, no breaker"), "{table}");
    let csv = simulate(plugins.path(), &["step"], &[&more[..], &["--output", "csv"]].concat()).await.stdout;
    let columns: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    // The name of the second is in quotation marks, for it has a comma.
    assert_eq!(columns, [21, 21, 22], "{csv}");
    // Without an outage there is nothing of the kind.
    let none = simulate(plugins.path(), &["step"], &[&GENERATED[..], &["--output", "json"]].concat()).await.stdout;
    assert!(!none.contains("outage") && none.contains("step"), "{none}");
    let wrong: Vec<&str> = GENERATED.into_iter().chain(["--outage", "2m..1m"]).collect();
    simulate(plugins.path(), &["step"], &wrong).await.failed_with(2, &["--outage", "it must end after it begins"]);
    let alone: Vec<&str> = GENERATED.into_iter().chain(["--per-key-max-in-flight", "2"]).collect();
    simulate(plugins.path(), &["step"], &alone).await.failed_with(2, &["--keys"]);
}

#[tokio::test]
async fn a_live_run_that_is_interrupted_ends_its_workload_before_its_server() {
    let plugins = plugins();
    let policy = plugins.path().join("fixed.wasm").display().to_string();
    let live = ["--generate", "constant:10", "--duration", "10m", "--live", "1", "--log", "info"];
    let mut running = Running::start(tidegate(["simulate", "--policy", &policy].iter().chain(&live)));
    running.line_with("worker started").await;
    running.signal(Signal::TERM);
    let ended = running.end().await;
    ended.failed_with(1, &["interrupted"]);
    assert!(!ended.stderr.contains("lost the NATS server"), "{}", ended.stderr);
}
