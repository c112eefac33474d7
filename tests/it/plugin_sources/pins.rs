//! `handler = "receipts@sha256:..."`.

use tidegate_artifacts::policies;
use tidegate_test_artifacts::probes;

use super::{Setup, digest};
use crate::support::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn only_the_pinned_file_runs_and_what_runs_stays() {
    let site = Site::new().await;
    let (one, other) = (digest(probes::WORKER_V1), digest(probes::WORKER_V2));
    let setup = Setup::new(site.clone(), "", &format!("handler = \"probe@sha256:{one}\"")).await;
    let mut host = setup.host().await;
    host.uses("probe", probes::WORKER_V1).await;
    assert_eq!(host.plugin("probe").await["pinned"], one);
    assert_eq!(host.version().await, "v1");
    site.install("probe", probes::WORKER_V2);
    let pins = format!("the configuration pins probe@sha256:{one}");
    host.problem("probe", &[&format!("its digest is sha256:{other}"), &pins]).await;
    let line = host.running.line_with("refused").await;
    for part in ["probe.wasm", &other, &one, "stays in use"] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    assert_eq!(host.version().await, "v1");
    // A host that starts now waits for the pinned file.
    host.running.kill().await;
    let host = setup.host().await;
    host.problem("probe", &[&pins]).await;
    assert!(host.plugin("probe").await["generation"].is_null());
    setup.check(&[]).await.failed_with(1, &["workload work", "probe.wasm", &pins, &other]);
    site.install("probe", probes::WORKER_V1);
    host.uses("probe", probes::WORKER_V1).await;
    assert_eq!(host.version().await, "v1");
    assert_eq!(setup.check(&[]).await.code, Some(0));
}

#[tokio::test]
async fn a_policy_and_a_shadow_are_pinned_too() {
    let site = Site::new().await;
    let (fixed, backlog) = (digest(policies::FIXED), digest(policies::BACKLOG));
    let lines = |shadow: &str| format!("handler = \"probe\"\nshadow.policy = \"backlog@sha256:{shadow}\"");
    let setup = Setup::new(site.clone(), "", &lines(&backlog)).await;
    assert_eq!(setup.check(&[]).await.code, Some(0));
    setup.write("", &lines(&fixed));
    let pins = format!("pins backlog@sha256:{fixed}");
    setup.check(&[]).await.failed_with(1, &["backlog.wasm", &pins, &backlog]);
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let text = text.replace("policy = \"fixed\"", &format!("policy = \"fixed@sha256:{backlog}\""));
    std::fs::write(setup.file(), text).unwrap();
    setup.check(&[]).await.failed_with(1, &["fixed.wasm", &format!("pins fixed@sha256:{backlog}"), &fixed]);
}

#[tokio::test]
async fn a_pin_that_is_no_digest_is_told_by_its_line() {
    let setup = Setup::new(Site::new().await, "", "handler = \"probe@sha256:0123\"").await;
    setup.check(&[]).await.failed_with(1, &["tidegate.toml", "workload.work.handler", "sha256sum probe.wasm"]);
}
