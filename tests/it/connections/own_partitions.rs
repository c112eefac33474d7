//! Partitions in an account of their own, which not every host of the fleet reaches.

use serde_json::Value;

use super::own_account::{Accounts, accounts};
use crate::order::{publish, published};
use crate::partitions::{COUNT, member};
use crate::support::eventually;
use crate::support::host::Host;
use crate::support::web::get;

#[tokio::test(flavor = "multi_thread")]
async fn partitions_whose_account_a_host_cannot_reach_are_worked_by_another() {
    let Accounts { here, there } = Accounts::new(&accounts("", "")).await;
    if !here.client.is_server_compatible(2, 11, 0) {
        return;
    }
    let url = &here.nats.servers[0];
    let with = |password: &str| format!("nats = {{ url = {url:?}, user = \"there\", password = {password:?} }}");
    let has_all = async |host: &Host, id: &str| {
        let (_, body) = get(&host.address().await, "/status").await;
        let status: Value = serde_json::from_str(&body).unwrap();
        let owners: Vec<_> =
            status["workloads"].as_array().unwrap().iter().map(|of| &of["partition"]["host"]).collect();
        owners == [id; COUNT]
    };
    let wrong = member(&here, "a-wrong", &with("other"));
    eventually("it has all partitions, for it is alone", async || has_all(&wrong, "a-wrong").await).await;
    let right = member(&here, "right", &with("some"));
    eventually("all are given to the one that can work them", async || has_all(&right, "right").await).await;
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    publish(&there, &keys, 0..3).await;
    for (subject, numbers) in published(&there, keys.len() * 3).await {
        assert_eq!(numbers, [0, 1, 2], "{subject}");
    }
    // One that rests has no connection of its own, and its server is not to blame.
    let (code, why) = get(&wrong.address().await, "/api/letters?workload=work-p0").await;
    assert_eq!(code, 503, "{why}");
    assert!(why.contains("none while it does not run here") && why.contains("ask a host that works it"), "{why}");
    right.stop().await;
    wrong.stop().await;
}
