//! What commands do about workloads in accounts of their own.

use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tidegate_runtime::config::{Config, HttpAdmin, Setting};

use super::own_account::{Accounts, accounts, of_user, workload};
use super::permissions::printed;
use crate::support::cli::{Ended, run};
use crate::support::eventually;
use crate::support::host::Host;
use crate::support::site::{DEAD, header};
use crate::support::web::send;

/// The two accounts, and the file of a host with a workload in each.
async fn both() -> (Accounts, NamedTempFile) {
    let both = Accounts::new(&accounts("", "")).await;
    let url = &both.here.nats.servers[0];
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache");
    let head = format!(
        "journal.stream = \"DECIDED\"\nplugins = {{ dir = {:?}, cache = {cache:?} }}\n\
         nats = {{ url = {url:?}, user = \"here\", password = \"some\" }}\n",
        both.here.plugins.path(),
    );
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [head, workload("near", ""), workload("far", &of_user(url, "there"))].concat())
        .unwrap();
    (both, file)
}

async fn command(file: &NamedTempFile, arguments: &[&str]) -> Ended {
    run(arguments.iter().copied().chain(["-c", file.path().to_str().unwrap()])).await
}

async fn answer(file: &NamedTempFile, arguments: &[&str]) -> Value {
    let ended = command(file, &[arguments, &["--output", "json"]].concat()).await;
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.said()))
}

/// A host has run that handled two messages of each workload, the second in vain.
async fn has_run(both: &Accounts, file: &NamedTempFile) {
    let Config { journal, workloads, .. } = Config::from_file(file.path()).unwrap();
    let host = Host::run(both.here.clone(), Config { journal, workloads, ..both.here.config() });
    host.ready(2).await;
    for (site, name) in [(&both.here, "near"), (&both.there, "far")] {
        assert_eq!(site.request(&format!("in.{name}.a"), "reply done").await, "done");
        site.publish(&format!("in.{name}.a"), "reject me").await;
        site.settled(name).await;
        site.stored_count(DEAD, 1).await;
    }
    host.stop().await;
}

/// What the server says of the consumer in the other account.
async fn is_paused(both: &Accounts) -> Value {
    let info = both.there.client.request("$JS.API.CONSUMER.INFO.far.far-workers", "".into()).await.unwrap();
    serde_json::from_slice::<Value>(&info.payload).unwrap()["paused"].take()
}

