use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{dead, dead_bytes, dead_json, letters, once};
use crate::support::host::Host;
use crate::support::site::{DEAD, Site};

fn pairs(headers: &Value) -> Vec<(&str, &str)> {
    headers.as_array().unwrap().iter().map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_shown_with_all_headers_and_its_payload_byte_for_byte() {
    let host = Host::start(vec![once("work")]).await;
    let payloads: [Vec<u8>; 3] =
        [(0..=255).cycle().take(5000).collect(), Vec::new(), b"reject \xc3\xa9t\xc3\xa9".to_vec()];
    let headers = [("Tint", "blue: sky"), ("Tint", "grün"), ("Nats-Msg-Id", "order 7"), ("Tidegate-Host", "mine")];
    // An empty script succeeds, so the second needs another reason to die.
    host.publish_with("in.work.a", &headers, payloads[0].clone()).await;
    host.stored_count(DEAD, 1).await;
    host.publish_with("in.work.a", &[("A", "1")], payloads[2].clone()).await;
    host.stored_count(DEAD, 2).await;

    assert_eq!(dead_bytes(&host, &["show", "1", "--payload"]).await.stdout, payloads[0]);
    assert_eq!(dead_bytes(&host, &["show", "2", "--payload"]).await.stdout, payloads[2]);
    let shown = dead_json(&host, &["show", "1", "2"]).await;
    let first = &shown[0];
    assert_eq!(BASE64_STANDARD.decode(first["payload"].as_str().unwrap()).unwrap(), payloads[0]);
    let mut original = pairs(&first["headers"]);
    original.sort_by_key(|(name, _)| *name);
    assert_eq!(
        original,
        [("Nats-Msg-Id", "order 7"), ("Tidegate-Host", "mine"), ("Tint", "blue: sky"), ("Tint", "grün")]
    );
    let stored = pairs(&first["stored_headers"]);
    for header in
        [("Tidegate-Original-Nats-Msg-Id", "order 7"), ("Tidegate-Sequence", "1"), ("Tidegate-Cause", "rejected")]
    {
        assert!(stored.contains(&header), "{stored:?}");
    }
    assert_eq!(shown[1]["sequence"], 2);

    let text = dead(&host, &["show", "2"]).await.stdout;
    for part in [
        "dead letter 2 of TIDEGATE_DEAD, kept 20",
        "  subject   in.work.a\n",
        "  stream    work, sequence 2, stored 20",
        "  cause     rejected\n",
        "  reason    été\n",
        "  handler   probe@",
        "headers of the original\n  A: 1\n",
        "  Tidegate-Published-Ms: ",
        "payload, 12 bytes\nreject été\n",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let text = dead(&host, &["show", "1"]).await.stdout;
    assert!(text.contains("00000000  00 01 02 03 "), "{text}");
}

#[tokio::test]
async fn an_empty_payload_is_nothing_and_a_letter_that_is_not_there_is_told() {
    let site = Site::new().await;
    letters(&site, 1).await;
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in [("Subject", "a.b"), ("Stream", "A"), ("Sequence", "1"), ("Cause", "from a newer host")] {
        headers.insert(format!("Tidegate-{name}"), value);
    }
    site.js.publish_with_headers("tidegate.dead.orders", headers, "".into()).await.unwrap().await.unwrap();
    let output = dead_bytes(&site, &["show", "2", "--payload"]).await;
    assert_eq!((output.status.code(), output.stdout, output.stderr), (Some(0), vec![], vec![]));
    let shown = dead_json(&site, &["show", "2"]).await;
    assert_eq!(
        (&shown[0]["payload"], &shown[0]["attempts"], &shown[0]["headers"]),
        (&json!(""), &json!(null), &json!([]))
    );
    assert_eq!(shown[0]["cause"], "from a newer host");
    let missing = dead(&site, &["show", "1", "77"]).await;
    missing.failed_with(1, &["there is no dead letter 77 in TIDEGATE_DEAD", "dead letter 1 of TIDEGATE_DEAD"]);
    dead(&site, &["show", "1", "2", "--payload"]).await.failed_with(2, &["give one sequence"]);
    dead(&site, &["show", "0"]).await.failed_with(2, &["invalid value '0'"]);
    dead(&site, &["show"]).await.failed_with(2, &["<SEQUENCE>"]);
}

/// A forged header, more than a header may hold, and what a terminal would act upon.
const HOSTILE: &str = "eprint \u{1b}[2J Nats-Rollup: all\u{85}\u{2028}\u{202e}\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_wrote_to_standard_error_in_the_call_that_failed_is_kept_and_shown() {
    let host = Host::start(vec![once("work")]).await;
    host.publish("in.work.a", "eprint of a call that went well").await;
    let flood = "eprint and more\n".repeat(900);
    let scripts = [
        "eprint Traceback:\neprint \\ KeyError: stock\nreject no".to_owned(),
        "eprint before it traps\ntrap".to_owned(),
        format!("{HOSTILE}eprint end of it\nretry"),
        format!("eprint first\n{flood}eprint last\nreject no"),
        "reject silently".to_owned(),
    ];
    for (index, script) in scripts.into_iter().enumerate() {
        host.publish("in.work.a", script).await;
        host.stored_count(DEAD, index + 1).await;
    }
    let letters = dead_json(&host, &["show", "1", "2", "3", "4", "5"]).await;
    let stderr = |index: usize| letters[index]["stderr"].as_str().unwrap();
    assert_eq!(stderr(0), "Traceback:\n\\ KeyError: stock");
    assert_eq!(stderr(1), "before it traps");
    assert_eq!(stderr(2), "\\u{1b}[2J Nats-Rollup: all\\u{85}\\u{2028}\\u{202e}\nend of it");
    assert!(stderr(3).starts_with("...") && stderr(3).ends_with("\nand more\nlast"), "{}", stderr(3));
    assert_eq!(stderr(4), "");
    let stored = pairs(&letters[0]["stored_headers"]);
    assert!(stored.contains(&("Tidegate-Stderr", "Traceback:\\n\\\\ KeyError: stock")), "{stored:?}");
    assert!(pairs(&letters[3]["stored_headers"]).iter().all(|(_, value)| value.len() <= 2000));
    assert!(pairs(&letters[4]["stored_headers"]).iter().all(|(name, _)| *name != "Tidegate-Stderr"));

    let text = dead(&host, &["show", "1"]).await.stdout;
    assert!(text.contains("  stderr    Traceback:\n            \\ KeyError: stock\n"), "{text}");
}
