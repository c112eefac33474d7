//! What the page asks a host for: what happens, the last hour, dead letters, and changes with a token.

mod letters;
mod live;
mod rights;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_runtime::config::{Config, HttpAdmin, Setting, Workload};

use crate::support::host::{Host, workload};
use crate::support::site::Site;
use crate::support::web::send;

const TOKEN: &str = "a-token-of-the-tests";
const BEARER: &str = "Authorization: Bearer a-token-of-the-tests";

/// A host with this workload that answers over HTTP on an address, and where it can be reached on this machine.
async fn host(site: Arc<Site>, listen: &str, token: Option<Setting>, workloads: Vec<Workload>) -> (Host, String) {
    let (http, http_admin) = (Some(listen.parse().unwrap()), token.map(|token| HttpAdmin { token }));
    answers(site.clone(), Config { http, http_admin, workloads, ..site.config() }).await
}

/// The same of this configuration.
async fn answers(site: Arc<Site>, config: Config) -> (Host, String) {
    let count = config.workloads.len();
    let host = Host::run(site, config);
    let address: SocketAddr = host.address().await.parse().unwrap();
    host.ready(count).await;
    (host, format!("127.0.0.1:{}", address.port()))
}

/// The same with the workload `work`, on the loopback address.
async fn local(token: Option<&str>) -> (Host, String) {
    host(Site::new().await, "127.0.0.1:0", token.map(Setting::from), vec![workload("work")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_its_files_are_there_and_say_what_a_browser_may_do() {
    let (_host, address) = local(None).await;
    let page = send(&address, "/", &[], None).await;
    assert_eq!(page.code, 200);
    let mut files: Vec<&str> = page.body.split('"').filter(|part| part.starts_with("/page/")).collect();
    files.extend([
        "/page/chart.js",
        "/page/dom.js",
        "/page/hosts.js",
        "/page/letters.js",
        "/page/workload.js",
        "/status",
        "/nothing",
    ]);
    for path in files {
        let file = send(&address, path, &[], None).await;
        assert_eq!(file.code, if path == "/nothing" { 404 } else { 200 }, "{path}");
        let head = file.head.to_lowercase();
        for told in ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff", "no-store"] {
            assert!(head.contains(told), "{path}: {head}");
        }
        assert!(!head.contains("access-control"), "{path}: {head}");
    }
}
