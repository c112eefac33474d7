//! `oci://`: plugins in registries.

mod fake;
#[cfg(feature = "test-registry")]
mod real;

use nkeys::KeyPair;
use serde_json::Value;
use tidegate_artifacts::policies;
use tidegate_test_artifacts::probes;

use self::fake::{Fake, LOGIN, Lie, Wants};
use super::{Setup, digest};
use crate::support::cli::{Ended, run};
use crate::support::eventually;
use crate::support::site::Site;

/// A workload whose handler is at `handler`, with a registry at `address` that speaks no TLS.
async fn setup(address: &str, handler: &str, top: &str) -> Setup {
    let setup = Setup::new(Site::new().await, "", "").await;
    write(&setup, address, handler, top);
    setup
}

fn write(setup: &Setup, address: &str, handler: &str, top: &str) {
    let cache = setup.dir.path().join("oci").display().to_string();
    let top = format!(
        "plugins.poll = \"100ms\"\nplugins.oci.plain-http = [\"{address}\"]\nplugins.oci.timeout = \
         \"30s\"\nplugins.oci.cache = \"{cache}\"\n{top}"
    );
    setup.write(&top, &format!("handler = \"{handler}\""));
}

/// Takes the directory of plugins out of the configuration, and with this policy in place of the one in it.
fn without_directory(setup: &Setup, policy: &str) {
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("plugins.dir")).collect();
    let text = lines.join("\n").replace("policy = \"fixed\"", &format!("policy = \"{policy}\""));
    std::fs::write(setup.file(), text).unwrap();
}

async fn plugin(setup: &Setup, words: &[&str]) -> Ended {
    run([&["plugin"], words, &["--config", &setup.file()]].concat()).await
}

