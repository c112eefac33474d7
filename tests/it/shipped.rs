//! What is shipped beside the program: the unit of systemd, the manifests, the image, the oldest Rust.

use std::path::Path;
use std::process::Command;

use tidegate_artifacts::{policies, workers};

use crate::support::cli::run;
use crate::support::eventually;
use crate::support::host::{Host, install, workers};
use crate::support::site::Site;
use crate::support::web::get;

const UNIT: &str = include_str!("../../examples/systemd/tidegate.service");
const CONFIG_MAP: &str = include_str!("../../examples/kubernetes/configmap.yaml");
const DEPLOYMENT: &str = include_str!("../../examples/kubernetes/deployment.yaml");
const DOCKERFILE: &str = include_str!("../../Dockerfile");

#[test]
fn systemd_takes_the_unit() {
    let installed = "/usr/local/bin/tidegate";
    assert!(UNIT.contains(installed));
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("tidegate.service");
    std::fs::write(&unit, UNIT.replace(installed, env!("CARGO_BIN_EXE_tidegate"))).unwrap();
    let Ok(verified) = Command::new("systemd-analyze").arg("verify").arg(&unit).output() else {
        eprintln!("not checked: there is no systemd-analyze");
        return;
    };
    // It ends well with a directive that it does not know, and says so.
    let said = String::from_utf8_lossy(&verified.stderr);
    let of_the_unit: Vec<&str> = said.lines().filter(|line| line.contains("tidegate")).collect();
    assert!(verified.status.success() && of_the_unit.is_empty(), "{said}");
}

#[tokio::test]
async fn the_program_takes_the_configuration_of_the_manifests() {
    let (_, block) = CONFIG_MAP.split_once("tidegate.toml: |\n").unwrap();
    let text: String = block.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    let dir = tempfile::tempdir().unwrap();
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    for (name, bytes) in policies::ALL.iter().chain(workers::ALL) {
        install(&plugins, name, bytes);
    }
    assert!(text.contains("dir = \"/plugins\"") && DEPLOYMENT.contains("mountPath: /plugins"), "{text}");
    let file = dir.path().join("tidegate.toml");
    std::fs::write(&file, text.replace("/plugins", plugins.to_str().unwrap())).unwrap();
    let ended = run(["check", "-c", file.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
}

#[tokio::test]
async fn the_image_and_the_unit_run_commands_that_there_are() {
    // As the program takes them, with `--help` in place of running.
    for line in ["run --config /etc/tidegate/tidegate.toml", "plugins export /plugins", "health", "run"] {
        let quoted: Vec<String> = line.split(' ').map(|word| format!("\"{word}\"")).collect();
        let printed = [UNIT, DOCKERFILE, DEPLOYMENT]
            .iter()
            .any(|text| text.contains(&format!("tidegate {line}")) || text.contains(&quoted.join(", ")));
        assert!(printed, "nothing runs `{line}`");
        let ended = run(line.split(' ').chain(["--help"])).await;
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.said());
    }
}

/// All is built with the oldest Rust that is promised, so that the promise is tried by every test.
#[test]
fn the_oldest_rust_that_is_promised_is_the_one_that_all_is_built_with() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let toolchain = text("rust-toolchain.toml");
    let (_, channel) = toolchain.split_once("channel = \"").unwrap();
    let (minor, _) = channel.split_once('"').unwrap().0.rsplit_once('.').unwrap();
    for file in ["Cargo.toml", "guest-sdk/Cargo.toml"] {
        assert!(text(file).contains(&format!("rust-version = \"{minor}\"")), "{file} does not promise Rust {minor}");
    }
    assert!(text("README.md").contains(&format!("Rust {minor} or newer")), "README.md does not promise Rust {minor}");
}

/// What starts and ends pods asks for what there is.
#[tokio::test(flavor = "multi_thread")]
async fn the_autoscalers_of_the_examples_read_what_a_host_answers() {
    const KEDA: &str = include_str!("../../examples/kubernetes/scaling/keda.yaml");
    const HPA: &str = include_str!("../../examples/kubernetes/scaling/hpa.yaml");
    const ADAPTER: &str = include_str!("../../examples/kubernetes/scaling/prometheus-adapter.yaml");
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.trim_start_matches([' ', '-']).strip_prefix(&format!("{key}: ")));
        line.unwrap_or_else(|| panic!("no {key} in\n{text}")).trim_matches('"').to_owned()
    };
    let url = value(KEDA, "url");
    let place = url.strip_prefix("http://tidegate:8222").unwrap();
    assert!(DEPLOYMENT.contains("containerPort: 8222"), "{DEPLOYMENT}");
    for scaler in [KEDA, HPA] {
        assert!(scaler.contains("scaleTargetRef:\n") && scaler.contains("    name: tidegate\n"), "{scaler}");
    }
    let (host, address) = Host::over_http(Site::new().await, workers("pods", 5)).await;
    host.ready(1).await;
    let location = value(KEDA, "valueLocation");
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    eventually("as many hosts are wanted as the workers need", async || {
        let (code, body) = get(&address, place).await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        code == 200 && body[&location] == 5_u64.div_ceil(cores) && body["desired_workers"] == 5
    })
    .await;
    let metric = value(&HPA[HPA.find("metric:\n").unwrap()..], "name");
    assert_eq!(value(ADAPTER, "seriesQuery"), metric);
    let (_, metrics) = get(&address, "/metrics").await;
    let line = metrics.lines().find(|line| line.starts_with(&format!("{metric} "))).unwrap();
    assert_eq!(line, format!("{metric} {}", 5_u64.div_ceil(cores)));
    // Of one workload, and of one that there is not.
    let (_, body) = get(&address, "/scale?workload=pods").await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap()["workloads"][0]["name"], "pods");
    assert_eq!(get(&address, "/scale?workload=pod").await, (404, "this host has no such workload\n".to_owned()));
}
