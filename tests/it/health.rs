//! `tidegate health`, as a container asks a host.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::cli::{Running, run, tidegate};
use crate::support::eventually;
use crate::support::host::{Host, workload};
use crate::support::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn health_says_ready_or_what_keeps_a_host_from_it() {
    let site = Site::new().await;
    let (host, address) = Host::over_http(site.clone(), workload("work")).await;
    host.ready(1).await;
    eventually("it is ready", async || run(["health", "--http", &address]).await.code == Some(0)).await;
    assert_eq!(run(["health", "--http", &address]).await.stdout, "ready\n");
    site.server.lock().await.kill();
    eventually("it is not", async || run(["health", "--http", &address]).await.code == Some(1)).await;
    let refused = "the NATS server is away: Connection refused";
    eventually("it is told why", async || run(["health", "--http", &address]).await.stdout.starts_with(refused)).await;
    let away = run(["health", "--http", &address]).await;
    assert_eq!((away.stdout.lines().count(), away.stderr.as_str()), (1, ""));
    let json = run(["health", "--http", &address, "--output", "json"]).await;
    assert_eq!(json.code, Some(1));
    let told: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let expected = serde_json::json!({
        "address": address, "path": "/readyz", "ok": false, "problems": [away.stdout.trim_end()],
    });
    assert_eq!(told, expected);
    // No restart would bring the server back.
    let alive = run(["health", "--http", &address, "--liveness"]).await;
    assert_eq!((alive.code, alive.stdout.as_str()), (Some(0), "alive\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_asks_where_the_file_of_the_host_says() {
    let site = Site::new().await;
    let (host, address) = Host::over_http(site.clone(), workload("work")).await;
    host.ready(1).await;
    let dir = tempfile::tempdir().unwrap();
    // What the host reads at its next start may be wrong, and this one is asked still.
    std::fs::write(dir.path().join("tidegate.toml"), format!("http = \"{address}\"\nhtpp = 1\n")).unwrap();
    let ask = |arguments: &[&str]| {
        let mut health = tidegate(arguments);
        health.current_dir(dir.path());
        Running::start(health).end()
    };
    eventually("it is ready", async || ask(&["health"]).await.code == Some(0)).await;
    std::fs::write(dir.path().join("silent.toml"), "grace = \"1s\"\n").unwrap();
    ask(&["health", "-c", "silent.toml"]).await.failed_with(1, &["has no http", "--http"]);
    std::fs::write(dir.path().join("wrong.toml"), "http = \"here\"\n").unwrap();
    ask(&["health", "-c", "wrong.toml"]).await.failed_with(1, &["wrong.toml", "\"here\" is not an address"]);
    ask(&["health", "-c", "nowhere.toml"]).await.failed_with(1, &["nowhere.toml", "there is no such file"]);
    std::fs::remove_file(dir.path().join("tidegate.toml")).unwrap();
    ask(&["health"]).await.failed_with(1, &["nothing says where the host answers"]);
    ask(&["health", "--http", "0"]).await.failed_with(1, &["port 0"]);
}

#[tokio::test]
async fn what_is_no_host_is_not_healthy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stranger = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        // What was not read would end the connection by a reset.
        assert!(first.read(&mut [0; 4096]).await.unwrap() > 0);
        first.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
        drop(first);
        // The second takes the connection and is silent.
        listener.accept().await.unwrap()
    });
    run(["health", "--http", &address]).await.failed_with(1, &[&address, "is no tidegate host"]);
    let silent = run(["health", "--http", &address, "--timeout", "50ms"]).await;
    silent.failed_with(1, &["did not answer /readyz within 50ms"]);
    drop(stranger.await.unwrap());
    run(["health", "--http", &address]).await.failed_with(1, &["no host answers at", &address]);
}
