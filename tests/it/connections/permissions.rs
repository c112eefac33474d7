//! The least that a host needs: what `tidegate permissions` prints, enforced by a server.

use std::sync::Arc;

use async_nats::ConnectOptions;
use async_nats::jetstream;
use tempfile::TempDir;
use tidegate_nats_server::{Server, Version};
use tidegate_runtime::config::{Auth, Config, Nats, Workload};
use tidegate_runtime::events::Event;
use tidegate_runtime::permissions::Permissions;
use tidegate_test_artifacts::probes;
use tokio::sync::Mutex;

use super::configured;
use crate::support::cli::run;
use crate::support::host::{Host, plugins};
use crate::support::site::{DEAD, Site, header};
use crate::support::{eventually, log, until};

/// A server on which `admin` may do everything, and the user of the host what `permissions` says.
pub(crate) fn guarded(permissions: &str) -> String {
    let host = format!("{{ user: host, password: some\n{permissions}\n}}");
    format!("authorization {{ users: [ {{ user: admin, password: all }}\n{host} ] }}")
}

/// A site on such a server: hosts there are `host`, and the test is `admin`.
pub(crate) async fn site(permissions: &str, inbox: Option<&str>) -> Arc<Site> {
    log::collect();
    let server = configured(guarded(permissions)).await;
    let admin = ConnectOptions::with_user_and_password("admin".into(), "all".into());
    let client = admin.connect(server.url()).await.unwrap();
    let nats = Nats {
        servers: vec![server.url().to_owned()],
        auth: Auth::User { name: "host".into(), password: "some".into() },
        inbox_prefix: inbox.map(str::to_owned),
        ..Nats::default()
    };
    let js = jetstream::new(client.clone());
    Arc::new(Site { server: Arc::new(Mutex::new(server)), nats, plugins: plugins(), client, js })
}

/// Two workloads, `NAME-i` with the source `info` and `NAME-h` with the source `headers`.
pub(super) fn text(name: &str, manage: &str) -> String {
    let workload = |suffix: &str, source: &str| {
        format!(
            r#"
            [workload.{name}-{suffix}]
            stream = "{name}-{suffix}"
            subjects = ["in.{name}-{suffix}.>"]
            manage = "{manage}"
            ack-wait = "1s"
            handler = "probe"
            policy = "backlog"
            scale = {{ min = 0, max = 4, interval = "100ms", window = "1s", source = "{source}" }}
            policy-settings = {{ pending-per-worker = 5 }}
            pull = {{ expires = "1s" }}
            grants = {{ publish = ["out.>"] }}
            retry = {{ max-attempts = 3, backoff = ["10ms"] }}
            "#
        )
    };
    format!("nats.inbox-prefix = \"_INBOX_{name}\"\n{}{}", workload("i", "info"), workload("h", "headers"))
}

pub(super) fn inbox(name: &str) -> String {
    format!("_INBOX_{name}")
}

pub(super) fn workloads(text: &str) -> Vec<Workload> {
    Config::from_toml(text).unwrap_or_else(|errors| panic!("{errors}")).workloads
}

/// What the program says that a configuration needs.
pub(crate) async fn printed(text: &str, more: &[&str]) -> String {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("tidegate.toml");
    std::fs::write(&file, text).unwrap();
    let ended = run(["permissions", "-c", file.to_str().unwrap()].iter().chain(more)).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout
}

/// What the server has denied so far.
pub(crate) async fn violations(site: &Site) -> Vec<String> {
    let log = std::fs::read_to_string(site.server.lock().await.log_file()).unwrap();
    log.lines().filter(|line| line.to_lowercase().contains("violation")).map(str::to_owned).collect()
}

/// A host with these workloads and this journal.
async fn start(site: &Arc<Site>, text: &str) -> Host {
    let Config { journal, workloads, fleet, .. } = Config::from_toml(text).unwrap();
    let count = workloads.len();
    let host = Host::run(site.clone(), Config { journal, workloads, fleet, ..site.config() });
    host.ready(count).await;
    host
}