#[tokio::test]
async fn the_rights_of_each_user_are_printed_with_whose_they_are() {
    let (both, file) = both().await;
    let text = std::fs::read_to_string(file.path()).unwrap();
    let printed = printed(&text, &[]).await;
    let (here, there) = printed.split_once("# the user in [workload.far.nats]\n").unwrap();
    assert!(here.starts_with("# the user in [nats]\npermissions {\n"), "{printed}");
    for (block, own, other) in [(here, "near", "far"), (there, "far", "near")] {
        assert!(block.contains(&format!("\"tidegate.dead.{own}\"")), "{block}");
        assert!(!block.contains(&format!("\"tidegate.dead.{other}\"")), "{block}");
        assert!(block.contains("\"$JS.API.STREAM.CREATE.TIDEGATE_DEAD\""), "{block}");
    }
    assert!(here.contains("\"tidegate.journal.far\"") && !there.contains("tidegate.journal"), "{printed}");
    assert!(there.contains("\"_INBOX_there.>\""), "{there}");
    drop(both);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_looks_at_each_account() {
    let (both, file) = both().await;
    let before = answer(&file, &["check", "--connect"]).await;
    assert_eq!(before["ok"], true, "{before}");
    let made = before["servers"]["made"].to_string();
    for part in
        ["stream near for", "in the account of far: stream far for", "in the account of far: stream TIDEGATE_DEAD"]
    {
        assert!(made.contains(part), "no {part} in {made}");
    }
    has_run(&both, &file).await;
    let after = answer(&file, &["check", "--connect"]).await;
    assert_eq!((&after["ok"], &after["servers"]["made"]), (&json!(true), &json!([])), "{after}");

    both.there.js.delete_stream("far").await.unwrap();
    both.there.stream("other", &["in.far.>"]).await;
    let taken = answer(&file, &["check", "--connect"]).await["problems"].to_string();
    assert!(taken.contains("workload.far.subjects") && !taken.contains("near"), "{taken}");

    both.here.server.lock().await.configure(&accounts("", "").replace("user: there", "user: nobody"));
    both.here.server.lock().await.restart().await.unwrap();
    let refused = answer(&file, &["check", "--connect"]).await["problems"].to_string();
    assert!(refused.contains("workload.far.nats: ") && refused.contains("refuses this client"), "{refused}");
    assert!(refused.contains("correct this table") && !refused.contains("NATS_"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_about_a_workload_goes_to_its_account() {
    let (both, file) = both().await;
    has_run(&both, &file).await;
    if both.there.client.is_server_compatible(2, 11, 0) {
        let paused = command(&file, &["pause", "far"]).await;
        assert_eq!(paused.code, Some(0), "{}", paused.stderr);
        assert_eq!(is_paused(&both).await, json!(true));
        assert_eq!(command(&file, &["resume", "far"]).await.code, Some(0));
        assert_ne!(is_paused(&both).await, json!(true));
    }
    for (name, reply) in [("near", "here"), ("far", "there")] {
        let told = answer(&file, &["explain", name, "2"]).await;
        assert_eq!(
            (&told["fate"], &told["dead_letters"][0]["reason"]),
            (&json!("dead"), &json!("me")),
            "{reply} {told}"
        );
        assert_eq!(told["journal"]["problem"], Value::Null, "{told}");
    }
    // Flags win over the table, as they do over [nats].
    let boss = ["--user", "boss", "--password", "all"];
    let by_boss = answer(&file, &[&["explain", "far", "1"][..], &boss].concat()).await;
    assert_eq!(by_boss["fate"], "settled", "{by_boss}");
    let refused = command(&file, &["explain", "far", "1", "--user", "boss", "--password", "wrong"]).await;
    refused.failed_with(1, &["refuses this client"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_found_and_redriven_in_the_account_of_their_workload() {
    let (both, file) = both().await;
    has_run(&both, &file).await;
    let of = async |arguments: &[&str]| {
        let list = answer(&file, &[&["dead", "list"], arguments].concat()).await;
        list.as_array()
            .unwrap()
            .iter()
            .map(|letter| letter["workload"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!((of(&["--workload", "far"]).await, of(&[]).await), (vec!["far".to_owned()], vec!["near".to_owned()]));
    let told = command(&file, &["dead", "list"]).await.stderr;
    assert!(told.contains("the dead letters of far are in accounts of their own; --workload says of which"), "{told}");
    let shown = command(&file, &["dead", "show", "1", "--workload", "far"]).await;
    assert!(shown.code == Some(0) && shown.stdout.contains("in.far.a"), "{}", shown.said());
    let nobody = command(&file, &["dead", "show", "1", "--workload", "near"]).await;
    assert!(nobody.code == Some(0) && nobody.stdout.contains("in.near.a"), "{}", nobody.said());
    let redriven = command(&file, &["dead", "redrive", "--workload", "far"]).await;
    assert_eq!((redriven.code, redriven.stdout.as_str()), (Some(0), "redrove 1 of 1 dead letter\n"));
    assert_eq!((both.there.stored(DEAD).await.len(), both.here.stored(DEAD).await.len()), (0, 1));
    assert_eq!(both.there.stored("far").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_and_redrives_letters_where_their_workload_is() {
    let (both, file) = both().await;
    has_run(&both, &file).await;
    let config = Config::from_file(file.path()).unwrap();
    let host = Host::run(
        both.here.clone(),
        Config {
            http: Some("127.0.0.1:0".parse().unwrap()),
            http_admin: Some(HttpAdmin { token: Setting::from("a-token-of-the-tests") }),
            workloads: config.workloads,
            ..both.here.config()
        },
    );
    let address = host.address().await;
    host.ready(2).await;
    let subjects = async |query: &str| {
        let list = send(&address, &format!("/api/letters{query}"), &[], None).await.json();
        let all = list["letters"].as_array().unwrap().iter();
        all.map(|letter| letter["subject"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (subjects("?workload=far").await, subjects("").await),
        (vec!["in.far.a".into()], vec!["in.near.a".into()])
    );
    let shown = send(&address, "/api/letters/1?workload=far", &[], None).await.json();
    assert_eq!(shown["subject"], "in.far.a", "{shown}");
    let bearer = ["Authorization: Bearer a-token-of-the-tests"];
    let asked = json!({ "sequences": [1], "workload": "far" });
    let done = send(&address, "/api/letters/redrive", &bearer, Some(asked)).await.json();
    assert_eq!(done["done"], json!([1]), "{done}");
    // It is rejected again: the second letter of that account, and none of the other.
    eventually("it is a letter again", async || {
        let letters = both.there.stored(DEAD).await;
        letters.iter().any(|letter| header(letter, "Tidegate-Redrives") == Some("1"))
    })
    .await;
    assert_eq!(both.here.stored(DEAD).await.len(), 1);
    host.stop().await;
}
