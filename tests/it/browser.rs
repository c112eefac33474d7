//! The page in a real browser: `make test-web` brings what it needs and runs this.
//!
//! Here are the hosts that it looks at; `tests/web/page.mjs` has what it does there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tidegate_runtime::config::{Config, FleetConfig, HttpAdmin, Scale, Setting, ShadowConfig, Workload};
use tidegate_runtime::contract::Cause;
use tidegate_test_artifacts::probes;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::support::host::{Host, policy, workers, workload};
use crate::support::site::{DEAD, Site};

const TOKEN: &str = "a-token-of-the-browser";
/// How long all of it may take: `make test-web` must end.
const ALL: Duration = Duration::from_secs(480);
/// The longest line that is in a payload: nearly all that the server takes.
const LINE: usize = 900_000;

/// A workload with a policy that follows its backlog, and a shadow that would not.
fn busy(name: &str) -> Workload {
    let workload = policy(workload(name), "backlog", &[("pending-per-worker", "4")]);
    let settings = vec![("workers".to_owned(), "2".to_owned())];
    let shadow = Some(ShadowConfig { policy: "fixed".to_owned(), settings, pin: None });
    let scale = Scale { interval: Duration::from_secs(1), window: Duration::from_secs(5), ..workload.scale };
    Workload { handler: "receipts".to_owned(), shadow, scale, ..workload }
}

/// A name as long as a name may be.
fn long_name() -> String {
    format!("quarterly-{}", "statements-".repeat(5))
        .chars()
        .take(60)
        .collect::<String>()
        .trim_end_matches('-')
        .to_owned()
}

/// What publishers wrote who mean no good, with a handler that gives it back as its reason.
async fn hostile(site: &Site) {
    for payload in [
        "reject <script>window.hurt = 1</script><img src=x onerror=\"window.hurt = 1\">",
        "reject \u{202e}gnp.exe\u{202c} reads the other way \u{2066}and is isolated",
        "reject no such customer: 4711\n# {\"customer\": 12345678901234567890, \"name\": \"</script>\"}",
        "trap",
    ] {
        site.publish_with(
            "in.orders.<img/src=x>.\u{202e}",
            &[("X-<b>", "\u{202e}<script>window.hurt = 1</script>")],
            payload,
        )
        .await;
    }
    site.publish_with(
        "in.orders.json",
        &[("Content-Type", "application/json")],
        "{\"customer\": 12345678901234567890}",
    )
    .await;
    site.publish("in.orders.long", format!("reject one long line\n# {}", "x".repeat(LINE))).await;
    site.publish("in.orders.bytes", vec![0_u8, 255, 1, 2, 3, 128]).await;
    site.stored_count(DEAD, 7).await;
}

/// Publishes in waves until it is told to stop, so that there is something to draw.
async fn waves(site: Arc<Site>, stop: Arc<AtomicBool>) {
    let mut turn = 0_u32;
    while !stop.load(Relaxed) {
        turn += 1;
        let count = if turn % 150 < 60 { 12 } else { 2 };
        let messages = (0..count).map(|_| "sleep 40".to_owned());
        site.publish_all("in.orders.new", messages).await;
        if turn.is_multiple_of(25) {
            site.publish("in.orders.new", "before 2 retry 10").await;
        }
        // The pace of the waves is no condition that anything waits for.
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_in_a_browser() {
    let site = Site::new().await;
    site.install("receipts", probes::WORKER_V1);
    let http = Some("127.0.0.1:0".parse().unwrap());
    let admin = Some(HttpAdmin { token: Setting::from(TOKEN) });
    let lost = Workload { handler: "not-there".to_owned(), ..workload("invoices") };
    let workloads = vec![busy("orders"), workload("quiet"), workload(&long_name()), lost];
    let config = Config { http, http_admin: admin.clone(), workloads, ..site.config() };
    let host = Host::run(site.clone(), config);
    // One that others can reach shows letters only to who has the token.
    let reached = Some("0.0.0.0:0".parse().unwrap());
    let config = Config { http: reached, http_admin: admin, workloads: vec![workload("far")], ..site.config() };
    let far = Host::run(site.clone(), config);
    // Two hosts of a fleet, of which the page of one is looked at.
    let member = |id: &str, http| {
        let (bucket, host) = ("FLEET".to_owned(), Some(id.to_owned()));
        let fleet = FleetConfig { bucket, replicas: 1, host, max_workers: Some(10), fingerprints: BTreeMap::new() };
        let workloads = vec![workers("other", 6), workers("rest", 0)];
        Host::run(site.clone(), Config { fleet: Some(fleet), http, workloads, ..site.config() })
    };
    let (shows, _beside) = (member("rack-1", http), member("rack-2", None));
    let (address, shows_address) = (host.address().await, shows.address().await);
    let far_address = far.address().await.replace("0.0.0.0", "127.0.0.1");
    host.ready(3).await;
    hostile(&site).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = tokio::spawn(waves(site.clone(), stop.clone()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/web/page.mjs");
    let mut browser = Command::new("node");
    browser
        .arg(script)
        .env("TIDEGATE_PAGE", format!("http://{address}/"))
        .env("TIDEGATE_PAGE_SHOWS", format!("http://{shows_address}/"))
        .env("TIDEGATE_PAGE_FAR", format!("http://{far_address}/"))
        .env("TIDEGATE_CAUSES", Cause::ALL.map(Cause::as_str).join(","))
        .env("TIDEGATE_TOKEN", TOKEN)
        .kill_on_drop(true);
    let ended = timeout(ALL, browser.status()).await.expect("the browser's tests end in time");
    stop.store(true, Relaxed);
    publisher.await.unwrap();
    assert!(ended.expect("node can be run").success(), "the browser's tests failed: see above");
}