/// All that a host does, with each of its sources of signals.
pub(super) async fn everything(site: Arc<Site>, text: &str, names: [&str; 2]) {
    let host = start(&site, text).await;
    let decided = site.stored("DECIDED").await.len();
    let dead = site.stored(DEAD).await.len();
    for name in names {
        let subject = format!("in.{name}.a");
        // At zero workers, with a retry, a publication and a reply.
        let reply = site.request(&subject, format!("before 2 retry 10\npublish out.{name} x\nreply done")).await;
        assert_eq!(reply, "done");
        site.publish(&subject, "reject me").await;
        site.publish_all(&subject, (0..40).map(|_| "sleep 20".to_owned())).await;
        // Announced as in progress: it takes longer than the ack wait.
        site.publish(&subject, "sleep 1500").await;
        site.settled(name).await;
        assert_eq!(site.consumer(name).await.num_redelivered, 0);
        let workers = |event: &Event| matches!(event, Event::Scaled { workload, to: 2.., .. } if &**workload == name);
        eventually("several workers were wanted", async || host.count(workers) > 0).await;
        let gone = |event: &Event| matches!(event, Event::WorkerEnded { workload, .. } if &**workload == name);
        eventually("a worker was drained", async || host.count(gone) > 0).await;
    }
    site.install("probe", probes::WORKER_V2);
    until("the new version is used", async || {
        let version = site.request(&format!("in.{}.a", names[0]), "version").await;
        (version == "v2").then_some(())
    })
    .await;
    host.stop().await;
    let host = start(&site, text).await;
    for name in names {
        assert_eq!(site.request(&format!("in.{name}.a"), "reply again").await, "again");
        site.settled(name).await;
    }
    let letters = site.stored_count(DEAD, dead + 2).await;
    assert_eq!(header(&letters[dead], "Tidegate-Reason"), Some("me"));
    host.stop().await;
    assert!(site.stored("DECIDED").await.len() > decided);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_makes_what_is_missing_needs_no_more_than_is_printed_and_so_does_one_that_binds() {
    let with_journal = |manage: &str| format!("journal.stream = \"DECIDED\"\n{}", text("least", manage));
    let (create, bind) = (with_journal("create"), with_journal("bind"));
    let names = ["least-i", "least-h"];
    let site = site(&printed(&create, &[]).await, Some(&inbox("least"))).await;
    site.stream("OUT", &["out.>"]).await;
    everything(site.clone(), &create, names).await;
    assert_eq!(violations(&site).await, Vec::<String>::new());

    let less = printed(&bind, &[]).await;
    assert!(!less.contains("CREATE"), "{less}");
    {
        let mut server = site.server.lock().await;
        server.configure(&guarded(&less));
        server.restart().await.unwrap();
    }
    eventually("the server is back", async || site.js.get_stream(DEAD).await.is_ok()).await;
    everything(site.clone(), &bind, names).await;
    assert_eq!(violations(&site).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_a_fleet_need_no_more_than_is_printed_to_share_to_take_over_and_to_tidy_up() {
    let of = |id: &str, manage: &str| {
        let workload = text("team", manage);
        let own = workload.split("[workload.team-h]").next().unwrap().replace("min = 0", "min = 2");
        format!("fleet.bucket = \"TEAM\"\nhost.id = \"{id}\"\n{own}")
    };
    let site = site(&printed(&of("one", "create"), &[]).await, Some(&inbox("team"))).await;
    site.stream("OUT", &["out.>"]).await;
    let one = start(&site, &of("one", "create")).await;
    let two = start(&site, &of("two", "create")).await;
    let work = async |reply: &str| {
        assert_eq!(site.request("in.team-i.a", format!("reply {reply}")).await, reply);
        site.settled("team-i").await;
    };
    let started = |event: &Event| matches!(event, Event::WorkerStarted { .. });
    eventually("each has its share", async || one.count(started) > 0 && two.count(started) > 0).await;
    work("both").await;
    one.stop().await;
    work("the other").await;
    eventually("the other has both workers", async || two.count(started) > 1).await;
    let bucket = site.js.get_key_value("TEAM").await.unwrap();
    // What a host has left that is gone: its entry, and that of one that was killed.
    bucket.put("host.killed", "{\"boot\":\"x\",\"capacity\":1,\"workloads\":{}}".into()).await.unwrap();
    eventually("what the dead have left is removed", async || {
        let stream = site.js.get_stream("KV_TEAM").await.unwrap();
        let left = async |id: &str| {
            let subject = format!("$KV.TEAM.host.{id}");
            stream.get_last_raw_message_by_subject(&subject).await.is_ok()
        };
        !left("one").await && !left("killed").await && left("two").await
    })
    .await;
    two.stop().await;
    assert_eq!(violations(&site).await, Vec::<String>::new());
    let less = printed(&of("one", "bind"), &[]).await;
    assert!(!less.contains("STREAM.CREATE"), "{less}");
}

/// Whether a server can name deliveries with their domain and account.
pub(super) fn has_newer_acks(server: &Server) -> bool {
    server.version() >= &Version::new(2, 14, 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_is_enough_where_the_server_names_deliveries_with_their_domain() {
    let text = format!("journal.stream = \"DECIDED\"\n{}", text("domain", "create"));
    let site = site(&printed(&text, &[]).await, Some(&inbox("domain"))).await;
    {
        let mut server = site.server.lock().await;
        if !has_newer_acks(&server) {
            return;
        }
        let guarded = guarded(&printed(&text, &[]).await);
        server.configure(&format!("feature_flags {{ js_ack_fc_v2: true }}\n{guarded}"));
        server.restart().await.unwrap();
    }
    eventually("the server is back", async || site.js.query_account().await.is_ok()).await;
    site.stream("OUT", &["out.>"]).await;
    everything(site.clone(), &text, ["domain-i", "domain-h"]).await;
    assert_eq!(violations(&site).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_block_is_the_same_as_json_and_a_server_takes_that_too() {
    let text = text("json", "create");
    let json: serde_json::Value = serde_json::from_str(&printed(&text, &["--output", "json"]).await).unwrap();
    let block = printed(&text, &[]).await;
    for verb in ["publish", "subscribe"] {
        for subject in json[verb]["allow"].as_array().unwrap() {
            assert!(block.contains(&format!("{subject}  ")), "{subject} in\n{block}");
        }
    }
    let site = site(&format!("permissions: {json}"), Some(&inbox("json"))).await;
    let host = Host::start_at(site.clone(), workloads(&text)).await;
    assert_eq!(site.request("in.json-i.a", "reply done").await, "done");
    host.stop().await;
    assert_eq!(violations(&site).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_page_on_connections_shows_what_is_printed_for_its_example() {
    let page = include_str!("../../../docs/connections.md");
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (example, rest) = rest.split_once("```").unwrap();
    let shown = rest.split("```").nth(1).unwrap();
    assert_eq!(printed(example, &[]).await.trim(), shown.trim());
}

/// Without one subject of what is needed.
pub(super) fn without(all: &Permissions, subject: &str) -> String {
    let mut less = all.clone();
    assert!(less.publish.remove(subject).or(less.subscribe.remove(subject)).is_some(), "{subject} is not needed");
    less.to_string()
}

pub(super) fn needed(text: &str) -> Permissions {
    Permissions::of(&Config::from_toml(text).unwrap())
}
