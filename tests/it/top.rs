//! `tidegate top`: printed, and on a terminal.

use rustix::process::Signal;
use tidegate_runtime::config::{Config, ServiceConfig};

use crate::support::cli::run;
use crate::support::eventually;
use crate::support::host::{Host, workers};
use crate::support::site::Site;
use crate::support::terminal::Terminal;

/// A host with two workloads, and where it is asked.
async fn orders_and_prices() -> (Host, String) {
    let site = Site::new().await;
    let http = Some("127.0.0.1:0".parse().unwrap());
    let workloads = vec![workers("orders", 2), workers("prices", 1)];
    let host = Host::run(site.clone(), Config { http, workloads, ..site.config() });
    host.ready(2).await;
    let url = format!("http://{}", host.address().await);
    (host, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_does_is_printed_once_and_a_host_that_is_away_is_told() {
    let (host, url) = orders_and_prices().await;
    let printed = async || run(["top", "--once", "--url", &url]).await;
    eventually("it is observed", async || {
        let ended = printed().await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        let row = |name: &str, workers: &str| {
            let is = |line: &str| line.starts_with(name) && line.contains("  running ") && line.contains(workers);
            ended.stdout.lines().any(is)
        };
        row("orders ", "  2 of 2  ") && row("prices ", "  1 of 1  ") && ended.stdout.contains(" 2: fixed at 2")
    })
    .await;
    let ended = printed().await;
    assert!(ended.stdout.lines().next().unwrap().contains("  ready  NATS 2."), "{}", ended.stdout);
    assert!(ended.stdout.contains("WORKLOAD  STATE"), "{}", ended.stdout);
    // Here nobody has a terminal.
    run(["top", "--url", &url]).await.failed_with(1, &["there is no terminal", "`tidegate top --once` prints it once"]);
    host.stop().await;
    printed().await.failed_with(1, &[&format!("no host answers at {url}: ")]);
    let ended = run(["top", "--url", "https://a:1"]).await;
    assert_eq!(ended.code, Some(2), "{}", ended.said());
    assert!(ended.stderr.contains("hosts speak no TLS"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_hosts_that_answer_by_nats_are_printed_in_one_list() {
    let site = Site::new().await;
    let url = site.nats.servers[0].clone();
    let member = |id: &str, workload| {
        let replies = vec!["_INBOX.>".to_owned()];
        let (host, prefix) = (Some(id.to_owned()), "ops.hosts".to_owned());
        let service = Some(ServiceConfig { host, prefix, admin: false, replies });
        Host::run(site.clone(), Config { service, workloads: vec![workload], ..site.config() })
    };
    let (one, two) = (member("rack-1", workers("orders", 2)), member("rack-2", workers("prices", 1)));
    for host in [&one, &two] {
        host.ready(1).await;
    }
    eventually("both are shown", async || {
        let ended = run(["top", "--once", "--server", &url]).await;
        let row = |host: &str, name: &str, workers: &str| {
            let is = |line: &str| line.starts_with(host) && line.contains(name) && line.contains(workers);
            ended.stdout.lines().any(is)
        };
        ended.stdout.starts_with("2 hosts: rack-1, rack-2  tidegate ")
            && row("rack-1 ", "  orders ", "  2 of 2  ")
            && row("rack-2 ", "  prices ", "  1 of 1  ")
    })
    .await;
    for host in [one, two] {
        host.stop().await;
    }
    let ended = run(["top", "--once", "--server", &url]).await;
    ended.failed_with(1, &["no host answers on `$SRV.INFO.tidegate`", "service.enabled = true"]);
    let ended = run(["top", "--nats", "--url", "8222"]).await;
    assert_eq!(ended.code, Some(2), "{}", ended.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_and_is_no_host_is_told() {
    // A nats-server speaks first, and no HTTP.
    let site = Site::new().await;
    let url = site.server.lock().await.url().replacen("nats://", "http://", 1);
    run(["top", "--once", "--url", &url]).await.failed_with(1, &["does not answer as a tidegate host does"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_keys_lead_to_a_workload_and_back_and_the_terminal_is_given_back() {
    let (host, url) = orders_and_prices().await;
    let mut terminal = Terminal::run(&["top", "--url", &url], (12, 100));
    terminal.shows(&["WORKLOAD  STATE", "  2 of 2  ", "  1 of 1  ", "up/down choose  enter open  q end"]).await;
    assert!(terminal.is_taken());
    let chosen = async |terminal: &Terminal, name| {
        let is_chosen = async || terminal.chosen().is_some_and(|row| row.starts_with(name));
        eventually(&format!("{name}is chosen"), is_chosen).await;
    };
    chosen(&terminal, "orders ").await;
    terminal.press("\x1b[B").await;
    chosen(&terminal, "prices ").await;
    terminal.press("\r").await;
    terminal.shows(&["prices: running", "consumer prices-workers", "escape back"]).await;
    // It is longer than the screen: the last line is that of the worker.
    terminal.press("G").await;
    terminal.shows(&["WORKERS", "waits"]).await;
    terminal.press("\x1b").await;
    chosen(&terminal, "prices ").await;
    terminal.resize(3, 100).await;
    terminal.shows(&["20 columns and 5 lines at least"]).await;
    terminal.resize(8, 60).await;
    terminal.shows(&["WORKLOAD  STATE", "up/down choose"]).await;
    // A line that is wider than the screen would go on in the next, and move this one.
    let fits = async || terminal.rows().last().is_some_and(|row| row.starts_with("up/down choose"));
    eventually("all lines fit", fits).await;
    host.stop().await;
    terminal.shows(&["AWAY", "prices "]).await;
    terminal.press("q").await;
    assert_eq!(terminal.ends().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_and_control_c_give_the_terminal_back() {
    // Nobody answers there: it is asked on.
    let begun = async || {
        let terminal = Terminal::run(&["top", "--url", "http://127.0.0.1:1"], (10, 80));
        terminal.shows(&["q end"]).await;
        terminal
    };
    let terminal = begun().await;
    terminal.signal(Signal::TERM).await;
    assert_eq!(terminal.ends().await, 0);
    let mut terminal = begun().await;
    terminal.press("\x03").await;
    assert_eq!(terminal.ends().await, 0);
}
