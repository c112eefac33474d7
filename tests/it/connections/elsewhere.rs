//! JetStream that is elsewhere: behind a leaf node, in another account, behind TLS that comes first.

use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream;
use futures_util::TryStreamExt;
use serde_json::json;
use tidegate_nats_server::Server;
use tidegate_runtime::config::{Auth, Config, Nats};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::contexts::Home;
use super::permissions::{everything, guarded, inbox, printed, text, violations};
use super::{Way, configured};
use crate::support::host::{Host, plugins};
use crate::support::nats::client;
use crate::support::site::{DEAD, Site};
use crate::support::tls::Authority;
use crate::support::{eventually, log, until};

/// A site whose hosts and tests reach JetStream under a prefix: hosts are `host`, and the test is `admin`.
async fn site(server: Server, api: &str, inbox: &str) -> Arc<Site> {
    log::collect();
    let admin = ConnectOptions::with_user_and_password("admin".into(), "all".into());
    let client = admin.connect(server.url()).await.unwrap();
    let nats = Nats {
        servers: vec![server.url().to_owned()],
        auth: Auth::User { name: "host".into(), password: "some".into() },
        inbox_prefix: Some(inbox.to_owned()),
        api_prefix: Some(api.to_owned()),
        ..Nats::default()
    };
    let js = jetstream::with_prefix(client.clone(), api);
    Arc::new(Site { server: Arc::new(Mutex::new(server)), nats, plugins: plugins(), client, js })
}

/// Two workloads whose handlers also write keys.
fn workloads(connection: &str, name: &str) -> String {
    let text = text(name, "create").replace("publish = [\"out.>\"]", "publish = [\"out.>\"], kv = \"read-write keys\"");
    format!("journal.stream = \"DECIDED\"\n{connection}\n{text}")
}

/// All that a host does, and what its handlers do with keys.
async fn works(site: &Arc<Site>, text: &str, names: [&str; 2]) {
    site.stream("OUT", &["out.>"]).await;
    everything(site.clone(), text, names).await;
    let workloads = Config::from_toml(text).unwrap().workloads;
    let host = Host::start_at(site.clone(), workloads).await;
    let subject = format!("in.{}.a", names[0]);
    assert_eq!(site.request(&subject, "kv keys set a one").await, "done");
    assert_eq!(site.request(&subject, "kv keys get a").await, "one");
    assert_eq!(site.request(&subject, "kv keys list").await, "1 1 a");
    host.stop().await;
    assert_eq!(violations(site).await, Vec::<String>::new());
}

async fn streams(context: &jetstream::Context) -> Vec<String> {
    let mut names: Vec<String> = context.stream_names().try_collect().await.unwrap();
    names.sort();
    names
}

/// A server that leaf nodes may connect to, and where.
pub(super) async fn hub(config: &str) -> (Server, String) {
    let hub = configured(format!("{config}\nleafnodes {{ listen: \"127.0.0.1:-1\" }}")).await;
    let url = until("the hub says where leaf nodes connect", async || {
        let log = std::fs::read_to_string(hub.log_file()).ok()?;
        let (_, rest) = log.split_once("Listening for leafnode connections on ")?;
        rest.lines().next().map(|address| format!("nats-leaf://{}", address.trim()))
    });
    let url = url.await;
    (hub, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_at_a_leaf_node_works_on_the_streams_of_its_hub_by_their_domain() {
    let text = workloads("nats.jetstream-domain = \"hub\"", "leaf");
    let (hub, url) = hub("jetstream { domain: hub }").await;
    let guarded = guarded(&printed(&text, &[]).await);
    let leaf =
        configured(format!("jetstream {{ domain: edge }}\nleafnodes {{ remotes: [{{ url: {url:?} }}] }}\n{guarded}"));
    let site = site(leaf.await, "$JS.hub.API", &inbox("leaf")).await;
    until("the leaf node reaches its hub", async || site.js.query_account().await.ok()).await;
    works(&site, &text, ["leaf-i", "leaf-h"]).await;

    let nowhere = ["--user", "admin", "--password", "all", "--jetstream-domain", "nowhere"];
    let host = Way::to(&*site.server.lock().await, &nowhere).host(site.plugins.path());
    host.waits_with(&["nobody answers under `$JS.nowhere.API`", "nats.jetstream-domain"]).await;
    let here = jetstream::new(site.client.clone());
    assert_eq!(streams(&here).await, Vec::<String>::new());
    let there = jetstream::new(client(&hub).await);
    assert_eq!(streams(&there).await, ["DECIDED", "KV_keys", "OUT", DEAD, "leaf-h", "leaf-i"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_works_on_the_streams_of_another_account_by_an_import() {
    let text = workloads("nats.api-prefix = \"OWNER.API\"", "import");
    let host = format!("{{ user: host, password: some\n{} }}", printed(&text, &[]).await);
    let services = ["$JS.ACK.>", "in.>", "out.>", "tidegate.>"];
    let of_owner = |subject: &str| format!("service: {{ account: OWNER, subject: {subject:?} }}");
    let exports = services.map(|subject| format!("{{ service: {subject:?} }}")).join(", ");
    let imports = services.map(|subject| format!("{{ {} }}", of_owner(subject))).join(", ");
    let renamed = [
        ("$JS.API.INFO", "OWNER.API.INFO"),
        ("$JS.API.STREAM.>", "OWNER.API.STREAM.>"),
        ("$JS.API.CONSUMER.>", "OWNER.API.CONSUMER.>"),
        ("$KV.>", "OWNER.API.$KV.>"),
    ];
    let api = renamed.map(|(subject, to)| format!("{{ {}, to: {to:?} }}", of_owner(subject))).join(", ");
    let server = configured(format!(
        "accounts {{
           OWNER {{
             jetstream: enabled, users: [ {{ user: owner, password: all }} ]
             exports: [ {{ service: \"$JS.API.>\", response_type: stream }}, {{ service: \"$KV.>\" }}, {exports} ]
           }}
           WORKS {{
             users: [ {{ user: admin, password: all }}, {host} ]
             imports: [ {api}, {imports} ]
           }}
         }}"
    ));
    let site = site(server.await, "OWNER.API", &inbox("import")).await;
    works(&site, &text, ["import-i", "import-h"]).await;
}

#[tokio::test]
async fn a_server_that_wants_tls_before_all_else_is_reached_by_a_context() {
    let authority = Authority::new();
    let mut server = configured(authority.server(false)).await;
    let (url, home) = (server.url().replace("tls://", "nats://"), Home::new());
    home.save("first", json!({ "url": url, "ca": authority.file(), "tls_first": true }));
    home.way(&["--context", "first"]).fails(&["does not begin with TLS", "Take away", "tls_first"]).await;
    // From now on the server says nothing before TLS.
    server.configure(&authority.server(false).replace("verify:", "handshake_first: true, timeout: 1, verify:"));
    server.reload().unwrap();
    let says_nothing = async || {
        let mut client = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
        timeout(Duration::from_millis(300), client.read_u8()).await.is_err()
    };
    eventually("the server waits for TLS", says_nothing).await;
    home.way(&["--context", "first"]).works().await;
    let second = Way::flags(["--server", &url, "--tlsca", &authority.file()]);
    second.waits(&["no NATS server answers", "nothing is said on it", "(`handshake_first`)", "tls_first"]).await;
}
