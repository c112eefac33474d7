//! Workloads in accounts of their own, beside those in the host's: what they do, and what happens to their connection.

use std::sync::Arc;

use async_nats::ConnectOptions;
use async_nats::jetstream;
use rustix::process::Signal;
use serde_json::{Value, json};
use tidegate_runtime::config::{Auth, Config, Nats, Workload};
use tokio::sync::Mutex;

use super::configured;
use super::elsewhere::hub;
use super::permissions::{printed, violations};
use crate::support::cli::{Running, tidegate};
use crate::support::host::{Host, plugins};
use crate::support::nats::{client, reach};
use crate::support::site::{DEAD, Site, text};
use crate::support::web::get;
use crate::support::{eventually, log, until};

/// A server with the accounts HERE and THERE, each with a user of the host (`here`, `there`) and one of the test
/// (`admin`, `boss`). What the users of the host may do is more of their tables.
pub(super) fn accounts(here: &str, there: &str) -> String {
    let account = |name: &str, admin: &str, host: &str| {
        format!("{name} {{ jetstream: enabled, users: [ {{ user: {admin}, password: all }}, {{ {host} }} ] }}")
    };
    format!(
        "accounts {{ SYS {{ users: [ {{ user: sys, password: all }} ] }}\n{}\n{} }}\nsystem_account: SYS",
        account("HERE", "admin", &format!("user: here, password: some {here}")),
        account("THERE", "boss", &format!("user: there, password: some {there}")),
    )
}

fn user(name: &str, password: &str) -> ConnectOptions {
    ConnectOptions::with_user_and_password(name.into(), password.into())
}

/// The two accounts of one server. The hosts of `here` are its `here`.
pub(super) struct Accounts {
    pub(super) here: Arc<Site>,
    pub(super) there: Arc<Site>,
}

impl Accounts {
    pub(super) async fn new(config: &str) -> Self {
        log::collect();
        let server = configured(config).await;
        let url = server.url().to_owned();
        let server = Arc::new(Mutex::new(server));
        let site = async |admin: &str, host: &str| {
            let client = user(admin, "all").connect(&url).await.unwrap();
            let auth = Auth::User { name: host.into(), password: "some".into() };
            let nats = Nats { servers: vec![url.clone()], auth, ..Nats::default() };
            let js = jetstream::new(client.clone());
            let site = Site { server: server.clone(), nats, plugins: plugins(), client, js };
            site.stream("OUT", &["out.>"]).await;
            Arc::new(site)
        };
        Self { here: site("admin", "here").await, there: site("boss", "there").await }
    }

