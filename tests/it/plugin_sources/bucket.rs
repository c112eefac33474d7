//! `plugins.bucket`: plugins in an object store.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::object_store::{Config, ObjectMetadata, ObjectStore};
use async_nats::jetstream::stream;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tidegate_artifacts::policies;
use tidegate_runtime::config::Plugins;
use tidegate_test_artifacts::probes;

use super::{Setup, digest};
use crate::connections::permissions;
use crate::support::cli::{Ended, Running, run, tidegate};
use crate::support::host::Host;
use crate::support::site::Site;
use crate::support::web::get;
use crate::support::{eventually, raw};

const BUCKET: &str = "TIDEGATE_PLUGINS";

/// A workload whose plugins come from the bucket.
async fn setup(site: &Arc<Site>, top: &str) -> Setup {
    let setup = Setup::new(site.clone(), &format!("plugins.bucket = \"{BUCKET}\"\n{top}"), "handler = \"probe\"").await;
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("plugins.dir")).collect();
    std::fs::write(setup.file(), lines.join("\n")).unwrap();
    setup
}

async fn plugin(setup: &Setup, words: &[&str]) -> Ended {
    run([&["plugin"], words, &["--config", &setup.file()]].concat()).await
}

/// Pushes this content under this name.
async fn push(setup: &Setup, name: &str, bytes: &[u8]) -> Ended {
    let file = setup.dir.path().join(format!("{name}.wasm"));
    std::fs::write(&file, bytes).unwrap();
    plugin(setup, &["push", file.to_str().unwrap()]).await
}

