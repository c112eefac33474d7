//! `tidegate check --connect`: what the servers have for a configuration.

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy, Source};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_nats_server::ServerOptions;

use crate::support::cli::{Ended, run};
use crate::support::site::{DEAD, Site};

struct File {
    dir: TempDir,
}

/// A file with one workload that reads ORDERS, publishes on `receipts.>`, and has these lines too.
fn file(site: &Site, more: &str) -> File {
    let dir = tempfile::tempdir().unwrap();
    let (url, plugins) = (&site.nats.servers[0], site.plugins.path().to_str().unwrap());
    let text = format!(
        "nats.url = \"{url}\"\nplugins.dir = \"{plugins}\"\n[workload.orders]\nstream = \"ORDERS\"\nhandler = \
         \"probe\"\n\
         policy = \"fixed\"\ngrants.publish = [\"receipts.>\"]\n{more}"
    );
    std::fs::write(dir.path().join("tidegate.toml"), text).unwrap();
    File { dir }
}

impl File {
    async fn check(&self, more: &[&str]) -> Ended {
        let path = self.dir.path().join("tidegate.toml");
        let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache");
        let check = ["check", "--connect", "--cache-dir", cache, "--config", path.to_str().unwrap()];
        run([&check, more].concat()).await
    }

    async fn answer(&self) -> Value {
        let ended = self.check(&["--output", "json"]).await;
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.said()))
    }
}

async fn streams(site: &Site) -> Vec<String> {
    use futures_util::TryStreamExt;
    let mut names: Vec<String> = site.js.stream_names().try_collect().await.unwrap();
    names.sort();
    names
}

async fn consumer(site: &Site, config: pull::Config) {
    let durable_name = Some("orders-workers".to_owned());
    let stream = site.js.get_stream("ORDERS").await.unwrap();
    stream.create_consumer(pull::Config { durable_name, ..config }).await.unwrap();
}

