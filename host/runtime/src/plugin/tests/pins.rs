//! Plugins that are pinned to the digest of their file.

use std::path::Path;
use std::time::Duration;

use tidegate_test_artifacts::probes;

use super::directory::{logged, next, put, start};
use super::{Logged, limits};
use crate::plugin::load::FileContent;
use crate::plugin::{Directory, HandlerWatch, Wanted};

const RESCAN: Duration = Duration::from_millis(20);

fn digest(bytes: &[u8]) -> String {
    FileContent::new("probe", bytes.to_vec()).generation.digest.whole().to_owned()
}

fn pinned(directory: &Directory, bytes: &[u8]) -> HandlerWatch {
    let wanted = Wanted { pin: Some(digest(bytes).into()), ..Wanted::default() };
    directory.watch_as("probe", &wanted, &limits())
}

fn probe(dir: &Path, bytes: &[u8]) {
    put(dir, "probe.wasm", bytes);
}

#[tokio::test(flavor = "current_thread")]
async fn other_content_than_the_pinned_is_refused_with_both_digests_and_what_runs_stays() {
    let log = Logged::start();
    let dir = tempfile::tempdir().unwrap();
    probe(dir.path(), probes::WORKER_V1);
    let directory = start(dir.path(), RESCAN);
    let mut watch = pinned(&directory, probes::WORKER_V1);
    let first = next(&mut watch).await;
    probe(dir.path(), probes::WORKER_V2);
    let (one, other) = (digest(probes::WORKER_V1), digest(probes::WORKER_V2));
    logged(&log, "refused").await;
    let told = log.with("refused")[0].clone();
    for part in ["probe.wasm", &format!("its digest is sha256:{other}"), &format!("pins probe@sha256:{one}")] {
        assert!(told.contains(part), "no {part} in {told}");
    }
    assert!(told.contains(&format!("generation {first} stays in use")), "{told}");
    let state = directory.plugins().remove(0);
    assert_eq!((state.generation, state.pin), (Some(one.as_str().into()), Some(one.as_str().into())));
    assert!(state.problem.unwrap().contains(&other));
    // What is put back is in use already.
    probe(dir.path(), probes::WORKER_V1);
    while directory.plugins()[0].problem.is_some() {
        tokio::task::yield_now().await;
    }
    assert!(!watch.has_changed());
    assert_eq!((directory.plugins()[0].loaded, log.with("refused").len()), (1, 1));
}

#[tokio::test(flavor = "current_thread")]
async fn a_workload_waits_until_the_pinned_file_is_there() {
    let log = Logged::start();
    let dir = tempfile::tempdir().unwrap();
    probe(dir.path(), probes::WORKER_V1);
    let directory = start(dir.path(), RESCAN);
    let (mut any, mut watch) = (directory.watch("probe", &limits()), pinned(&directory, probes::WORKER_V2));
    next(&mut any).await;
    logged(&log, "its workloads wait for another one").await;
    assert!(watch.current().is_none());
    probe(dir.path(), probes::WORKER_V2);
    // Who does not pin it takes it too.
    assert_eq!(next(&mut watch).await, next(&mut any).await);
}

#[tokio::test(flavor = "current_thread")]
async fn half_of_the_pinned_file_is_not_told_as_another_one() {
    use std::io::Write as _;
    let log = Logged::start();
    let dir = tempfile::tempdir().unwrap();
    let directory = start(dir.path(), RESCAN);
    let mut file = std::fs::File::create(dir.path().join("probe.wasm")).unwrap();
    let (head, tail) = probes::WORKER_V1.split_at(probes::WORKER_V1.len() / 2);
    file.write_all(head).unwrap();
    let mut watch = pinned(&directory, probes::WORKER_V1);
    logged(&log, "may be half written").await;
    file.write_all(tail).unwrap();
    drop(file);
    next(&mut watch).await;
    assert!(log.with("refused").is_empty());
}
