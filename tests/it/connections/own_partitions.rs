//! Partitions in an account of their own, which not every host of the fleet reaches.

use serde_json::Value;
use tidegate_runtime::config::Config;

use super::own_account::{Accounts, accounts};
use crate::order::{publish, published};
use crate::support::eventually;
use crate::support::host::Host;
use crate::support::web::get;

#[tokio::test(flavor = "multi_thread")]
async fn partitions_whose_account_a_host_cannot_reach_are_worked_by_another() {
    let Accounts { here, there } = Accounts::new(&accounts("", "")).await;
    if !here.client.is_server_compatible(2, 11, 0) {
        return;
    }
    let member = async |id: &str, password: &str| {
        let text = format!(
            r#"
            fleet.bucket = "FLEET"
            host.id = {id:?}
            [workload.work]
            stream = "work"
            subjects = ["in.work.*"]
            manage = "create"
            order-key = "subject:3"
            partitions = 4
            handler = "probe"
            policy = "fixed"
            scale = {{ interval = "100ms", window = "1s" }}
            pull = {{ expires = "1s" }}
            grants = {{ publish = ["out.>"] }}
            retry = {{ backoff = ["10ms"] }}
            nats = {{ url = {url:?}, user = "there", password = {password:?} }}
            "#,
            url = here.nats.servers[0]
        );
        let Config { fleet, workloads, .. } = Config::from_toml(&text).unwrap_or_else(|errors| panic!("{errors}"));
        let http = Some("127.0.0.1:0".parse().unwrap());
        Host::run(here.clone(), Config { fleet, http, workloads, ..here.config() })
    };
    let has_all = async |host: &Host, id: &str| {
        let (_, body) = get(&host.address().await, "/status").await;
        let status: Value = serde_json::from_str(&body).unwrap();
        status["workloads"].as_array().unwrap().iter().all(|of| of["partition"]["host"] == id)
    };
    let wrong = member("a-wrong", "other").await;
    eventually("it has all partitions, for it is alone", async || has_all(&wrong, "a-wrong").await).await;
    let right = member("right", "some").await;
    eventually("all are given to the one that can work them", async || has_all(&right, "right").await).await;
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    publish(&there, &keys, 0..3).await;
    for (subject, numbers) in published(&there, keys.len() * 3).await {
        assert_eq!(numbers, [0, 1, 2], "{subject}");
    }
    right.stop().await;
    wrong.stop().await;
}