#[tokio::test]
async fn what_a_host_would_make_is_told_and_not_made() {
    let site = Site::new().await;
    let file = file(&site, "manage = \"create\"\nsubjects = [\"orders.>\"]\n");
    let ended = file.check(&[]).await;
    ended.failed_with(
        1,
        &[
            "not there yet, a host makes it: stream ORDERS for orders.>, and its consumer orders-workers",
            "not there yet, a host makes it: stream TIDEGATE_DEAD for tidegate.dead.*",
            "tidegate.toml:7: workload.orders.grants.publish: no stream takes `receipts.>`",
            "nats stream add NAME --subjects 'receipts.>'",
            "1 problem",
        ],
    );
    assert_eq!(streams(&site).await, Vec::<String>::new());
    site.stream("RECEIPTS", &["receipts.*.>", "receipts.*"]).await;
    let ended = file.check(&[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(ended.stdout.ends_with("\nall can run\n"), "{}", ended.stdout);
    assert_eq!(streams(&site).await, ["RECEIPTS"]);
    let answer = file.answer().await;
    assert_eq!((&answer["ok"], &answer["servers"]["unchecked"]), (&json!(true), &json!([])), "{answer}");
    assert_eq!(answer["servers"]["made"].as_array().unwrap().len(), 2, "{answer}");
}

#[tokio::test]
async fn what_is_there_and_fits_is_left_as_it_is() {
    let site = Site::new().await;
    site.stream("ORDERS", &["orders.>", "receipts.>"]).await;
    consumer(&site, pull::Config { ack_policy: AckPolicy::Explicit, ..Default::default() }).await;
    let answer = file(&site, "").answer().await;
    assert_eq!((&answer["ok"], &answer["problems"]), (&json!(true), &json!([])), "{answer}");
    assert_eq!(streams(&site).await, ["ORDERS"]);
}

#[tokio::test]
async fn the_bucket_of_a_fleet_is_told_if_it_is_missing_or_is_none() {
    let site = Site::new().await;
    site.stream("ORDERS", &["orders.>", "receipts.>"]).await;
    consumer(&site, pull::Config { ack_policy: AckPolicy::Explicit, ..Default::default() }).await;
    let fleet = |manage: &str| file(&site, &format!("manage = \"{manage}\"\n[fleet]\nbucket = \"FLEET\"\n"));
    fleet("bind")
        .check(&[])
        .await
        .failed_with(1, &["tidegate.toml:10: fleet.bucket: there is no bucket FLEET; make it (`nats kv add FLEET`)"]);
    let made = fleet("create").answer().await["servers"]["made"].to_string();
    assert!(made.contains("bucket FLEET of the fleet"), "{made}");
    site.stream("KV_FLEET", &["something.else"]).await;
    fleet("bind").check(&[]).await.failed_with(
        1,
        &["tidegate.toml:10: fleet.bucket: bucket FLEET: its stream is not bound to $KV.FLEET.>; name"],
    );
    site.js.delete_stream("KV_FLEET").await.unwrap();
    let bucket = async_nats::jetstream::kv::Config { bucket: "FLEET".to_owned(), ..Default::default() };
    site.js.create_key_value(bucket).await.unwrap();
    let answer = fleet("bind").answer().await;
    assert_eq!((&answer["ok"], &answer["problems"]), (&json!(true), &json!([])), "{answer}");
}

#[tokio::test]
async fn streams_and_consumers_that_do_not_fit_are_named_by_line_and_key_with_a_remedy() {
    let site = Site::new().await;
    let bind = file(&site, "");
    bind.check(&[]).await.failed_with(
        1,
        &["tidegate.toml:4: workload.orders.stream: there is no stream ORDERS; Create it, or set manage = \"create\""],
    );
    site.stream("ORDERS", &["orders.>", "receipts.>"]).await;
    bind.check(&[]).await.failed_with(
        1,
        &["tidegate.toml:3: workload.orders.consumer: stream ORDERS has no consumer orders-workers; Create it"],
    );
    consumer(&site, pull::Config { ack_policy: AckPolicy::None, ..Default::default() }).await;
    bind.check(&[]).await.failed_with(
        1,
        &["tidegate.toml:3: workload.orders.consumer: consumer orders-workers on stream ORDERS", "ack policy"],
    );
    // Others have what a host would make.
    let create = file(&site, "manage = \"create\"\nsubjects = [\"orders.new\"]\n");
    let path = create.dir.path().join("tidegate.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("\"ORDERS\"", "\"NEW\"");
    std::fs::write(&path, text).unwrap();
    site.stream(DEAD, &["something.else"]).await;
    create.check(&[]).await.failed_with(
        1,
        &[
            "tidegate.toml:9: workload.orders.subjects: stream ORDERS takes `orders.new` already, so stream NEW cannot \
             be made",
            "tidegate.toml: dead-letters.stream: cannot set up stream TIDEGATE_DEAD for dead letters: it is there, and \
             not bound",
            "; name another stream in [dead-letters]",
            "2 problems",
        ],
    );
}

#[tokio::test]
async fn a_stream_that_only_sources_others_takes_nothing_itself() {
    let site = Site::new().await;
    site.stream("ORDERS", &["orders.>"]).await;
    consumer(&site, pull::Config { ack_policy: AckPolicy::Explicit, ..Default::default() }).await;
    let source = Source { name: "ORDERS".into(), ..Default::default() };
    site.js
        .create_stream(Config { name: "ALL".into(), sources: Some(vec![source]), ..Default::default() })
        .await
        .unwrap();
    let answer = file(&site, "").answer().await;
    assert!(answer["problems"][0].as_str().unwrap().contains("no stream takes `receipts.>`"), "{answer}");
}

#[tokio::test]
async fn a_stream_that_sources_the_dead_letters_of_its_workload_is_a_problem() {
    let site = Site::new().await;
    site.stream("RECEIPTS", &["receipts.>"]).await;
    site.stream(DEAD, &["tidegate.dead.*"]).await;
    let source = Source { name: DEAD.into(), ..Default::default() };
    let config = Config { name: "ORDERS".into(), sources: Some(vec![source]), ..Default::default() };
    site.js.create_stream(config).await.unwrap();
    consumer(&site, pull::Config { ack_policy: AckPolicy::Explicit, ..Default::default() }).await;
    let said = "tidegate.toml:4: workload.orders.stream: stream ORDERS cannot be used: its source TIDEGATE_DEAD brings \
                it this workload's dead letters";
    for manage in ["", "manage = \"create\"\n"] {
        file(&site, manage).check(&[]).await.failed_with(1, &[said, "nats stream edit ORDERS", "1 problem"]);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_one_problem_among_others() {
    let site = Site::new().await;
    let file = file(&site, "");
    let ended = file.check(&["--server", "127.0.0.1:1"]).await;
    ended
        .failed_with(1, &["nats: no NATS server answers at 127.0.0.1:1", "Start one (`nats-server -js`)", "1 problem"]);
}

#[tokio::test]
async fn a_password_in_a_grant_is_not_printed() {
    let site = Site::new().await;
    for grant in ["https://user:hunter2@h/", "https://hunter2@h/", "https://user:hunter2@h:x/"] {
        let ended = file(&site, &format!("grants.http = [\"{grant}\"]\n")).check(&[]).await;
        ended.failed_with(1, &["workload.orders.grants.http", "`https://h"]);
        assert!(!ended.said().contains("hunter2"), "{}", ended.said());
    }
}

fn stream(name: &str, subjects: &[&str]) -> Config {
    let subjects = subjects.iter().map(|subject| (*subject).to_owned()).collect();
    Config { name: name.to_owned(), subjects, ..Config::default() }
}

#[tokio::test]
async fn a_filter_that_matches_nothing_that_the_stream_stores_is_a_problem_once_nothing_waits() {
    let site = Site::new().await;
    let file = file(&site, "manage = \"create\"\nfilter = \"in.>\"\n");
    let said = [
        "tidegate.toml:9: workload.orders.filter: consumer orders-workers on stream ORDERS is given no message: its \
         filter in.> matches nothing that its stream stores: foo.>, receipts.>",
        "nats stream edit ORDERS --subjects=...",
        "1 problem",
    ];
    site.stream("ORDERS", &["foo.>", "receipts.>"]).await;
    site.publish("foo.a", "ok").await;
    // The consumer is not there, and would be given no message.
    file.check(&[]).await.failed_with(1, &said);
    site.js.update_stream(stream("ORDERS", &["foo.>", "in.>", "receipts.>"])).await.unwrap();
    assert_eq!(file.check(&[]).await.code, Some(0));
    site.publish("in.a", "ok").await;
    site.js.update_stream(stream("ORDERS", &["foo.>", "receipts.>"])).await.unwrap();
    let waits = async || {
        let ended = file.check(&[]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        assert!(ended.stdout.contains("what waits is handled, and nothing comes after it"), "{}", ended.stdout);
    };
    waits().await;
    let config = pull::Config { filter_subject: "in.>".to_owned(), max_ack_pending: 1000, ..Default::default() };
    consumer(&site, config).await;
    waits().await;
    site.js.get_stream("ORDERS").await.unwrap().purge().await.unwrap();
    file.check(&[]).await.failed_with(1, &said);
}

#[tokio::test]
async fn what_a_stream_has_otherwise_than_the_file_is_a_warning() {
    let site = Site::new().await;
    site.stream("ORDERS", &["orders.>", "receipts.>"]).await;
    let keys = "manage = \"create\"\nsubjects = [\"orders.>\"]\nretention = \"workqueue\"\nmax-bytes = \"1MiB\"\n";
    let ended = file(&site, keys).check(&[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    for said in [
        "subjects of the configuration is orders.>, and the stream has orders.>, receipts.>, which counts",
        "retention of the configuration is workqueue, and the stream has limits, which counts",
        "`nats stream edit ORDERS --max-bytes=1048576`",
    ] {
        assert!(ended.stdout.contains(said), "no `{said}` in\n{}", ended.stdout);
    }
}

#[tokio::test]
async fn a_stream_that_never_confirms_what_handlers_publish_is_a_problem_where_it_is_the_only_one() {
    let site = Site::new().await;
    site.stream("ORDERS", &["orders.>"]).await;
    let file = file(&site, "manage = \"create\"\n");
    let receipts = || stream("RECEIPTS", &["receipts.a.>"]);
    site.js.create_stream(Config { no_ack: true, ..receipts() }).await.unwrap();
    file.check(&[]).await.failed_with(
        1,
        &[
            "tidegate.toml:7: workload.orders.grants.publish: stream RECEIPTS, which takes `receipts.>`, acknowledges \
             no publication (no_ack)",
            "`nats stream edit RECEIPTS --ack`",
            "1 problem",
        ],
    );
    site.stream("OTHERS", &["receipts.b.>"]).await;
    let ended = file.check(&[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(
        ended.stdout.contains("warning: workload.orders.grants.publish: stream RECEIPTS, which"),
        "{}",
        ended.stdout
    );
    site.js.delete_stream("OTHERS").await.unwrap();
    site.js.update_stream(receipts()).await.unwrap();
    assert_eq!(file.check(&[]).await.code, Some(0));
    site.js.update_stream(Config { sealed: true, ..receipts() }).await.unwrap();
    file.check(&[]).await.failed_with(1, &["stream RECEIPTS, which takes `receipts.>`, is sealed", "1 problem"]);
}

#[tokio::test]
async fn consumers_of_a_work_queue_that_would_take_the_same_messages_are_a_problem() {
    let site = Site::new().await;
    let retention = RetentionPolicy::WorkQueue;
    let orders = Config { retention, ..stream("ORDERS", &["orders.>", "receipts.>"]) };
    let orders = site.js.create_stream(orders).await.unwrap();
    let other = pull::Config {
        durable_name: Some("other".to_owned()),
        filter_subject: "orders.a".to_owned(),
        ..Default::default()
    };
    orders.create_consumer(other).await.unwrap();
    let manage = "manage = \"create\"\n";
    let said = "workload.orders.filter: consumer orders-workers cannot be made: stream ORDERS has workqueue retention, \
                and consumer other takes some of the same messages";
    file(&site, manage).check(&[]).await.failed_with(1, &[said, "filters that do not overlap", "1 problem"]);
    let one = format!("{manage}filter = \"orders.b\"\n");
    let ended = file(&site, &one).check(&[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let two = format!(
        "{one}[workload.more]\nstream = \"ORDERS\"\nhandler = \"probe\"\npolicy = \"fixed\"\nmanage = \"create\"\n\
         filter = [\"orders.b\", \"orders.c\"]\n"
    );
    let said = "workload.more.filter: consumer more-workers cannot be made: stream ORDERS has workqueue retention, and \
                consumer orders-workers takes some of the same messages";
    file(&site, &two).check(&[]).await.failed_with(1, &[said, "1 problem"]);
    // What is there works side by side.
    let there = pull::Config { filter_subject: "orders.b".to_owned(), max_ack_pending: 1000, ..Default::default() };
    consumer(&site, there).await;
    let ended = file(&site, &one).check(&[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
}

#[tokio::test]
async fn what_the_accounts_limits_do_not_leave_is_a_problem() {
    let limits = "jetstream: { max_streams: 2, max_ack_pending: 50 }";
    let config =
        format!("accounts {{ A: {{ {limits}, users: [ {{ user: all, password: all }} ] }} }}\nno_auth_user: all\n");
    let site = Site::with(ServerOptions { config, ..ServerOptions::default() }).await;
    let keys = "manage = \"create\"\nsubjects = [\"orders.>\", \"receipts.>\"]\n";
    file(&site, keys).check(&[]).await.failed_with(
        1,
        &["workload.orders.max-ack-pending: the account allows 50 unsettled messages of a consumer", "1 problem"],
    );
    let less = format!("{keys}max-ack-pending = 40\nscale.max = 2\npull.batch = 10\n");
    let ended = file(&site, &less).check(&[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    site.stream("MORE", &["more.>"]).await;
    file(&site, &less)
        .check(&[])
        .await
        .failed_with(1, &["the account may have 2 streams and has 1, and a host would make 2 more", "1 problem"]);
}