/// Pushes this content to this place, and gives the reference by digest.
async fn push(setup: &Setup, to: &str, bytes: &[u8]) -> String {
    let file = setup.dir.path().join("pushed.wasm");
    std::fs::write(&file, bytes).unwrap();
    let ended = plugin(setup, &["push", file.to_str().unwrap(), "--to", to, "--output", "json"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    serde_json::from_str::<Value>(&ended.stdout).unwrap()["pinned"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_swap_when_a_tag_moves_and_stay_with_a_digest() {
    let fake = Fake::start(Wants::Nothing).await;
    let (probe, fixed) = (fake.place("acme/probe:1"), fake.place("acme/fixed:1"));
    let setup = setup(&fake.address, &probe, "").await;
    // All of it comes from the registry, so there need be no directory.
    without_directory(&setup, &fixed);
    let mut host = setup.host().await;
    let line = host.running.line_with("the registry").await;
    assert!(line.contains("does not have it; put it there with `tidegate plugin push"), "{line}");
    push(&setup, &fixed, policies::FIXED).await;
    let pinned = push(&setup, &probe, probes::WORKER_V1).await;
    host.uses(&probe, probes::WORKER_V1).await;
    assert_eq!(host.version().await, "v1");
    assert_eq!(plugin(&setup, &["pin", &probe]).await.stdout.trim(), pinned);
    // Without --connect no registry is asked.
    let before = fake.seen.lock().len();
    let checked = setup.check(&["--output", "json"]).await;
    let told: Value = serde_json::from_str(&checked.stdout).unwrap_or_else(|_| panic!("{}", checked.said()));
    assert!(told["warnings"].to_string().contains("is not looked at without its registry"), "{told}");
    assert!(fake.seen.lock().len() >= before);
    let checked = setup.check(&["--connect"]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.said());
    let listed = plugin(&setup, &["list", "--output", "json"]).await;
    let told: Value = serde_json::from_str(&listed.stdout).unwrap_or_else(|_| panic!("{}", listed.said()));
    let of = |name: &str| told["plugins"].as_array().unwrap().iter().find(|one| one["plugin"] == name).unwrap().clone();
    assert_eq!(of(&probe)["sha256"], digest(probes::WORKER_V1));
    assert_eq!(of(&fixed)["used"][0]["role"], "policy");
    // Any place, whether a workload names it or not.
    for place in [&probe, &pinned] {
        let shown = plugin(&setup, &["show", place]).await;
        assert!(shown.stdout.contains("it is a handler"), "{}", shown.said());
    }
    // A directory is made that is not there.
    let into = setup.dir.path().join("files/of");
    let fetched = plugin(&setup, &["fetch", &probe, "--into", into.to_str().unwrap()]).await;
    assert_eq!(fetched.code, Some(0), "{}", fetched.said());
    assert_eq!(std::fs::read(into.join("probe.wasm")).unwrap(), probes::WORKER_V1);
    // The tag moves.
    push(&setup, &probe, probes::WORKER_V2).await;
    host.uses(&probe, probes::WORKER_V2).await;
    assert_eq!(host.version().await, "v2");
    host.running.kill().await;
    write(&setup, &fake.address, &pinned, "");
    without_directory(&setup, &fixed);
    let host = setup.host().await;
    host.uses(&pinned, probes::WORKER_V1).await;
    assert_eq!(host.version().await, "v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_slow_or_lies_changes_nothing_and_is_told() {
    let fake = Fake::start(Wants::Nothing).await;
    let place = fake.place("acme/probe:1");
    let setup = setup(&fake.address, &place, "").await;
    push(&setup, &place, probes::WORKER_V1).await;
    let old = fake.manifests.lock().get("acme/probe:1").unwrap().clone();
    push(&setup, &fake.place("acme/probe:2"), probes::WORKER_V2).await;
    let next = fake.manifests.lock().get("acme/probe:2").unwrap().clone();
    let text = std::fs::read_to_string(setup.file()).unwrap().replace("timeout = \"30s\"", "timeout = \"2s\"");
    std::fs::write(setup.file(), text).unwrap();
    let host = setup.host().await;
    host.uses(&place, probes::WORKER_V1).await;
    for (lie, expected) in [
        (Lie::Broken, "answers 503"),
        (Lie::Silent, "does not give it within 2s"),
        (Lie::OtherManifest, "sends a manifest that does not have its digest"),
        (Lie::EndlessManifest, "sends more than the 262144 bytes"),
        (Lie::Index, "it is an index of several artifacts"),
        (Lie::ManifestElsewhere, "leads elsewhere, which is not followed"),
        (Lie::OtherComponent, "sends a component that does not have its digest"),
        (Lie::EndlessComponent, "that this may have"),
        (Lie::HalfComponent, "sends a component that does not have its digest"),
        (Lie::ComponentElsewhere, "leads elsewhere, which is not followed"),
    ] {
        fake.lies(lie);
        fake.manifests.lock().insert("acme/probe:1".to_owned(), next.clone());
        host.problem(&place, &[&fake.address, expected].map(|part| if lie == Lie::Index { "index" } else { part }))
            .await;
        assert_eq!(host.plugin(&place).await["generation"], digest(probes::WORKER_V1), "{lie:?}");
        assert_eq!(host.version().await, "v1", "{lie:?}");
        fake.manifests.lock().insert("acme/probe:1".to_owned(), old.clone());
        fake.lies(Lie::Nothing);
        host.uses(&place, probes::WORKER_V1).await;
    }
    // What is no component in the layout of one.
    let text = String::from_utf8(next.to_vec()).unwrap();
    let other = text.replace("application/vnd.wasm.config.v0+json", "application/vnd.oci.image.config.v1+json");
    fake.manifests.lock().insert("acme/probe:1".to_owned(), other.into());
    host.problem(&place, &["it is no component but application/vnd.oci.image.config.v1+json"]).await;
    fake.manifests.lock().insert("acme/probe:1".to_owned(), next);
    host.uses(&place, probes::WORKER_V2).await;
    assert_eq!(host.version().await, "v2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_the_registry_begins_with_what_was_fetched_before() {
    let fake = Fake::start(Wants::Nothing).await;
    let place = fake.place("acme/probe:1");
    let setup = setup(&fake.address, &place, "").await;
    push(&setup, &place, probes::WORKER_V1).await;
    let host = setup.host().await;
    host.uses(&place, probes::WORKER_V1).await;
    host.running.kill().await;
    fake.lies(Lie::Broken);
    let mut host = setup.host().await;
    host.running.line_with("what was fetched before is used").await;
    host.problem(&place, &["answers 503"]).await;
    eventually("it is in use", async || host.plugin(&place).await["generation"] == digest(probes::WORKER_V1)).await;
    assert_eq!(host.version().await, "v1");
    fake.lies(Lie::Nothing);
    host.uses(&place, probes::WORKER_V1).await;
}

/// Changes what is written in the configuration.
fn rewrite(setup: &Setup, from: &str, to: &str) {
    let text = std::fs::read_to_string(setup.file()).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(setup.file(), text.replace(from, to)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_where_the_component_cannot_be_fetched_begins_with_what_was_fetched_before() {
    let fake = Fake::start(Wants::Nothing).await;
    let place = fake.place("acme/probe:1");
    let setup = setup(&fake.address, &place, "").await;
    push(&setup, &place, probes::WORKER_V1).await;
    let host = setup.host().await;
    host.uses(&place, probes::WORKER_V1).await;
    host.running.kill().await;
    // The tag has moved, and the component that it leads to does not come.
    push(&setup, &place, probes::WORKER_V2).await;
    fake.lies(Lie::HalfComponent);
    let mut host = setup.host().await;
    host.running.line_with("what was fetched before is used").await;
    host.problem(&place, &["sends a component that does not have its digest"]).await;
    eventually("it is in use", async || host.plugin(&place).await["generation"] == digest(probes::WORKER_V1)).await;
    assert_eq!(host.version().await, "v1");
    fake.lies(Lie::Nothing);
    host.uses(&place, probes::WORKER_V2).await;
    assert_eq!(host.version().await, "v2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_to_what_cannot_be_fetched_does_not_stop_what_is_being_compiled() {
    let fake = Fake::start(Wants::Nothing).await;
    let place = fake.place("acme/probe:1");
    let setup = setup(&fake.address, &place, "").await;
    push(&setup, &place, probes::WORKER_V1).await;
    let old = fake.manifests.lock().clone();
    push(&setup, &place, probes::WORKER_V2).await;
    let next = std::mem::replace(&mut *fake.manifests.lock(), old);
    fake.blobs.lock().remove(&digest(probes::WORKER_V2)).unwrap();
    // It moves as soon as the first component is fetched, and compiling that takes longer than a poll.
    *fake.next.lock() = Some(next);
    let compiled = setup.dir.path().join("compiled").display().to_string();
    rewrite(&setup, concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache"), &compiled);
    let host = setup.host().await;
    host.problem(&place, &["does not have it"]).await;
    eventually("it is in use", async || host.plugin(&place).await["generation"] == digest(probes::WORKER_V1)).await;
    assert_eq!(host.version().await, "v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_does_not_take_the_place_of_what_is_kept() {
    let fake = Fake::start(Wants::Nothing).await;
    let place = fake.place("acme/probe:1");
    let setup = setup(&fake.address, &place, "").await;
    push(&setup, &place, probes::WORKER_V1).await;
    let host = setup.host().await;
    host.uses(&place, probes::WORKER_V1).await;
    push(&setup, &place, policies::FIXED).await;
    host.problem(&place, &["it is a policy, and is used as a handler"]).await;
    assert_eq!(host.version().await, "v1");
    host.running.kill().await;
    fake.lies(Lie::Broken);
    let host = setup.host().await;
    eventually("it is in use", async || host.plugin(&place).await["generation"] == digest(probes::WORKER_V1)).await;
    assert_eq!(host.version().await, "v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_artifact_that_workloads_use_differently_is_asked_for_once() {
    let fake = Fake::start(Wants::Nothing).await;
    let place = fake.place("acme/probe:1");
    let setup = setup(&fake.address, &place, "").await;
    push(&setup, &place, probes::BATCH).await;
    rewrite(&setup, "plugins.poll = \"100ms\"", "plugins.poll = \"1day\"");
    let workload = |name: &str, more: &str| {
        format!(
            "[workload.{name}]\nstream = \"{name}\"\nsubjects = [\"in.{name}.>\"]\nmanage = \"create\"\npolicy = \
             \"fixed\"\nhandler = \"{place}\"\n{more}\n"
        )
    };
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let more = workload("other", "") + &workload("batches", "batching.size = 10");
    std::fs::write(setup.file(), format!("{text}{more}")).unwrap();
    fake.seen.lock().clear();
    let host = setup.host().await;
    host.uses(&place, probes::BATCH).await;
    let seen = fake.seen.lock().clone();
    assert_eq!(seen.iter().filter(|asked| asked.contains("/manifests/")).count(), 1, "{seen:?}");
    assert_eq!(seen.iter().filter(|asked| asked.contains("/large/blobs/")).count(), 1, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_given_where_a_registry_wants_them_and_are_never_shown() {
    for wants in [Wants::Basic, Wants::Token] {
        let fake = Fake::start(wants).await;
        let place = fake.place("acme/probe:1");
        let setup = setup(&fake.address, &place, "").await;
        let secret = setup.dir.path().join("login");
        let credentials = format!(
            "plugins.oci.docker-config = \"{}\"\nplugins.oci.credentials.\"{}\" = {{ file = \"{}\" }}",
            setup.dir.path().join("config.json").display(),
            fake.address,
            secret.display()
        );
        // Nobody is named.
        let nothing = format!("plugins.oci.docker-config = \"{}\"", setup.dir.path().join("config.json").display());
        std::fs::write(setup.dir.path().join("config.json"), "{}").unwrap();
        write(&setup, &fake.address, &place, &nothing);
        setup.check(&["--connect"]).await.failed_with(1, &[&place, "there are no credentials for it"]);
        // Somebody else is.
        std::fs::write(&secret, "anna:wrong-one\n").unwrap();
        write(&setup, &fake.address, &place, &credentials);
        let ended = setup.check(&["--connect"]).await;
        ended.failed_with(1, &["does not let who has these credentials have this"]);
        assert!(!ended.said().contains("wrong-one"), "{}", ended.said());
        let host = setup.host().await;
        let told = host.problem(&place, &["see that they are right"]).await;
        assert!(!told.contains("wrong-one"), "{told}");
        // The file is read each time.
        std::fs::write(&secret, LOGIN).unwrap();
        push(&setup, &place, probes::WORKER_V1).await;
        host.uses(&place, probes::WORKER_V1).await;
        // As docker has it.
        let auth = data_encoding::BASE64.encode(LOGIN.as_bytes());
        let config = format!("{{\"auths\": {{\"{}\": {{\"auth\": \"{auth}\"}}}}}}", fake.address);
        std::fs::write(setup.dir.path().join("config.json"), config).unwrap();
        write(&setup, &fake.address, &place, &nothing);
        let ended = setup.check(&["--connect"]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_be_signed_is_signed_in_the_artifact() {
    let fake = Fake::start(Wants::Nothing).await;
    let (place, pair) = (fake.place("acme/probe:1"), KeyPair::new_user());
    let setup = setup(&fake.address, &place, "").await;
    push(&setup, &place, probes::WORKER_V1).await;
    push(&setup, &fake.place("acme/fixed:1"), policies::FIXED).await;
    // From now on it has to be.
    let trusted = format!("plugins.trusted = \"{}\"", pair.public_key());
    write(&setup, &fake.address, &place, &trusted);
    let host = setup.host().await;
    host.problem(&place, &["it is not signed"]).await;
    setup.check(&["--connect"]).await.failed_with(1, &[&place, "it is not signed"]);
    let (file, seed) = (setup.dir.path().join("pushed.wasm"), setup.dir.path().join("seed"));
    std::fs::write(&file, probes::WORKER_V1).unwrap();
    std::fs::write(&seed, pair.seed().unwrap()).unwrap();
    let signed = run(["plugin", "sign", file.to_str().unwrap(), "--seed-file", seed.to_str().unwrap()]).await;
    assert_eq!(signed.code, Some(0), "{}", signed.said());
    push(&setup, &place, probes::WORKER_V1).await;
    host.uses(&place, probes::WORKER_V1).await;
    // Both come along into a directory.
    let fetched = plugin(&setup, &["fetch", &place, "--into", setup.dir.path().to_str().unwrap()]).await;
    assert_eq!(fetched.code, Some(0), "{}", fetched.said());
    let fetched = setup.dir.path().join("probe.wasm");
    let key = pair.public_key();
    let verified = run(["plugin", "verify", fetched.to_str().unwrap(), "--trusted", &key]).await;
    assert_eq!(verified.code, Some(0), "{}", verified.said());
    // The signature of another content.
    std::fs::write(&file, probes::WORKER_V2).unwrap();
    plugin(&setup, &["push", file.to_str().unwrap(), "--to", &place]).await.failed_with(1, &["is of other content"]);
}

#[tokio::test]
async fn what_is_no_place_in_a_registry_and_a_secret_in_the_file_are_told() {
    let setup = setup("localhost:5000", "oci://ghcr.io/acme/probe", "").await;
    setup.check(&[]).await.failed_with(1, &["handler", "has neither a tag nor a digest", "oci://REGISTRY/NAME:TAG"]);
    let login = "plugins.oci.credentials.\"ghcr.io\" = \"anna:hunter2\"";
    write(&setup, "localhost:5000", "oci://ghcr.io/acme/probe:1", login);
    let ended = setup.check(&[]).await;
    ended.failed_with(1, &["plugins.oci.credentials", "ghcr.io", "{ env = "]);
    assert!(!ended.said().contains("hunter2"), "{}", ended.said());
}
