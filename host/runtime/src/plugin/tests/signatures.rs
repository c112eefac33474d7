//! Plugins that must be signed.

use std::path::Path;
use std::time::Duration;

use nkeys::KeyPair;
use tidegate_test_artifacts::probes;

use super::directory::{logged, next, put};
use super::{Logged, limits};
use crate::config::{Compile, Origin, Plugins};
use crate::plugin::load::FileContent;
use crate::plugin::{Directory, HandlerPlugin, HandlerWatch, PluginHost, PluginRefusal};
use crate::signature::{SignatureError, Signer};

fn signer() -> Signer {
    Signer::of_seed(&KeyPair::new_user().seed().unwrap()).unwrap()
}

fn signature(signer: &Signer, bytes: &[u8]) -> String {
    signer.sign(&FileContent::new("probe", bytes.to_vec()).generation.digest).unwrap().to_string()
}

/// A directory where these must have signed, with compiled code kept in `cache`.
fn plugins(dir: &Path, cache: &Path, trusted: &[&Signer]) -> Plugins {
    let trusted = trusted.iter().map(|signer| signer.public_key()).collect();
    let (rescan, cache) = (Duration::from_millis(20), Some(cache.to_owned()));
    Plugins {
        dir: dir.to_owned(),
        rescan,
        cache,
        compile: Compile::default(),
        origin: Origin { trusted, ..Origin::default() },
    }
}

fn start(plugins: &Plugins) -> Directory {
    Directory::start(PluginHost::start(plugins).unwrap(), plugins)
}

async fn until_in_order(directory: &Directory) {
    while directory.plugins()[0].problem.is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_that_nobody_trusted_has_signed_is_refused_and_what_runs_stays() {
    let log = Logged::start();
    let (dir, cache, signer, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), signer(), signer());
    put(dir.path(), "probe.wasm.sig", signature(&signer, probes::WORKER_V1).as_bytes());
    put(dir.path(), "probe.wasm", probes::WORKER_V1);
    let directory = start(&plugins(dir.path(), cache.path(), &[&signer]));
    let mut watch: HandlerWatch = directory.watch("probe", &limits());
    let first = next(&mut watch).await;
    put(dir.path(), "probe.wasm", probes::WORKER_V2);
    logged(&log, "is of other content").await;
    put(dir.path(), "probe.wasm.sig", signature(&other, probes::WORKER_V2).as_bytes());
    logged(&log, &format!("is signed by {}, which plugins.trusted does not name", other.public_key())).await;
    put(dir.path(), "probe.wasm.sig", &vec![b'x'; 10 << 20]);
    logged(&log, "is larger than a signature is").await;
    std::fs::remove_file(dir.path().join("probe.wasm.sig")).unwrap();
    logged(&log, "it is not signed").await;
    std::fs::create_dir(dir.path().join("probe.wasm.sig")).unwrap();
    logged(&log, "is not a file").await;
    assert!(!watch.has_changed());
    for told in log.with("refused") {
        assert!(told.contains("probe.wasm") && told.contains(&format!("{first} stays in use")), "{told}");
    }
    std::fs::remove_dir(dir.path().join("probe.wasm.sig")).unwrap();
    put(dir.path(), "probe.wasm.sig", signature(&signer, probes::WORKER_V2).as_bytes());
    assert_ne!(next(&mut watch).await, first);
    until_in_order(&directory).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_signature_may_come_before_its_file_and_after_it() {
    let log = Logged::start();
    let (dir, cache, signer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), signer());
    let directory = start(&plugins(dir.path(), cache.path(), &[&signer]));
    let mut watch: HandlerWatch = directory.watch("probe", &limits());
    // Written just now, as tools write.
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("probe.wasm", probes::WORKER_V1);
    logged(&log, "may be half written").await;
    let whole = signature(&signer, probes::WORKER_V1);
    write("probe.wasm.sig", &whole.as_bytes()[..whole.len() / 2]);
    write("probe.wasm.sig", whole.as_bytes());
    let first = next(&mut watch).await;
    write("probe.wasm.sig", signature(&signer, probes::WORKER_V2).as_bytes());
    write("probe.wasm", probes::WORKER_V2);
    assert_ne!(next(&mut watch).await, first);
    until_in_order(&directory).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_running_plugin_whose_signature_is_replaced_is_not_loaded_anew_and_told_if_it_is_not_trusted() {
    let log = Logged::start();
    let (dir, cache, one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), signer(), signer());
    put(dir.path(), "probe.wasm.sig", signature(&one, probes::WORKER_V1).as_bytes());
    put(dir.path(), "probe.wasm", probes::WORKER_V1);
    let directory = start(&plugins(dir.path(), cache.path(), &[&one]));
    let mut watch: HandlerWatch = directory.watch("probe", &limits());
    next(&mut watch).await;
    put(dir.path(), "probe.wasm.sig", signature(&other, probes::WORKER_V1).as_bytes());
    logged(&log, "refused").await;
    assert!(directory.plugins()[0].problem.as_ref().unwrap().contains(&other.public_key()));
    put(dir.path(), "probe.wasm.sig", signature(&one, probes::WORKER_V1).as_bytes());
    until_in_order(&directory).await;
    assert!(!watch.has_changed());
    assert_eq!(directory.plugins()[0].loaded, 1);
}

#[tokio::test]
async fn compiled_code_in_the_cache_is_no_way_around_a_signature() {
    let (dir, cache, signer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), signer());
    put(dir.path(), "probe.wasm", probes::WORKER_V1);
    let file = dir.path().join("probe.wasm");
    let load = async |trusted: &[&Signer]| {
        let host = PluginHost::start(&plugins(dir.path(), cache.path(), trusted)).unwrap();
        host.load(&file, &limits()).await.map(|_: HandlerPlugin| ()).map_err(|error| error.refusal)
    };
    load(&[]).await.unwrap();
    let refusal = load(&[&signer]).await.unwrap_err();
    assert!(matches!(refusal, PluginRefusal::Signature(SignatureError::Unsigned)), "{refusal}");
    put(dir.path(), "probe.wasm.sig", signature(&signer, probes::WORKER_V2).as_bytes());
    let refusal = load(&[&signer]).await.unwrap_err();
    assert!(matches!(refusal, PluginRefusal::Signature(SignatureError::OtherContent(_))), "{refusal}");
    put(dir.path(), "probe.wasm.sig", signature(&signer, probes::WORKER_V1).as_bytes());
    load(&[&signer]).await.unwrap();
}
