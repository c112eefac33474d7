use serde_json::{Value, json};
use tidegate_runtime::config::Setting;

use super::{BEARER, TOKEN, host, local, send};
use crate::support::host::workload;
use crate::support::site::{DEAD, Site};
use crate::support::web::ask;
use crate::support::{eventually, log};

/// Asks for a change of letters; gives the code and the answer.
async fn change(address: &str, what: &str, lines: &[&str], body: Value) -> (u16, Value) {
    let answer = send(address, &format!("/api/letters/{what}"), lines, Some(body)).await;
    (answer.code, answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_without_the_token() {
    let (closed, address) = local(None).await;
    closed.publish("in.work.a", "reject no").await;
    closed.stored_count(DEAD, 1).await;
    let site = closed.site.clone();
    let (_open, with_token) =
        host(site.clone(), "127.0.0.1:0", Some(Setting::from(TOKEN)), vec![workload("other")]).await;
    for what in ["redrive", "purge"] {
        let body = json!({ "sequences": [1] });
        let (code, said) = change(&address, what, &[BEARER], body.clone()).await;
        assert!(code == 403 && said["problem"].as_str().unwrap().contains("give the host a token"), "{said}");
        assert_eq!(change(&with_token, what, &[], body.clone()).await.0, 401);
        for wrong in ["Authorization: Bearer a-token-of-the-test", "Authorization: Bearer ", "Authorization: Basic x"] {
            let (code, said) = change(&with_token, what, &[wrong], body.clone()).await;
            assert!([401, 403].contains(&code), "{wrong}: {code} {said}");
        }
        // A request that a form of another page could make.
        let path = format!("/api/letters/{what}");
        assert_eq!(ask(&with_token, "evil.example", &path).await.0, 421);
        assert_eq!(ask(&with_token, &with_token, &path).await.0, 405);
    }
    assert_eq!(site.stored(DEAD).await.len(), 1);
    assert_eq!(send(&with_token, "/api/token", &[BEARER], Some(json!({}))).await.code, 204);
    assert_eq!(send(&with_token, "/api/token", &[], Some(json!({}))).await.code, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_token_letters_are_redriven_and_deleted() {
    let (host, address) = local(Some(TOKEN)).await;
    host.publish("in.work.a", "reject no").await;
    host.publish("in.work.b", "reject no").await;
    host.stored_count(DEAD, 2).await;
    let (code, done) = change(&address, "redrive", &[BEARER], json!({ "sequences": [1, 9] })).await;
    assert_eq!((code, &done["done"], &done["gone"]), (200, &json!([1]), &json!([9])), "{done}");
    // It is rejected again, and says that it was redriven.
    eventually("it has died once more", async || {
        let letter = send(&address, "/api/letters/3", &[], None).await;
        letter.code == 200 && letter.json()["redrives"] == 1
    })
    .await;
    let (code, done) = change(&address, "purge", &[BEARER], json!({ "sequences": [2, 3, 3] })).await;
    assert_eq!((code, &done["done"], &done["gone"]), (200, &json!([2, 3]), &json!([3])), "{done}");
    assert_eq!(host.stored(DEAD).await.len(), 0);
    let wrong = [json!({ "sequences": [] }), json!({ "sequences": vec![1; 101] }), json!({ "sequence": 1 }), json!(1)];
    for body in wrong {
        assert_eq!(change(&address, "purge", &[BEARER], body.clone()).await.0, 400, "{body}");
    }
    let large = json!({ "sequences": vec![1_000_000_000_000_u64; 2000] });
    let refused = send(&address, "/api/letters/purge", &[BEARER], Some(large)).await;
    assert!(refused.code == 413 && refused.json()["problem"].is_string(), "{refused:?}");
    for (path, code) in [("0", 404), ("abc", 400)] {
        let refused = send(&address, &format!("/api/letters/{path}"), &[], None).await;
        assert!(refused.code == code && refused.json()["problem"].is_string(), "{refused:?}");
    }
    let (code, done) = change(&address, "purge", &[BEARER], json!({ "sequences": [0] })).await;
    assert_eq!((code, &done["gone"]), (200, &json!([0])), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_cannot_be_sent_back_stays_and_the_reason_is_told() {
    let (host, address) = local(Some(TOKEN)).await;
    host.publish("in.work.a", "reject no").await;
    host.stored_count(DEAD, 1).await;
    let mut config = host.js.get_stream("work").await.unwrap().cached_info().config.clone();
    config.subjects = vec!["elsewhere.>".to_owned()];
    host.js.update_stream(config).await.unwrap();
    let (code, done) = change(&address, "redrive", &[BEARER], json!({ "sequences": [1] })).await;
    assert_eq!((code, &done["done"], &done["failed"][0][0]), (200, &json!([]), &json!(1)), "{done}");
    assert!(!done["failed"][0][1].as_str().unwrap().is_empty(), "{done}");
    assert_eq!(host.stored(DEAD).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_file_is_read_anew_each_time_and_told_where_it_cannot_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    let token = || Some(Setting::File(path.clone()));
    let missing = Some(Setting::File(directory.path().join("not-there")));
    let (_lacks, _) = host(Site::new().await, "127.0.0.1:0", missing, vec![workload("work")]).await;
    log::logged(&["nobody can redrive or delete", &directory.path().join("not-there").display().to_string()]).await;
    let (_host, address) = host(Site::new().await, "127.0.0.1:0", token(), vec![workload("work")]).await;
    let check = async || send(&address, "/api/token", &[BEARER], Some(json!({}))).await;
    assert_eq!(check().await.code, 204);
    std::fs::write(&path, "another-token-of-the-tests").unwrap();
    assert_eq!(check().await.code, 403);
    std::fs::remove_file(&path).unwrap();
    let missing = check().await;
    assert!(missing.code == 503 && missing.body.contains("http-admin.token"), "{missing:?}");
    std::fs::write(&path, "short").unwrap();
    let short = check().await;
    assert!(short.code == 503 && short.body.contains("fewer than 16 characters"), "{short:?}");
    let place = path.display().to_string();
    assert!(log::count(&[&place]) > 0 && log::count(&[TOKEN]) == 0);
}
