//! `[plugins] trusted`, `tidegate plugin sign` and `verify`.

use nkeys::KeyPair;
use serde_json::Value;
use tidegate_test_artifacts::probes;

use super::{Setup, digest};
use crate::support::cli::{Ended, run};
use crate::support::site::Site;

/// A signer with its seed in a file.
struct Signing {
    dir: tempfile::TempDir,
    key: String,
}

impl Signing {
    fn new() -> Self {
        let (dir, pair) = (tempfile::tempdir().unwrap(), KeyPair::new_user());
        std::fs::write(dir.path().join("seed"), format!("{}\n", pair.seed().unwrap())).unwrap();
        Self { dir, key: pair.public_key() }
    }

    async fn sign(&self, site: &Site, plugins: &[&str]) -> Ended {
        let files: Vec<String> = plugins.iter().map(|name| file(site, name)).collect();
        let seed = self.dir.path().join("seed").display().to_string();
        let mut words = vec!["plugin", "sign", "--seed-file", &seed];
        words.extend(files.iter().map(String::as_str));
        run(words).await
    }
}

fn file(site: &Site, name: &str) -> String {
    site.plugins.path().join(format!("{name}.wasm")).display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_runs_what_is_signed_by_whom_it_trusts_and_nothing_else() {
    let (site, signing, other) = (Site::new().await, Signing::new(), Signing::new());
    let setup =
        Setup::new(site.clone(), &format!("plugins.trusted = \"{}\"", signing.key), "handler = \"probe\"").await;
    // Nothing is signed yet: the host waits, by name.
    let mut host = setup.host().await;
    host.problem("probe", &["it is not signed", "tidegate plugin sign"]).await;
    host.running.line_with("probe.wasm: it is not signed").await;
    setup.check(&[]).await.failed_with(1, &["probe.wasm", "it is not signed"]);
    let ended = signing.sign(&site, &["probe", "fixed"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(ended.stdout.contains(&format!("signed by {}", signing.key)), "{}", ended.stdout);
    host.uses("probe", probes::WORKER_V1).await;
    assert_eq!(host.version().await, "v1");
    assert_eq!(setup.check(&[]).await.code, Some(0));
    // The next generation, with the signature of the one before, then one by somebody else, then the right one.
    site.install("probe", probes::WORKER_V2);
    host.problem("probe", &["is of other content", &signing.key]).await;
    other.sign(&site, &["probe"]).await;
    host.problem("probe", &[&format!("it is signed by {}", other.key), "plugins.trusted"]).await;
    assert_eq!(host.version().await, "v1");
    assert_eq!(host.plugin("probe").await["generation"], digest(probes::WORKER_V1));
    signing.sign(&site, &["probe"]).await;
    host.uses("probe", probes::WORKER_V2).await;
    assert_eq!(host.version().await, "v2");
}

#[tokio::test]
async fn what_is_there_is_listed_with_who_signed_it_who_uses_it_and_why_it_would_be_refused() {
    let (site, signing) = (Site::new().await, Signing::new());
    let pin = digest(probes::WORKER_V2);
    let handler = format!("handler = \"probe@sha256:{pin}\"");
    let setup = Setup::new(site.clone(), &format!("plugins.trusted = \"{}\"", signing.key), &handler).await;
    signing.sign(&site, &["probe"]).await;
    let listed = run(["plugins", "list", "--config", &setup.file(), "--output", "json"]).await;
    let told: Value = serde_json::from_str(&listed.stdout).unwrap_or_else(|_| panic!("{}", listed.said()));
    let of = |name: &str| told["plugins"].as_array().unwrap().iter().find(|one| one["plugin"] == name).unwrap().clone();
    let probe = of("probe");
    assert_eq!(probe["sha256"], digest(probes::WORKER_V1));
    assert_eq!(probe["signed_by"], signing.key.as_str());
    assert_eq!(probe["used"][0]["workload"], "work");
    assert_eq!(probe["used"][0]["pinned"], pin.as_str());
    assert_eq!(probe["problems"][0], format!("as the handler of work, which pins probe@sha256:{pin}"));
    assert!(of("fixed")["problems"][0].as_str().unwrap().contains("it is not signed"));
    let text = run(["plugin", "list", "--config", &setup.file()]).await.stdout;
    assert!(text.contains("handler of work, pinned") && text.contains("refused: it is not signed"), "{text}");
}

#[tokio::test]
async fn verifying_says_whether_it_is_signed_by_whom() {
    let (site, signing, other) = (Site::new().await, Signing::new(), Signing::new());
    let file = file(&site, "probe");
    let verify = async |key: &str| run(["plugin", "verify", &file, "--trusted", key]).await;
    verify(&signing.key).await.failed_with(1, &["probe.wasm: it is not signed"]);
    signing.sign(&site, &["probe"]).await;
    let good = verify(&signing.key).await;
    assert_eq!((good.code, good.stdout), (Some(0), format!("{file}: signed by {}\n", signing.key)));
    verify(&other.key).await.failed_with(1, &["it is signed by", &signing.key]);
    site.install("probe", probes::WORKER_V2);
    verify(&signing.key).await.failed_with(1, &["is of other content"]);
    let missing = file.replace("probe", "nothing");
    run(["plugin", "verify", &missing, "--trusted", &other.key]).await.failed_with(1, &["cannot read", &missing]);
}

#[tokio::test]
async fn what_is_no_key_or_no_seed_is_told_and_secrets_are_not_repeated() {
    let site = Site::new().await;
    let (signing, seed) = (Signing::new(), KeyPair::new_user().seed().unwrap());
    let account = KeyPair::new_account().public_key();
    let handler = "handler = \"probe\"";
    for (trusted, expected) in [
        (format!("[\"{seed}\"]"), "this is a seed, which is a secret"),
        ("\"UA\"".to_owned(), "is not a public nkey"),
        (format!("\"{account}\""), "is not the nkey of a user"),
        ("[]".to_owned(), "nobody may sign"),
    ] {
        let setup = Setup::new(site.clone(), &format!("plugins.trusted = {trusted}"), handler).await;
        let ended = setup.check(&[]).await;
        ended.failed_with(1, &["tidegate.toml", "plugins.trusted", expected]);
        assert!(!ended.said().contains(&seed), "{}", ended.said());
    }
    std::fs::write(signing.dir.path().join("seed"), "SUsecret").unwrap();
    let ended = signing.sign(&site, &["probe"]).await;
    ended.failed_with(1, &["it does not hold a seed", "nk -gen user"]);
    assert!(!ended.said().contains("SUsecret"));
    assert!(!site.plugins.path().join("probe.wasm.sig").exists());
}
