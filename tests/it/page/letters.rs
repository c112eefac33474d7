use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tidegate_runtime::config::{Config, HttpAdmin, Setting};

use super::{BEARER, TOKEN, answers, host, local, send};
use crate::support::host::workload;
use crate::support::site::{DEAD, Site};
use crate::support::web::Answer;

/// What is listed for a query: the sequences, and where to go on.
async fn listed(address: &str, query: &str) -> (Vec<u64>, Option<u64>) {
    let list = send(address, &format!("/api/letters{query}"), &[], None).await;
    assert_eq!(list.code, 200, "{list:?}");
    let list = list.json();
    let sequence = |letter: &Value| letter["sequence"].as_u64().unwrap();
    (list["letters"].as_array().unwrap().iter().map(sequence).collect(), list["before"].as_u64())
}

async fn refused(address: &str, path: &str) -> (u16, String) {
    let Answer { code, body, .. } = send(address, path, &[], None).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    (code, body["problem"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_newest_first_and_found_by_filters() {
    let (host, address) = local(None).await;
    assert_eq!(listed(&address, "").await, (vec![], None));
    for (script, sequence) in [("reject no such customer", 1), ("trap", 2), ("reject twice", 3)] {
        host.publish("in.work.a", script).await;
        host.stored_count(DEAD, sequence).await;
    }
    assert_eq!(listed(&address, "").await, (vec![3, 2, 1], None));
    assert_eq!(listed(&address, "?cause=rejected").await.0, [3, 1]);
    assert_eq!(listed(&address, "?cause=rejected,trapped&reason=customer").await.0, [1]);
    assert_eq!(listed(&address, "?workload=work&subject=in.*.a&before=3").await.0, [2, 1]);
    assert_eq!(listed(&address, "?workload=other").await.0, [] as [u64; 0]);
    assert_eq!(listed(&address, "?plugin=other").await.0, [] as [u64; 0]);
    assert_eq!(refused(&address, "/api/letters?cause=often").await, (400, "often is no cause".to_owned()));
    assert_eq!(refused(&address, "/api/letters?before=x").await.0, 400);
    let (code, why) = refused(&address, "/api/letters/9").await;
    assert!(code == 404 && why.contains("there is no dead letter 9"), "{code} {why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_letters_are_listed_a_page_at_a_time_and_those_of_one_workload_are_found_among_others() {
    let (host, address) = local(None).await;
    let letter = |sequence: u64| {
        [
            ("Tidegate-Stream", "work".to_owned()),
            ("Tidegate-Sequence", sequence.to_string()),
            ("Tidegate-Subject", "in.work.a".to_owned()),
            ("Tidegate-Cause", "rejected".to_owned()),
        ]
    };
    let workloads = std::iter::repeat_n("work", 150).chain(std::iter::repeat_n("other", 1500)).chain(["work"]);
    let mut stored = Vec::new();
    for (sequence, workload) in workloads.enumerate() {
        let mut headers = async_nats::HeaderMap::new();
        letter(sequence as u64 + 1).into_iter().for_each(|(name, value)| headers.append(name, value));
        let subject = format!("tidegate.dead.{workload}");
        stored.push(host.js.publish_with_headers(subject, headers, "".into()).await.unwrap());
    }
    for ack in stored {
        ack.await.unwrap();
    }
    let (page, before) = listed(&address, "").await;
    assert_eq!((page.first(), page.len(), before), (Some(&1651), 100, Some(1552)));
    let (page, before) = listed(&address, "?before=1552").await;
    assert_eq!((page.first(), page.len(), before), (Some(&1551), 100, Some(1452)));
    let (page, before) = listed(&address, "?workload=work").await;
    assert_eq!((&page[..2], page.len()), (&[1651, 150][..], 100));
    let (rest, end) = listed(&address, &format!("?workload=work&before={}", before.unwrap())).await;
    assert_eq!((rest.first(), rest.len(), end), (Some(&(page[99] - 1)), 51, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_shown_with_headers_and_payload_and_nothing_is_longer_than_a_page_can_show() {
    let (host, address) = local(None).await;
    let script = format!("eprint first\neprint <b>no stock\nreject {}\u{202e}<script>", "x".repeat(900));
    let long = "y".repeat(20_000);
    let headers = [("Odd", "a\u{202e}b"), ("Nats-Msg-Id", "mine"), ("Long", long.as_str())];
    host.publish_with("in.work.<b>", &headers, script.clone()).await;
    host.stored_count(DEAD, 1).await;
    let letter = send(&address, "/api/letters/1", &[], None).await.json();
    assert_eq!(letter["subject"], "in.work.<b>");
    assert!(letter["reason"].as_str().unwrap().ends_with("\u{202e}<script>"), "{letter}");
    assert_eq!(letter["stderr"].as_str().unwrap().trim_end(), "first\n<b>no stock");
    assert_eq!(BASE64_STANDARD.decode(letter["payload"].as_str().unwrap()).unwrap(), script.as_bytes());
    let told = letter["headers"].as_array().unwrap();
    assert!(told.contains(&serde_json::json!(["Nats-Msg-Id", "mine"])), "{told:?}");
    let cut = told.iter().find(|pair| pair[0] == "Long").unwrap()[1].as_str().unwrap();
    assert!(cut.chars().count() == 4001 && cut.ends_with('…'), "{}", cut.len());
    let list = send(&address, "/api/letters", &[], None).await.json();
    assert!(list["letters"][0]["reason"].as_str().unwrap().chars().count() <= 301);
    assert_eq!(list["letters"][0]["stderr"], letter["stderr"]);
    // A line of nearly all that the server takes.
    let large = format!("reject no\n# {}", "z".repeat(900_000));
    host.publish("in.work.a", large.clone()).await;
    host.stored_count(DEAD, 2).await;
    let letter = send(&address, "/api/letters/2", &[], None).await.json();
    assert_eq!(letter["bytes"].as_u64(), Some(large.len() as u64));
    assert_eq!(BASE64_STANDARD.decode(letter["payload"].as_str().unwrap()).unwrap(), &large.as_bytes()[..64 << 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_others_can_reach_the_host_letters_are_shown_only_to_who_has_the_token() {
    let site = Site::new().await;
    let all = "0.0.0.0:0";
    let (_first, closed) = host(site.clone(), all, None, vec![workload("work")]).await;
    let (_second, open) = host(site.clone(), all, Some(Setting::from(TOKEN)), vec![workload("other")]).await;
    site.publish("in.work.a", "reject no").await;
    site.stored_count(DEAD, 1).await;
    for path in ["/api/letters", "/api/letters/1"] {
        let (code, why) = refused(&closed, path).await;
        assert!(code == 403 && why.contains("http-admin"), "{path}: {code} {why}");
        assert_eq!(refused(&open, path).await.0, 401, "{path}");
        assert_eq!(send(&open, path, &[BEARER], None).await.code, 200, "{path}");
    }
    // What happens is told to everybody who reaches it, as status and metrics are.
    assert_eq!(send(&closed, "/api/trends", &[], None).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_something_stands_in_front_of_the_host_letters_are_shown_only_to_who_has_the_token() {
    let site = Site::new().await;
    let (http, http_names) = (Some("127.0.0.1:0".parse().unwrap()), vec!["tidegate.internal".to_owned()]);
    let http_admin = Some(HttpAdmin { token: Setting::from(TOKEN) });
    let config = Config { http, http_admin, http_names, workloads: vec![workload("named")], ..site.config() };
    let (_named, named) = answers(site.clone(), config).await;
    let (_own, own) = host(site.clone(), "127.0.0.1:0", None, vec![workload("work")]).await;
    site.publish("in.work.a", "reject no").await;
    site.stored_count(DEAD, 1).await;
    let forwarded =
        ["Forwarded: for=192.0.2.7", "Via: 1.1 front", "X-Forwarded-For: 192.0.2.7", "X-Real-IP: 192.0.2.7"];
    for path in ["/api/letters", "/api/letters/1"] {
        // Something in front asks by the address too.
        assert_eq!(refused(&named, path).await.0, 401, "{path}");
        assert_eq!(send(&named, path, &[BEARER], None).await.code, 200, "{path}");
        assert_eq!(send(&own, path, &[], None).await.code, 200, "{path}");
        for line in forwarded {
            let answer = send(&own, path, &[line], None).await;
            assert!(answer.code == 403 && answer.body.contains("http-admin"), "{path}, {line}: {answer:?}");
        }
    }
}
