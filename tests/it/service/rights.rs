//! What a host needs to answer and a person to ask, as `tidegate permissions` prints it and a server enforces it.

use tidegate_runtime::config::Config;

use crate::connections::permissions::{guarded, printed, site, violations};
use crate::support::cli::run;
use crate::support::host::Host;
use crate::support::{eventually, log};

fn text(name: &str, more: &str) -> String {
    format!(
        r#"
        host.id = "one"
        service = {{ enabled = true, {more} }}
        [workload.{name}]
        stream = "{name}"
        subjects = ["in.{name}.>"]
        manage = "create"
        handler = "probe"
        policy = "fixed"
        "#
    )
}

fn config(text: &str, site: &crate::support::site::Site) -> Config {
    let Config { service, workloads, .. } = Config::from_toml(text).unwrap();
    Config { service, workloads, ..site.config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_is_enough_for_the_host_and_for_who_asks_it() {
    let text = text("granted", "admin = true");
    let host = printed(&text, &[]).await;
    let asks = printed(&text, &["--who-asks"]).await;
    let site = site(&format!("{host} }}\n{{ user: asks, password: some\n{asks}"), None).await;
    let url = site.nats.servers[0].clone();
    let host = Host::run(site.clone(), config(&text, &site));
    host.ready(1).await;
    let ask = async |arguments: &[&str]| {
        let who = ["-s", url.as_str(), "--user", "asks", "--password", "some"];
        run(arguments.iter().chain(&who)).await
    };
    eventually("it answers", async || ask(&["scale", "granted", "status"]).await.code == Some(0)).await;
    for arguments in
        [&["scale", "granted", "set", "2"][..], &["scale", "granted", "auto"], &["drain", "one"], &["undrain", "one"]]
    {
        let ended = ask(arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.said());
    }
    assert_eq!(violations(&site).await, Vec::<String>::new());
    // One right taken away is one thing that cannot be done.
    let less = asks.lines().filter(|line| !line.contains(".drain\"")).collect::<Vec<_>>().join("\n");
    {
        let mut server = site.server.lock().await;
        let host = printed(&text, &[]).await;
        server.configure(&guarded(&format!("{host} }}\n{{ user: asks, password: some\n{less}")));
        server.reload().unwrap();
    }
    eventually("it is denied", async || {
        let ended = ask(&["drain", "one"]).await;
        ended.code == Some(1) && ended.stderr.contains("does not let this user publish to `tidegate.host.one.drain`")
    })
    .await;
    assert_eq!(ask(&["scale", "granted", "status"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_may_not_listen_says_so_once_and_works() {
    let text = text("mute", "admin = true");
    let all = printed(&text, &[]).await;
    let less = all.lines().filter(|line| !line.contains("hear what it is asked")).collect::<Vec<_>>().join("\n");
    let site = site(&less, None).await;
    let host = Host::run(site.clone(), config(&text, &site));
    host.ready(1).await;
    let told = ["\"ERROR\"", "does not let this user subscribe", "tidegate.host.one.>", "`tidegate permissions`"];
    log::logged(&told).await;
    host.publish("in.mute.a", "ok").await;
    host.settled("mute").await;
    // What it may hear it answers.
    assert!(super::ask(&site, "$SRV.PING", "").await.is_some());
    assert_eq!(super::ask(&site, "tidegate.host.one.status", "").await, None);
    assert_eq!(log::count(&told), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_takes_no_orders_unless_its_configuration_says_so() {
    let text = text("firm", "admin = false");
    let printed_less = printed(&text, &[]).await;
    assert!(!printed_less.contains("CONSUMER.PAUSE"), "{printed_less}");
    let asks = printed(&text, &["--who-asks"]).await;
    assert!(asks.contains("tidegate.host.one.status") && !asks.contains("scale."), "{asks}");
    let site = crate::support::site::Site::new().await;
    let host = Host::run(site.clone(), config(&text, &site));
    host.ready(1).await;
    eventually("it answers", async || super::ask(&site, "$SRV.PING.tidegate.one", "").await.is_some()).await;
    for what in ["scale.firm", "drain", "undrain", "pause.firm", "resume.firm"] {
        let body = if what.starts_with("scale") { "{\"set\":1}" } else { "" };
        let (code, words) = super::refused(&site, &format!("tidegate.host.one.{what}"), body).await;
        assert!(code == 403 && words.contains("set service.admin = true"), "{what}: {code} {words}");
    }
    let ended = run(["drain", "one", "-s", &site.nats.servers[0]]).await;
    ended.failed_with(1, &["host one: this host takes no orders by NATS: set service.admin = true"]);
    let stats = super::answer(&site, "$SRV.STATS.tidegate.one", "").await;
    assert_eq!(stats["endpoints"].as_array().unwrap().iter().filter(|of| of["name"] == "drain").count(), 0);
}

#[tokio::test]
async fn without_a_service_there_is_nobody_to_ask_and_nothing_to_permit() {
    let with = text("off", "admin = true");
    let without = with.replace("service = { enabled = true, admin = true }", "").replace("host.id = \"one\"", "");
    assert!(!printed(&without, &[]).await.contains("$SRV"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tidegate.toml");
    std::fs::write(&file, without).unwrap();
    let ended = run(["permissions", "--who-asks", "-c", file.to_str().unwrap()]).await;
    ended.failed_with(1, &["answer nobody: service.enabled is false", "service.admin = true"]);
}