    /// How many connections the server has of a user.
    async fn connections(&self, name: &str) -> usize {
        let sys = user("sys", "all").connect(&self.here.nats.servers[0]).await.unwrap();
        let answer = sys.request("$SYS.REQ.SERVER.PING.CONNZ", "{\"auth\":true}".into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        let all = answer["data"]["connections"].as_array().unwrap();
        all.iter().filter(|connection| connection["authorized_user"] == name).count()
    }
}

/// The workload `name` on the stream `name` with subjects `in.NAME.>`.
pub(super) fn workload(name: &str, more: &str) -> String {
    format!(
        r#"
        [workload.{name}]
        stream = "{name}"
        subjects = ["in.{name}.>"]
        manage = "create"
        ack-wait = "10m"
        handler = "probe"
        policy = "fixed"
        scale = {{ min = 0, max = 8, interval = "100ms", window = "1s" }}
        pull = {{ expires = "1s" }}
        grants = {{ publish = "out.>", reply = "_INBOX.>", kv = "read-write keys" }}
        retry = {{ max-attempts = 3, backoff = ["10ms"] }}
        {more}
        "#
    )
}

/// The table of a connection of its own.
pub(super) fn of_user(url: &str, name: &str) -> String {
    format!("nats = {{ url = {url:?}, user = {name:?}, password = \"some\", inbox-prefix = \"_INBOX_{name}\" }}")
}

fn workloads(text: &str) -> Vec<Workload> {
    Config::from_toml(text).unwrap_or_else(|errors| panic!("{errors}")).workloads
}

/// A host in this process that answers over HTTP, and where.
async fn start(site: &Arc<Site>, text: &str) -> (Host, String) {
    let Config { journal, workloads, .. } = Config::from_toml(text).unwrap_or_else(|errors| panic!("{errors}"));
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(site.clone(), Config { http, journal, workloads, ..site.config() });
    let address = host.address().await;
    (host, address)
}

async fn status(address: &str, name: &str) -> Value {
    let all: Value = serde_json::from_str(&get(address, "/status").await.1).unwrap();
    all["workloads"].as_array().unwrap().iter().find(|of| of["name"] == name).cloned().unwrap_or_default()
}

/// The metrics of this workload's own connection are: whether it is there, how often it was made again.
async fn counted(address: &str, name: &str, connected: &str, reconnects: u32) {
    let of = |name: &str| name.starts_with("tidegate_workload_nats_");
    let (_, metrics) = get(address, "/metrics").await;
    let told: Vec<&str> = metrics.lines().filter(|line| of(line)).collect();
    let expected = [
        format!("tidegate_workload_nats_connected{{workload={name:?}}} {connected}"),
        format!("tidegate_workload_nats_reconnects_total{{workload={name:?}}} {reconnects}"),
    ];
    assert_eq!(told, expected);
}

async fn is_ready(address: &str) {
    eventually("the host is ready", async || get(address, "/readyz").await.0 == 200).await;
}

/// Awaits that `/readyz` says this.
async fn unready(address: &str, part: &str) -> String {
    until(&format!("/readyz says {part}"), async || {
        let (_, said) = get(address, "/readyz").await;
        said.contains(part).then_some(said)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_workload_does_stays_in_its_account_and_needs_no_more_than_is_printed() {
    // Streams and consumers of the same names are others in another account.
    let same = "consumer = \"workers\"";
    let file = |url: &str| {
        let there = format!("{same}\n{}", of_user(url, "there"));
        let there = workload("there", &there).replace("stream = \"there\"", "stream = \"same\"");
        let here = workload("here", same).replace("stream = \"here\"", "stream = \"same\"");
        let head = "journal.stream = \"DECIDED\"\nnats.inbox-prefix = \"_INBOX_here\"\n";
        format!("{head}{here}{there}").replace("in.here.>", "in.>").replace("in.there.>", "in.>")
    };
    let needed: Value =
        serde_json::from_str(&printed(&file("x"), &["--output", "json"]).await).expect("an answer in JSON");
    let of_there = &needed["accounts"][0];
    assert_eq!(of_there["workloads"], json!(["there"]));
    let only =
        |of: &Value| format!(", permissions: {}", json!({ "publish": of["publish"], "subscribe": of["subscribe"] }));
    let both = Accounts::new(&accounts(&only(&needed), &only(of_there))).await;
    let Accounts { here, there } = &both;
    let nats = Nats { inbox_prefix: Some("_INBOX_here".to_owned()), ..here.nats.clone() };
    let site = Site {
        server: here.server.clone(),
        nats,
        plugins: plugins(),
        client: here.client.clone(),
        js: here.js.clone(),
    };
    let (host, address) = start(&Arc::new(site), &file(&here.nats.servers[0])).await;
    is_ready(&address).await;

    assert_eq!(here.request("in.a", "reply here").await, "here");
    assert_eq!(there.request("in.a", "publish out.a told\nreply there").await, "there");
    assert_eq!(there.request("in.a", "kv keys set a one").await, "done");
    assert_eq!(here.request("in.a", "kv keys list").await, "1 0");
    there.publish("in.a", "reject me").await;
    let letters = there.stored_count(DEAD, 1).await;
    assert_eq!(&*letters[0].subject, "there.dead");
    assert_eq!(there.stored("OUT").await.iter().map(text).collect::<Vec<_>>(), ["told"]);
    assert_eq!((here.stored("OUT").await.len(), here.stored(DEAD).await.len()), (0, 0));
    // The journal is the host's, and so is its stream.
    eventually("decisions of both are kept", async || {
        let lines = here.stored("DECIDED").await;
        let of = |name: &str| lines.iter().any(|line| *line.subject == *format!("tidegate.journal.{name}"));
        of("here") && of("there")
    })
    .await;
    assert!(there.js.get_stream("DECIDED").await.is_err());
    assert_eq!(status(&address, "there").await["nats"]["connected"], true);
    assert_eq!(status(&address, "here").await["nats"], Value::Null);
    host.stop().await;
    assert_eq!(violations(here).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_of_one_account_share_a_connection_that_ends_with_the_last_of_them() {
    let both = Accounts::new(&accounts("", "")).await;
    let own = of_user(&both.here.nats.servers[0], "there");
    let text = [workload("one", &own), workload("two", &own), workload("here", "")].concat();
    let (host, address) = start(&both.here, &text).await;
    is_ready(&address).await;
    for name in ["one", "two"] {
        assert_eq!(both.there.request(&format!("in.{name}.a"), "reply done").await, "done");
    }
    assert_eq!((both.connections("here").await, both.connections("there").await), (1, 1));
    host.stop().await;
    eventually("both are closed", async || both.connections("here").await + both.connections("there").await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_one_connection_is_told_of_its_workloads_and_is_none_for_the_others() {
    let (here, there) = (Site::new().await, Site::new().await);
    let own = format!("nats.url = {:?}", there.nats.servers[0]);
    let text = [workload("stays", ""), workload("goes", &own)].concat();
    let (host, address) = start(&here, &text).await;
    is_ready(&address).await;
    assert_eq!(there.request("in.goes.a", "reply done").await, "done");

    there.server.lock().await.kill();
    let said = unready(&address, "workload goes: connection: the NATS server of its own account is away").await;
    assert_eq!(said.lines().count(), 1, "{said}");
    log::logged(&["\"ERROR\"", "\"workload\":\"goes\"", "\"part\":\"connection\"", "is away"]).await;
    log::logged(&["lost the NATS server", "\"workloads\":\"goes\""]).await;
    assert_eq!(status(&address, "goes").await["nats"]["connected"], false);
    counted(&address, "goes", "0.0", 0).await;
    assert_eq!(here.request("in.stays.a", "reply done").await, "done");
    there.server.lock().await.restart().await.unwrap();
    is_ready(&address).await;
    eventually("the test has its connection", async || there.js.get_stream("goes").await.is_ok()).await;
    assert_eq!(there.request("in.goes.a", "reply again").await, "again");
    counted(&address, "goes", "1.0", 1).await;

    here.server.lock().await.kill();
    let said = unready(&address, "the NATS server is away").await;
    assert!(!said.contains("goes"), "{said}");
    assert_eq!(there.request("in.goes.a", "reply still").await, "still");
    here.server.lock().await.restart().await.unwrap();
    is_ready(&address).await;
    let letters = async |site: &Site| site.stored(DEAD).await.len();
    assert_eq!((letters(&here).await, letters(&there).await), (0, 0));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_into_its_account_is_told_and_begins_when_it_is() {
    let config = accounts("", "");
    let both = Accounts::new(&config.replace("user: there, password: some", "user: there, password: another")).await;
    let own = of_user(&both.here.nats.servers[0], "there");
    let (host, address) = start(&both.here, &[workload("refused", &own), workload("taken", "")].concat()).await;
    host.ready(1).await;
    assert_eq!(both.here.request("in.taken.a", "reply done").await, "done");
    let said = unready(&address, "workload refused: connection: ").await;
    for part in ["refuses this client", "a user and a password", "look at [workload.refused.nats]"] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    assert!(!said.contains("some"), "{said}");
    counted(&address, "refused", "0.0", 0).await;
    {
        let mut server = both.here.server.lock().await;
        server.configure(&config);
        server.reload().unwrap();
    }
    is_ready(&address).await;
    assert_eq!(both.there.request("in.refused.a", "reply done").await, "done");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_in_one_account_keeps_its_workload_alone() {
    let denied = ", permissions: { publish: { deny: \"$JS.API.CONSUMER.INFO.>\" } }";
    let both = Accounts::new(&accounts("", denied)).await;
    let own = of_user(&both.here.nats.servers[0], "there");
    let (host, address) = start(&both.here, &[workload("deaf", &own), workload("hears", "")].concat()).await;
    let said = unready(&address, "workload deaf: setup: ").await;
    assert!(said.contains("does not let this user publish to `$JS.API.CONSUMER.INFO.deaf.deaf-workers`"), "{said}");
    host.ready(1).await;
    assert_eq!(both.here.request("in.hears.a", "reply done").await, "done");
    {
        let mut server = both.here.server.lock().await;
        server.configure(&accounts("", ""));
        server.reload().unwrap();
    }
    is_ready(&address).await;
    assert_eq!(both.there.request("in.deaf.a", "reply done").await, "done");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_moves_to_another_account_when_its_table_is_changed_and_the_others_go_on() {
    let both = Accounts::new(&accounts("", "")).await;
    let Accounts { here, there } = &both;
    let (url, files) = (here.nats.servers[0].clone(), tempfile::tempdir().unwrap());
    let file = files.path().join("tidegate.toml");
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache");
    let write = |own: &str| {
        let head = format!(
            "http = \"127.0.0.1:0\"\nplugins = {{ dir = {:?}, cache = {cache:?} }}\n\
             nats = {{ url = {url:?}, user = \"here\", password = \"some\" }}\n",
            here.plugins.path(),
        );
        std::fs::write(&file, [head, workload("moves", own), workload("rests", "")].concat()).unwrap();
    };
    write(&of_user(&url, "there"));
    let mut process = Running::start(tidegate(["run", "--config", file.to_str().unwrap()]));
    let line = process.line_with("over HTTP: /").await;
    let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    is_ready(&address).await;
    assert_eq!(there.request("in.moves.a", "reply there").await, "there");

    // A table that says nothing changes nothing.
    write("nats = {}");
    process.line_with("the table is empty; give url or context, or remove it to use [nats]").await;
    assert_eq!(there.request("in.moves.a", "reply there").await, "there");
    write("");
    process.line_with("workload moves: changed (nats.url, nats.user").await;
    eventually("it is in the host's account", async || here.js.get_stream("moves").await.is_ok()).await;
    assert_eq!(here.request("in.moves.a", "reply here").await, "here");
    eventually("nobody has the other account", async || both.connections("there").await == 0).await;
    assert_eq!(here.request("in.rests.a", "reply here").await, "here");
    assert_eq!(status(&address, "moves").await["nats"], Value::Null);
    process.signal(Signal::TERM);
    let ended = process.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("workload rests: changed"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_workload_is_on_the_streams_of_a_hub_and_the_other_on_those_of_its_leaf_node() {
    log::collect();
    let (hub, url) = hub("jetstream { domain: hub }").await;
    let leaf = configured(format!("jetstream {{ domain: edge }}\nleafnodes {{ remotes: [{{ url: {url:?} }}] }}")).await;
    let (nats, client_there) = (reach(&leaf), client(&leaf).await);
    let there = jetstream::with_domain(client_there.clone(), "hub");
    until("the leaf node reaches its hub", async || there.query_account().await.ok()).await;
    let js = jetstream::new(client_there.clone());
    let site =
        Site { server: Arc::new(Mutex::new(leaf)), nats: nats.clone(), plugins: plugins(), client: client_there, js };
    let site = Arc::new(site);
    let own = format!("nats = {{ url = {:?}, jetstream-domain = \"hub\" }}", nats.servers[0]);
    let text = [workload("near", ""), workload("far", &own)].concat().replace(", kv = \"read-write keys\"", "");
    let text = text.replace("\"out.>\"", "\"nowhere.>\"");
    let host = Host::start_at(site.clone(), workloads(&text)).await;
    for name in ["near", "far"] {
        assert_eq!(site.request(&format!("in.{name}.a"), "reply done").await, "done");
    }
    let at_hub = jetstream::new(client(&hub).await);
    assert!(at_hub.get_stream("far").await.is_ok() && at_hub.get_stream("near").await.is_err());
    assert!(site.js.get_stream("near").await.is_ok() && site.js.get_stream("far").await.is_err());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_workload_is_on_the_streams_of_another_account_by_an_import_and_the_other_on_its_own() {
    let services = ["$JS.ACK.>", "in.far.>", "tidegate.dead.far"];
    let of_owner = |subject: &str| format!("service: {{ account: OWNER, subject: {subject:?} }}");
    let exports = services.map(|subject| format!("{{ service: {subject:?} }}")).join(", ");
    // Acks of streams of one's own must not go to the owner.
    let far = ["$JS.ACK.far.>", "$JS.ACK.*.*.far.>", "in.far.>", "tidegate.dead.far"];
    let imports = far.map(|subject| format!("{{ {} }}", of_owner(subject))).join(", ");
    let api = format!("{{ {}, to: \"OWNER.API.>\" }}", of_owner("$JS.API.>"));
    let server = configured(format!(
        "accounts {{
           OWNER {{
             jetstream: enabled, users: [ {{ user: owner, password: all }} ]
             exports: [ {{ service: \"$JS.API.>\", response_type: stream }}, {exports} ]
           }}
           WORKS {{
             jetstream: enabled, users: [ {{ user: admin, password: all }}, {{ user: host, password: some }} ]
             imports: [ {api}, {imports} ]
           }}
         }}"
    ));
    log::collect();
    let server = server.await;
    let url = server.url().to_owned();
    let client = user("admin", "all").connect(&url).await.unwrap();
    let auth = Auth::User { name: "host".into(), password: "some".into() };
    let nats = Nats { servers: vec![url.clone()], auth, ..Nats::default() };
    let (server, js) = (Arc::new(Mutex::new(server)), jetstream::new(client.clone()));
    let site = Arc::new(Site { server, nats, plugins: plugins(), client, js });
    let own = format!("nats = {{ url = {url:?}, user = \"host\", password = \"some\", api-prefix = \"OWNER.API\" }}");
    let text = [workload("near", ""), workload("far", &own)].concat().replace(", kv = \"read-write keys\"", "");
    let text = text.replace("\"out.>\"", "\"nowhere.>\"");
    let host = Host::start_at(site.clone(), workloads(&text)).await;
    let owner = jetstream::new(user("owner", "all").connect(&url).await.unwrap());
    for name in ["near", "far"] {
        assert_eq!(site.request(&format!("in.{name}.a"), "reply done").await, "done");
        site.publish(&format!("in.{name}.a"), "reject me").await;
    }
    site.settled("near").await;
    // The stream of the importing account takes the same subjects, so it may keep a copy.
    eventually("the letter is in the account of its message", async || {
        let mut stream = owner.get_stream(DEAD).await.unwrap();
        stream.info().await.unwrap().state.messages == 1
    })
    .await;
    assert!(owner.get_stream("near").await.is_err() && site.js.get_stream("far").await.is_err());
    host.stop().await;
}
