//! The registry of the distribution project, as Debian has it, with TLS by an authority of its own and a password.

use tempfile::TempDir;
use tidegate_artifacts::policies;
use tidegate_test_artifacts::probes;
use tokio::process::Command;

use super::fake::LOGIN;
use super::{Setup, plugin, push, without_directory};
use crate::support::cli::Running;
use crate::support::eventually;
use crate::support::site::Site;
use crate::support::tls::Authority;

/// `LOGIN`, as the registry has it: `htpasswd -nbB`.
const HTPASSWD: &str = "anna:$2y$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.\n";

struct Registry {
    address: String,
    _running: Running,
}

/// Starts one that keeps what it has in `dir`, at this address.
async fn start(dir: &TempDir, authority: &Authority, address: &str) -> Registry {
    let certificate = authority.sign("127.0.0.1");
    let [config, users, data] = ["config.yml", "users", "data"].map(|name| dir.path().join(name).display().to_string());
    std::fs::write(&users, HTPASSWD).unwrap();
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {data}\nhttp:\n  addr: {address}\n  \
         secret: of-the-test\n  tls:\n    certificate: {}\n    key: {}\nauth:\n  htpasswd:\n    realm: test\n    \
         path: {users}\n",
        certificate.cert, certificate.key
    );
    std::fs::write(&config, text).unwrap();
    let program = std::env::var("TIDEGATE_REGISTRY").unwrap_or_else(|_| "docker-registry".to_owned());
    let mut command = Command::new(program);
    command.args(["serve", &config]);
    let mut running = Running::start(command);
    let line = running.line_with("listening on").await;
    let said = line.split("listening on ").nth(1).unwrap();
    let address = said.split([',', '"']).next().unwrap().to_owned();
    Registry { address, _running: running }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_follows_a_tag_in_a_real_registry_and_outlives_it() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
    let registry = start(&dir, &authority, "127.0.0.1:0").await;
    let place = |rest: &str| format!("oci://{}/{rest}", registry.address);
    let (probe, fixed) = (place("acme/probe:1"), place("acme/fixed:1"));
    let setup = Setup::new(Site::new().await, "", "").await;
    let secret = setup.dir.path().join("login");
    std::fs::write(&secret, LOGIN).unwrap();
    let write = |ca: &str, handler: &str| {
        let top = format!(
            "plugins.poll = \"100ms\"\nplugins.oci.cache = \"{}\"\n{ca}\nplugins.oci.credentials.\"{}\" = {{ file = \
             \"{}\" }}",
            setup.dir.path().join("oci").display(),
            registry.address,
            secret.display()
        );
        setup.write(&top, &format!("handler = \"{handler}\""));
        without_directory(&setup, &fixed);
    };
    // Nobody here knows who has signed its certificate.
    write("", &probe);
    setup.check(&["--connect"]).await.failed_with(1, &["certificate", "plugins.oci.ca"]);
    let ca = format!("plugins.oci.ca = \"{}\"", authority.file());
    write(&ca, &probe);
    push(&setup, &fixed, policies::FIXED).await;
    let pinned = push(&setup, &probe, probes::WORKER_V1).await;
    let host = setup.host().await;
    host.uses(&probe, probes::WORKER_V1).await;
    assert_eq!(host.version().await, "v1");
    push(&setup, &probe, probes::WORKER_V2).await;
    host.uses(&probe, probes::WORKER_V2).await;
    assert_eq!(host.version().await, "v2");
    assert_ne!(plugin(&setup, &["pin", &probe]).await.stdout.trim(), pinned);
    host.running.kill().await;
    // By digest it is what it was.
    write(&ca, &pinned);
    let host = setup.host().await;
    host.uses(&pinned, probes::WORKER_V1).await;
    host.running.kill().await;
    // Without the registry both begin with what was fetched.
    write(&ca, &probe);
    let address = registry.address.clone();
    drop(registry);
    let host = setup.host().await;
    host.problem(&probe, &["cannot be reached"]).await;
    assert_eq!(host.version().await, "v2");
    let _registry = start(&dir, &authority, &address).await;
    eventually("the registry is asked again", async || host.plugin(&probe).await["problem"].is_null()).await;
    assert_eq!(host.version().await, "v2");
}