/// A bucket with the policy and this handler in it.
async fn pushed(setup: &Setup, handler: &[u8]) -> ObjectStore {
    for (name, bytes) in [("fixed", policies::FIXED), ("probe", handler)] {
        let ended = push(setup, name, bytes).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
    }
    setup.site.js.get_object_store(BUCKET).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_swap_to_what_is_pushed_and_one_that_comes_later_begins_with_it() {
    let site = Site::new().await;
    let setup = setup(&site, "").await;
    // There is no bucket yet: it is waited for, and told.
    let mut host = setup.host().await;
    let line = host.running.line_with("the plugin bucket is not watched").await;
    assert!(line.contains(BUCKET) && line.contains("it is not there; `tidegate plugin push` makes it"), "{line}");
    pushed(&setup, probes::WORKER_V1).await;
    host.uses("probe", probes::WORKER_V1).await;
    assert_eq!(host.version().await, "v1");
    let other = setup.host().await;
    other.uses("probe", probes::WORKER_V1).await;
    push(&setup, "probe", probes::WORKER_V2).await;
    host.uses("probe", probes::WORKER_V2).await;
    other.uses("probe", probes::WORKER_V2).await;
    assert_eq!(host.version().await, "v2");
    // What is removed goes on to run, and is told.
    let ended = plugin(&setup, &["remove", "probe"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    host.problem("probe", &["there is no such object", "tidegate plugin push"]).await;
    assert_eq!(host.version().await, "v2");
    assert_eq!(plugin(&setup, &["remove", "probe"]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_half_there_too_large_damaged_or_no_plugin_changes_nothing() {
    let site = Site::new().await;
    let setup = setup(&site, "plugins.max-size = \"1MiB\"").await;
    let store = pushed(&setup, probes::WORKER_V1).await;
    let host = setup.host().await;
    host.uses("probe", probes::WORKER_V1).await;
    // Chunks without a description are an upload that goes on, or has ended in the middle.
    for _ in 0..4 {
        let chunk = probes::WORKER_V2[..1024].to_vec();
        site.js.publish(format!("$O.{BUCKET}.C.half"), chunk.into()).await.unwrap().await.unwrap();
    }
    let put = async |bytes: &[u8]| drop(store.put("probe", &mut &*bytes).await.unwrap());
    put(b"<html>").await;
    host.problem("probe", &["it is text"]).await;
    put(&vec![0; 2 << 20]).await;
    host.problem("probe", &["it has 2097152 bytes, more than 1MiB"]).await;
    // A description of other content than its chunks have, and of chunks that are not there.
    let describe = async |change: &dyn Fn(&mut Value)| {
        put(probes::WORKER_V2).await;
        let mut info = serde_json::to_value(store.info("probe").await.unwrap()).unwrap();
        change(&mut info);
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Rollup", "sub");
        let payload = serde_json::to_vec(&info).unwrap();
        site.js.publish_with_headers(description("probe"), headers, payload.into()).await.unwrap().await.unwrap();
    };
    // The good one is pushed first each time, so the host runs it.
    describe(&|info| info["digest"] = "SHA-256=n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg=".into()).await;
    host.problem("probe", &["is not what its digest in the bucket says"]).await;
    describe(&|info| info["size"] = 9_000_000_000_u64.into()).await;
    host.problem("probe", &["it has 9000000000 bytes, more than 1MiB"]).await;
    describe(&|info| info["nuid"] = "nothing-has-this".into()).await;
    host.problem("probe", &["chunks the bucket has 0; push it again"]).await;
    let runs = host.version().await;
    assert!(runs == "v1" || runs == "v2", "{runs}");
    put(probes::WORKER_V1).await;
    host.uses("probe", probes::WORKER_V1).await;
    // What is no plugin is not pushed at all.
    push(&setup, "probe", b"<html>").await.failed_with(1, &["probe.wasm is not put there", "it is text"]);
    push(&setup, "probe", &vec![0; 2 << 20]).await.failed_with(1, &["2097152 bytes, more than 1MiB"]);
    host.uses("probe", probes::WORKER_V1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_a_link_or_is_not_described_is_told_by_name_and_changes_nothing() {
    let site = Site::new().await;
    let setup = setup(&site, "").await;
    pushed(&setup, probes::WORKER_V1).await;
    let mut host = setup.host().await;
    host.uses("probe", probes::WORKER_V1).await;
    let describe = async |text: &str| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Rollup", "sub");
        let payload = text.to_owned().into();
        site.js.publish_with_headers(description("probe"), headers, payload).await.unwrap().await.unwrap();
    };
    let link = |bucket: &str| {
        format!(r#"{{"name":"probe","bucket":"B","options":{{"link":{{"bucket":"{bucket}","name":"probe"}}}}}}"#)
    };
    let config = Config { bucket: "OTHER".to_owned(), ..Config::default() };
    let other = site.js.create_object_store(config).await.unwrap();
    other.put("probe", &mut &*probes::WORKER_V2).await.unwrap();
    let undescribed = "its description in the bucket cannot be read (";
    for (text, told) in [
        // In a circle, and to where other people may write.
        (link(BUCKET), "it is a link to probe of TIDEGATE_PLUGINS, and links are not followed; push the plugin"),
        (link("OTHER"), "it is a link to probe of OTHER, and links are not followed; push the plugin"),
        ("what?".to_owned(), undescribed),
        (r#"{"name":"probe","bucket":"B","size":-5}"#.to_owned(), undescribed),
    ] {
        describe(&text).await;
        host.problem("probe", &[told]).await;
        host.running.line_with(told).await;
        assert_eq!(host.version().await, "v1");
        let list = plugin(&setup, &["list"]).await;
        assert!(list.code == Some(0) && list.stdout.contains(&format!("refused: {told}")), "{}", list.said());
        let into = setup.dir.path().to_str().unwrap();
        for words in [&["show", "probe"][..], &["pin", "probe"], &["fetch", "probe", "--into", into]] {
            plugin(&setup, words).await.failed_with(1, &[told]);
        }
        let check = setup.check(&["--connect"]).await;
        check.failed_with(1, &[&format!("workload work: probe in the bucket {BUCKET}: {told}")]);
        assert!(!check.said().contains("there is no such object"), "{}", check.said());
        // One that starts lives, and waits for it.
        setup.host().await.problem("probe", &[told]).await;
    }
    // It can be removed, and replaced.
    let ended = plugin(&setup, &["remove", "probe"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    host.problem("probe", &["there is no such object"]).await;
    describe(&link(BUCKET)).await;
    push(&setup, "probe", probes::WORKER_V2).await;
    host.uses("probe", probes::WORKER_V2).await;
}

/// The subject of an object's description.
fn description(name: &str) -> String {
    format!("$O.{BUCKET}.M.{}", data_encoding::BASE64URL.encode(name.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_goes_without_a_word_is_noticed_and_told() {
    let site = Site::new().await;
    let setup = setup(&site, "").await;
    pushed(&setup, probes::WORKER_V1).await;
    let host = setup.host().await;
    host.uses("probe", probes::WORKER_V1).await;
    // As a limit of the stream removes it: with nothing that says so.
    let stream = site.js.get_stream(format!("OBJ_{BUCKET}")).await.unwrap();
    stream.purge().filter(description("probe")).await.unwrap();
    host.problem("probe", &["there is no such object", "tidegate plugin push"]).await;
    assert_eq!(host.version().await, "v1");
    let list = plugin(&setup, &["list"]).await;
    assert!(list.stdout.contains("fixed  ") && !list.stdout.contains("probe  "), "{}", list.said());
    push(&setup, "probe", probes::WORKER_V2).await;
    host.uses("probe", probes::WORKER_V2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_in_which_plugins_do_not_stay_is_told_at_the_start_and_by_check() {
    let site = Site::new().await;
    let setup = setup(&site, "").await;
    pushed(&setup, probes::WORKER_V1).await;
    let stream = site.js.get_stream(format!("OBJ_{BUCKET}")).await.unwrap();
    let hour = stream::Config { max_age: Duration::from_secs(3600), ..stream.cached_info().config.clone() };
    site.js.update_stream(hour).await.unwrap();
    let told = "gone after 1h (max_age), and a host that starts then waits for them; `nats stream edit \
                OBJ_TIDEGATE_PLUGINS --max-age=0s`";
    let mut host = setup.host().await;
    let line = host.running.line_with("plugins do not stay in the plugin bucket").await;
    assert!(line.contains(BUCKET) && line.contains(told), "{line}");
    host.uses("probe", probes::WORKER_V1).await;
    let check = setup.check(&["--connect"]).await;
    let warning = "warning: the plugin bucket TIDEGATE_PLUGINS: plugins that were put there are";
    assert!(check.code == Some(0) && check.stdout.contains(&format!("{warning} {told}")), "{}", check.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_removes_is_removed_whatever_it_writes_as_the_time() {
    let site = Site::new().await;
    let setup = setup(&site, "").await;
    let store = pushed(&setup, probes::WORKER_V1).await;
    let host = setup.host().await;
    host.uses("probe", probes::WORKER_V1).await;
    let mut info = serde_json::to_value(store.info("probe").await.unwrap()).unwrap();
    for (key, value) in [("mtime", Value::from("")), ("deleted", true.into()), ("size", 0.into()), ("chunks", 0.into())]
    {
        info[key] = value;
    }
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Rollup", "sub");
    let payload = serde_json::to_vec(&info).unwrap();
    site.js.publish_with_headers(description("probe"), headers, payload.into()).await.unwrap().await.unwrap();
    host.problem("probe", &["there is no such object"]).await;
    let list = plugin(&setup, &["list"]).await;
    assert!(list.code == Some(0) && !list.stdout.contains("probe  "), "{}", list.said());
    plugin(&setup, &["show", "probe"]).await.failed_with(1, &["there is no plugin", "fixed"]);
    let removed = plugin(&setup, &["remove", "probe"]).await;
    assert!(removed.code == Some(1) && removed.stdout.contains("is not in the bucket"), "{}", removed.said());
    push(&setup, "probe", probes::WORKER_V2).await;
    host.uses("probe", probes::WORKER_V2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_plugins_needs_no_workload() {
    let (site, dir) = (Site::new().await, TempDir::new().unwrap());
    std::fs::create_dir(dir.path().join("plugins")).unwrap();
    std::fs::write(dir.path().join("plugins/probe.wasm"), probes::WORKER_V1).unwrap();
    let url = site.nats.servers[0].as_str();
    let file = format!("[nats]\nurl = \"{url}\"\n[plugins]\nbucket = \"{BUCKET}\"\n");
    std::fs::write(dir.path().join("file.toml"), file).unwrap();
    let done = async |words: &[&str], way: &[&str]| {
        let mut command = tidegate([&["plugin"], words, way].concat());
        command.current_dir(dir.path());
        let ended = Running::start(command).end().await;
        assert_eq!(ended.code, Some(0), "{words:?} {way:?}: {}", ended.said());
    };
    // As docs/plugins.md has them: by flags alone, and with a file that says where.
    for way in [&["--plugin-bucket", BUCKET, "-s", url][..], &["-c", "file.toml"]] {
        done(&["push", "plugins/probe.wasm"], way).await;
        done(&["list"], way).await;
        done(&["show", "probe"], way).await;
        done(&["pin", "probe"], way).await;
        done(&["fetch", "probe", "--into", "plugins"], way).await;
        done(&["remove", "probe"], way).await;
    }
    // Of the directory.
    done(&["list"], &[]).await;
    done(&["show", "probe"], &[]).await;
    done(&["pin", "probe"], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_goes_with_its_object() {
    let (site, pair) = (Site::new().await, nkeys::KeyPair::new_user());
    let setup = setup(&site, &format!("plugins.trusted = \"{}\"", pair.public_key())).await;
    let seed = setup.dir.path().join("seed");
    std::fs::write(&seed, pair.seed().unwrap()).unwrap();
    push(&setup, "probe", probes::WORKER_V1).await.failed_with(1, &["is not put there", "it is not signed"]);
    let signed = async |name: &str, bytes: &[u8]| {
        let file = setup.dir.path().join(format!("{name}.wasm"));
        std::fs::write(&file, bytes).unwrap();
        let sign = ["plugin", "sign", file.to_str().unwrap(), "--seed-file", seed.to_str().unwrap()];
        assert_eq!(run(sign).await.code, Some(0));
        let ended = plugin(&setup, &["push", file.to_str().unwrap()]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
    };
    signed("fixed", policies::FIXED).await;
    signed("probe", probes::WORKER_V1).await;
    let host = setup.host().await;
    host.uses("probe", probes::WORKER_V1).await;
    let store = site.js.get_object_store(BUCKET).await.unwrap();
    // By somebody who may write there and not sign, with the signature of what was there too.
    store.put("probe", &mut &*probes::WORKER_V2).await.unwrap();
    host.problem("probe", &["it is not signed"]).await;
    let metadata = std::fs::read_to_string(setup.dir.path().join("probe.wasm.sig")).unwrap();
    let metadata = [("tidegate-signature".to_owned(), metadata)].into();
    let object = ObjectMetadata { name: "probe".to_owned(), metadata, ..ObjectMetadata::default() };
    store.put(object, &mut &*probes::WORKER_V2).await.unwrap();
    host.problem("probe", &["is of other content"]).await;
    assert_eq!(host.version().await, "v1");
    signed("probe", probes::WORKER_V2).await;
    host.uses("probe", probes::WORKER_V2).await;
    let listed = plugin(&setup, &["list", "--output", "json"]).await;
    let told: Value = serde_json::from_str(&listed.stdout).unwrap_or_else(|_| panic!("{}", listed.said()));
    let probe = told["plugins"].as_array().unwrap().iter().find(|one| one["plugin"] == "probe").unwrap().clone();
    assert_eq!((&probe["signed_by"], &probe["sha256"]), (&pair.public_key().into(), &digest(probes::WORKER_V2).into()));
    assert_eq!(probe["problems"], Value::Array(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_bucket_is_listed_shown_pinned_and_checked() {
    let site = Site::new().await;
    let setup = setup(&site, "").await;
    plugin(&setup, &["list"]).await.failed_with(1, &[BUCKET, "it is not there"]);
    pushed(&setup, probes::WORKER_V1).await;
    let list = plugin(&setup, &["list"]).await;
    assert!(list.stdout.contains("probe  ") && list.stdout.contains("handler of work"), "{}", list.said());
    let show = plugin(&setup, &["show", "probe"]).await;
    assert!(show.stdout.contains("it is a handler") && show.stdout.contains("imports wasi:"), "{}", show.said());
    let pin = plugin(&setup, &["pin", "probe"]).await;
    assert_eq!(pin.stdout, format!("probe@sha256:{}\n", digest(probes::WORKER_V1)), "{}", pin.said());
    plugin(&setup, &["show", "nothing"]).await.failed_with(1, &["there is no plugin", "fixed, probe"]);
    let check = setup.check(&[]).await;
    assert!(check.stdout.contains("--connect looks at them"), "{}", check.said());
    let check = setup.check(&["--connect"]).await;
    assert_eq!(check.code, Some(0), "{}", check.said());
    assert!(check.stdout.contains("handler probe "), "{}", check.said());
    plugin(&setup, &["remove", "probe"]).await;
    setup
        .check(&["--connect"])
        .await
        .failed_with(1, &["probe in the bucket TIDEGATE_PLUGINS: there is no such object"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_lost_and_made_again_is_watched_again_and_what_runs_stays() {
    let site = Site::new().await;
    let setup = setup(&site, "").await;
    pushed(&setup, probes::WORKER_V1).await;
    let host = setup.host().await;
    host.uses("probe", probes::WORKER_V1).await;
    site.js.delete_object_store(BUCKET).await.unwrap();
    assert_eq!(host.version().await, "v1");
    pushed(&setup, probes::WORKER_V2).await;
    eventually("the new one is used", async || host.version().await == "v2").await;
    host.uses("probe", probes::WORKER_V2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_needs_no_more_for_its_bucket_than_is_printed() {
    let text = "nats.inbox-prefix = \"_INBOX_b\"\nplugins.bucket = \"TIDEGATE_PLUGINS\"\n[workload.work]\nstream = \
                \"work\"\nsubjects = [\"in.work.>\"]\nmanage = \"create\"\nhandler = \"probe\"\npolicy = \"fixed\"\n\
                scale.max = 2\n";
    let site = permissions::site(&permissions::printed(text, &[]).await, Some("_INBOX_b")).await;
    let store = site.js.create_object_store(Config { bucket: BUCKET.to_owned(), ..Config::default() }).await.unwrap();
    store.put("fixed", &mut &*policies::FIXED).await.unwrap();
    store.put("probe", &mut &*probes::WORKER_V1).await.unwrap();
    let own = tidegate_runtime::Config::from_toml(text).unwrap_or_else(|errors| panic!("{errors}"));
    let usual = site.config();
    let plugins = Plugins { origin: own.plugins.origin, ..usual.plugins };
    let host = Host::run(site.clone(), tidegate_runtime::Config { plugins, workloads: own.workloads, ..usual });
    host.ready(1).await;
    assert_eq!(site.request("in.work.a", "version").await, "v1");
    store.put("probe", &mut &*probes::WORKER_V2).await.unwrap();
    eventually("the new one is used", async || site.request("in.work.a", "version").await == "v2").await;
    assert_eq!(permissions::violations(&site).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_library_cannot_read_in_a_bucket_costs_no_connection_again_and_no_other_plugin() {
    const BROKEN: &[u8] = b"NATS/1.0\r\nA: \xff\r\n\r\n";
    let site = Site::new().await;
    let (setup, url) = (setup(&site, "").await, site.nats.servers[0].clone());
    let store = pushed(&setup, probes::WORKER_V1).await;
    raw::publish(&url, [b"$O.TIDEGATE_PLUGINS.M.", &b"\xff\xfe"[..]].concat(), b"", b"{}").await;
    raw::publish(&url, &description("other"), BROKEN, b"{}").await;
    let host = setup.host().await;
    host.uses("probe", probes::WORKER_V1).await;
    let losses = async || {
        let status: Value = serde_json::from_str(&get(&host.address, "/status").await.1).unwrap();
        status["nats"]["reconnects"].as_u64().unwrap()
    };
    assert_eq!(losses().await, 0);
    // What comes while it is watched costs one connection at most, and is read again on none.
    raw::publish(&url, &description("probe"), BROKEN, b"{}").await;
    host.problem("probe", &["its description in the bucket cannot be read (its headers cannot be read"]).await;
    let lost = losses().await;
    assert!(lost <= 1, "{lost}");
    let list = plugin(&setup, &["list"]).await;
    assert!(list.code == Some(0) && list.stdout.contains("its headers cannot be read"), "{}", list.said());
    // It is replaced by what is pushed, and so are chunks with such headers.
    let ended = push(&setup, "probe", probes::WORKER_V2).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    host.uses("probe", probes::WORKER_V2).await;
    raw::publish(&url, &format!("$O.{BUCKET}.C.odd"), BROKEN, probes::WORKER_V1).await;
    let mut info = serde_json::to_value(store.info("probe").await.unwrap()).unwrap();
    let digest = format!("SHA-256={}", data_encoding::BASE64URL.encode(&Sha256::digest(probes::WORKER_V1)));
    for (key, value) in [
        ("nuid", Value::from("odd")),
        ("chunks", 1.into()),
        ("size", probes::WORKER_V1.len().into()),
        ("digest", digest.into()),
    ] {
        info[key] = value;
    }
    let payload = serde_json::to_vec(&info).unwrap();
    site.js.publish(description("probe"), payload.into()).await.unwrap().await.unwrap();
    host.uses("probe", probes::WORKER_V1).await;
    assert_eq!((host.version().await.as_str(), losses().await), ("v1", lost));
}
