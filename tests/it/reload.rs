//! A configuration that is read again while its host, a process, works.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use async_nats::Message;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tidegate_artifacts::policies;
use tidegate_test_artifacts::probes;

use crate::support::cli::{self, Running, tidegate};
use crate::support::eventually;
use crate::support::site::Site;
use crate::support::web::get;

const TOKEN: &str = "a-token-of-the-tests";

/// A host of its own process, and its files.
struct Reloading {
    site: Arc<Site>,
    files: TempDir,
    process: Running,
    address: String,
}

/// A workload that keeps a ledger, with more of its table.
fn workload(name: &str, more: &str) -> String {
    format!(
        r#"
        [workload.{name}]
        stream = "{name}"
        subjects = ["in.{name}.>"]
        manage = "create"
        ack-wait = "10m"
        handler = "probe"
        policy = "fixed"
        grants = {{ publish = "out.>", reply = "_INBOX.>" }}
        scale = {{ max = 8, interval = "100ms", window = "1s" }}
        pull = {{ expires = "1s" }}
        {more}
        "#
    )
}

/// The same with two workers.
fn two(name: &str, more: &str) -> String {
    workload(name, &format!("policy-settings.workers = 2\n{more}"))
}

impl Reloading {
    async fn start(head: &str, workloads: &[String]) -> Self {
        let (site, files) = (Site::new().await, TempDir::new().unwrap());
        let file = files.path().join("tidegate.toml");
        std::fs::write(&file, whole(&site, head, workloads)).unwrap();
        let mut process = Running::start(tidegate(["run", "--config", file.to_str().unwrap()]));
        let line = process.line_with("over HTTP: /").await;
        let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        let host = Self { site, files, process, address };
        host.ready().await;
        host
    }

    async fn ready(&self) {
        eventually("the host is ready", async || get(&self.address, "/readyz").await.0 == 200).await;
    }

    fn file(&self) -> PathBuf {
        self.files.path().join("tidegate.toml")
    }

    /// Puts a file in the place of the one before, as most editors do.
    fn rewrite(&self, head: &str, workloads: &[String]) {
        replace(&self.file(), &whole(&self.site, head, workloads));
    }

    async fn status(&self) -> Value {
        serde_json::from_str(&get(&self.address, "/status").await.1).unwrap()
    }

    /// What `/status` says of a workload; null if there is none.
    async fn workload(&self, name: &str) -> Value {
        let status = self.status().await;
        let found = status["workloads"].as_array().unwrap().iter().find(|of| of["name"] == name).cloned();
        found.unwrap_or_default()
    }

    async fn names(&self) -> BTreeSet<String> {
        let status = self.status().await;
        let names = status["workloads"].as_array().unwrap().iter().map(|of| of["name"].as_str().unwrap().to_owned());
        names.collect()
    }

    async fn has(&self, names: &[&str]) {
        let expected: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        eventually(&format!("the workloads are {names:?}"), async || self.names().await == expected).await;
    }

    /// Awaits that the configuration was read so often.
    async fn read(&self, times: u64) {
        eventually(&format!("it was read {times} times"), async || {
            self.status().await["configuration"]["reloads"].as_u64() >= Some(times)
        })
        .await;
    }

    /// Runs `tidegate reload` with the host's own file.
    async fn reload(&self) -> cli::Ended {
        let file = self.file();
        let mut command = tidegate(["reload", "--http", &self.address, "--config", file.to_str().unwrap()]);
        command.env_remove("TIDEGATE_HTTP_TOKEN");
        Running::start(command).end().await
    }

    /// Awaits that a workload's workers have started, and gives their numbers.
    async fn workers(&self, name: &str) -> Vec<u64> {
        eventually(&format!("two workers of {name}"), async || self.alive(name).await.len() == 2).await;
        self.alive(name).await
    }

    async fn alive(&self, name: &str) -> Vec<u64> {
        let of = self.workload(name).await;
        let alive = of["workers"]["alive"].as_array().cloned().unwrap_or_default();
        alive.iter().map(|worker| worker["worker"].as_u64().unwrap()).collect()
    }

    async fn stop(self) -> cli::Ended {
        self.process.signal(Signal::TERM);
        let ended = self.process.end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended
    }
}

/// The text of a file.
fn whole(site: &Site, head: &str, workloads: &[String]) -> String {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
    let (url, dir) = (&site.nats.servers[0], site.plugins.path());
    format!(
        "http = \"127.0.0.1:0\"\nhttp-admin = {{ token = \"{TOKEN}\" }}\n{head}\n\
         nats.url = {url:?}\nplugins = {{ dir = {dir:?}, cache = {cache:?}, rescan = \"200ms\" }}\n{}",
        workloads.concat()
    )
}

/// By a rename.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// Publishes to these workloads until it is told to end, at the pace of the first.
async fn load(site: &Site, names: &[&str], ends: &AtomicBool, published: &AtomicU64) {
    while !ends.load(Relaxed) {
        let first = published.load(Relaxed);
        for name in names {
            let ids = (first..first + 20).map(|id| format!("ledger out.{name} {id}"));
            site.publish_all(&format!("in.{name}.a"), ids).await;
        }
        published.store(first + 20, Relaxed);
        eventually("the load is handled", async || site.consumer(names[0]).await.num_pending < 20).await;
    }
}

/// How many messages of a workload have an entry in the ledger.
fn ids(entries: &[Message], name: &str) -> u64 {
    let start = format!("out.{name}.");
    let ids = entries.iter().map(|entry| entry.subject.as_str()).filter(|subject| subject.starts_with(&start));
    ids.collect::<BTreeSet<_>>().len() as u64
}

/// Checks that each message of a workload was handled once.
fn handled_once(entries: &[Message], name: &str, count: u64) {
    let start = format!("out.{name}.");
    let of_name = entries.iter().filter(|entry| entry.subject.starts_with(&start)).count() as u64;
    assert_eq!((ids(entries, name), of_name), (count, count), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_come_go_and_change_under_load_and_lose_nothing_and_the_others_do_not_notice() {
    let host = Reloading::start("", &[two("stays", ""), two("changes", ""), two("goes", "")]).await;
    host.site.stream("OUT", &["out.>"]).await;
    let (stays, changes) = (host.workers("stays").await, host.workers("changes").await);
    let (ends, published) = (AtomicBool::new(false), AtomicU64::new(0));
    let names = ["stays", "changes", "goes"];
    let steps = async {
        eventually("all have work", async || published.load(Relaxed) >= 100).await;
        let changed = two("changes", "limits.time = \"9s\"").replace("max = 8", "min = 1, max = 8");
        let now = [two("comes", ""), two("stays", ""), changed];
        host.rewrite("", &now);
        host.has(&["stays", "changes", "comes"]).await;
        host.ready().await;
        let at = published.load(Relaxed);
        eventually("work goes on", async || published.load(Relaxed) >= at + 100).await;
        ends.store(true, Relaxed);
    };
    tokio::join!(load(&host.site, &names, &ends, &published), steps);
    host.site.publish_all("in.comes.a", (0..20).map(|id| format!("ledger out.comes {id}"))).await;
    for name in ["stays", "changes", "comes"] {
        host.site.settled(name).await;
    }
    assert_eq!(host.workers("stays").await, stays, "the same workers all the time");
    let acked = host.workload("stays").await["deliveries"]["acked"].as_u64().unwrap();
    assert_eq!(acked, published.load(Relaxed), "and they have handled all of it");
    assert_eq!(host.workload("changes").await["workers"]["min"], 1, "it runs by what is written now");
    assert_eq!(host.alive("changes").await.len(), changes.len());
    assert_eq!(host.site.consumer("stays").await.num_redelivered, 0);
    let mut all = published.load(Relaxed);
    let entries = host.site.stored("OUT").await;
    handled_once(&entries, "stays", all);
    handled_once(&entries, "changes", all);
    handled_once(&entries, "comes", 20);
    // What goes gives back what it has not handled, for whom it may concern.
    let left = host.site.stored("goes").await.len() as u64 - ids(&entries, "goes");
    assert_eq!(host.site.deliverable("goes", left as usize).await.len() as u64, left);
    all -= left;
    handled_once(&entries, "goes", all);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_an_error_changes_nothing_and_is_told_until_it_is_mended() {
    let mut host = Reloading::start("", &[two("work", "")]).await;
    let workers = host.workers("work").await;
    host.rewrite("", &[two("work", "limits.time = \"soon\""), two("more", "")]);
    let line = host.process.line_with("configuration not used").await;
    for part in ["a file has changed", "tidegate.toml:", "workload.work.limits.time", "soon"] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    let told = host.status().await["configuration"]["problems"].clone();
    assert!(told[0].as_str().unwrap().contains("workload.work.limits.time"), "{told}");
    let ended = host.reload().await;
    ended.failed_with(1, &["nothing has changed, for the configuration has an error", "workload.work.limits.time"]);
    host.site.publish_all("in.work.a", (0..20).map(|_| "ok".to_owned())).await;
    host.site.settled("work").await;
    assert_eq!((host.workers("work").await, host.names().await.len()), (workers.clone(), 1));
    assert_eq!(get(&host.address, "/readyz").await.0, 200, "everything flows");
    host.rewrite("", &[two("work", ""), two("more", "")]);
    host.process.line_with("what was wrong with it is mended").await;
    host.has(&["work", "more"]).await;
    assert_eq!(host.status().await["configuration"]["problems"], serde_json::json!([]));
    assert_eq!(host.workers("work").await, workers);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_watch_it_is_read_on_sighup_and_tidegate_reload_alone() {
    let still = "reload.watch = false";
    let mut host = Reloading::start(still, &[two("one", "")]).await;
    host.rewrite(still, &[two("one", ""), two("two", "")]);
    host.process.signal(Signal::HUP);
    host.process.line_with("configuration read again (SIGHUP): workload two: new, it is started").await;
    host.has(&["one", "two"]).await;
    host.rewrite(&format!("{still}\ngrace = \"7s\""), &[two("two", "limits.time = \"9s\"")]);
    let ended = host.reload().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        ended.stdout.lines().collect::<Vec<_>>(),
        [
            "workload one: removed, it drains",
            "workload two: changed (limits.time), it drains and starts again",
            "changed, applies after a restart of the host: grace",
        ]
    );
    let told = host.status().await["configuration"]["after_restart"].clone();
    assert_eq!(told, serde_json::json!(["changed, applies after a restart of the host: grace"]));
    host.has(&["two"]).await;
    // Nobody else has it read.
    let mut command = tidegate(["reload", "--http", &host.address]);
    command.env("TIDEGATE_HTTP_TOKEN", "not-the-token-at-all").current_dir(host.files.path());
    Running::start(command).end().await.failed_with(1, &["this is not the token of http-admin"]);
    assert_eq!(host.status().await["configuration"]["reloads"], 2);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_still_writes_is_not_read() {
    let host = Reloading::start("", &[two("first", ""), two("second", "")]).await;
    let workers = host.workers("second").await;
    let all = whole(&host.site, "grace = \"7s\"", &[two("first", ""), two("second", ""), two("third", "")]);
    let half = all.find("[workload.second]").unwrap();
    let mut file = std::fs::File::create(host.file()).unwrap();
    file.write_all(&all.as_bytes()[..half]).unwrap();
    file.flush().unwrap();
    // What is there now is a configuration without the second workload, and many a look at it passes.
    let decisions = async || host.workload("second").await["scaling"]["decisions"].as_u64().unwrap_or_default();
    let before = decisions().await;
    eventually("ten decisions", async || decisions().await >= before + 10).await;
    assert_eq!(host.status().await["configuration"]["reloads"], 0);
    file.write_all(&all.as_bytes()[half..]).unwrap();
    drop(file);
    host.has(&["first", "second", "third"]).await;
    assert_eq!(host.workers("second").await, workers);
    let told = host.status().await["configuration"]["after_restart"].clone();
    assert_eq!(told, serde_json::json!(["changed, applies after a restart of the host: grace"]));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_workloads_is_read_and_two_of_one_name_are_told_with_both_places() {
    let mut host = Reloading::start("", &[two("main", "")]).await;
    let beside = host.files.path().join("workloads.d");
    std::fs::create_dir(&beside).unwrap();
    std::fs::write(beside.join("a.toml"), two("a", "")).unwrap();
    host.has(&["main", "a"]).await;
    std::fs::write(beside.join("b.toml"), two("a", "")).unwrap();
    let line = host.process.line_with("configuration not used").await;
    for part in ["workloads.d/b.toml:2: workload.a", "there is a workload of this name already", "workloads.d/a.toml:2"]
    {
        assert!(line.contains(part), "no {part} in {line}");
    }
    std::fs::write(beside.join("b.toml"), format!("grace = \"1s\"\n{}", two("b", ""))).unwrap();
    let line = host.process.line_with("workloads and nothing else").await;
    assert!(line.contains("workloads.d/b.toml:1: grace"), "{line}");
    std::fs::write(beside.join("b.toml"), two("b", "")).unwrap();
    host.has(&["main", "a", "b"]).await;
    std::fs::remove_dir_all(&beside).unwrap();
    host.has(&["main"]).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_of_another_name_takes_over_the_consumer_when_the_one_before_has_drained() {
    let named = |name: &str| two("work", "consumer = \"shared\"").replace("workload.work", &format!("workload.{name}"));
    let host = Reloading::start("", &[named("before")]).await;
    host.site.stream("OUT", &["out.>"]).await;
    host.workers("before").await;
    let work = |first: u64| (first..first + 100).map(|id| format!("sleep 20\nledger out.work {id}"));
    host.site.publish_all("in.work.a", work(0)).await;
    host.rewrite("", &[named("after")]);
    host.has(&["after"]).await;
    host.site.publish_all("in.work.a", work(100)).await;
    let entries = host.site.stored_count("OUT", 200).await;
    handled_once(&entries, "work", 200);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_is_started_again_goes_on_with_the_state_of_its_policy() {
    let counting = |more: &str| {
        let more = format!("policy-settings.mode = \"count\"\n{more}");
        workload("work", &more).replace("policy = \"fixed\"", "policy = \"probe-policy\"")
    };
    let host = Reloading::start("", &[counting("")]).await;
    let call = async || {
        let of = host.workload("work").await;
        let reason = of["scaling"]["last_decisions"][0]["reason"].as_str().unwrap_or_default().to_owned();
        reason.rsplit(' ').next().and_then(|call| call.parse::<u64>().ok()).unwrap_or_default()
    };
    eventually("some calls", async || call().await >= 15).await;
    host.rewrite("", &[counting("limits.time = \"9s\"")]);
    host.read(1).await;
    let before = call().await;
    eventually("some more", async || {
        let now = call().await;
        assert!(now >= before, "call {now} after call {before}");
        let of = host.workload("work").await;
        now >= before + 10 && of["running"] == true && of["workers"]["alive"][0]["alive_ms"].as_u64() < Some(5_000)
    })
    .await;
    let ended = host.stop().await;
    assert_eq!(ended.stderr.matches("policy in use").count(), 2, "it was started again\n{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_whose_new_plugin_is_not_there_goes_on_as_it_was_until_it_is() {
    let with = |handler: &str| two("work", "").replace("\"probe\"", &format!("{handler:?}"));
    let host = Reloading::start("", &[with("probe")]).await;
    let workers = host.workers("work").await;
    let told = async |plugins: &str| {
        let wanted = format!("it was changed, and waits for {plugins} to be loaded; until then it goes on as it was");
        eventually("it is told", async || host.workload("work").await["problems"]["reload"] == wanted.as_str()).await;
    };
    // Of two that are missing both are named, and then the one that still is.
    host.rewrite("", &[with("later").replace("\"fixed\"", "\"steady\"")]);
    told("its handler later and its policy steady").await;
    host.site.install("steady", policies::FIXED);
    told("its handler later").await;
    host.site.publish_all("in.work.a", (0..20).map(|_| "ok".to_owned())).await;
    host.site.settled("work").await;
    assert_eq!(host.workers("work").await, workers);
    host.site.install("later", probes::WORKER_V2);
    eventually("it runs", async || host.workload("work").await["handler"] == "later").await;
    host.ready().await;
    assert_eq!(host.site.request("in.work.a", "version").await, "v2");
    host.stop().await;
}

/// A pipe that nobody writes to: whoever opened it would wait.
fn pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_refused_by_name_and_the_next_reading_without_it_works() {
    let still = "reload.watch = false";
    let mut host = Reloading::start(still, &[two("work", "")]).await;
    let beside = host.files.path().join("workloads.d");
    std::fs::create_dir(&beside).unwrap();
    let odd = beside.join("odd.toml");
    let refused = ["nothing has changed, for the configuration has an error", "workloads.d/odd.toml: it is not a file"];
    pipe(&odd);
    host.reload().await.failed_with(1, &refused);
    std::fs::remove_file(&odd).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &odd).unwrap();
    host.reload().await.failed_with(1, &refused);
    std::fs::remove_file(&odd).unwrap();
    std::fs::write(&odd, two("odd", "")).unwrap();
    assert_eq!(host.reload().await.code, Some(0));
    host.has(&["work", "odd"]).await;
    // The file itself too.
    let (file, away) = (host.file(), host.files.path().join("away"));
    std::fs::rename(&file, &away).unwrap();
    pipe(&file);
    host.process.signal(Signal::HUP);
    host.process.line_with("tidegate.toml: it is not a file").await;
    std::fs::rename(&away, &file).unwrap();
    host.process.signal(Signal::HUP);
    host.process.line_with("what was wrong with it is mended").await;
    host.stop().await;
}

#[tokio::test]
async fn a_process_that_is_no_host_is_told_and_gets_no_signal() {
    let mut other = tokio::process::Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
    let pid = other.id().unwrap().to_string();
    let name = format!("/proc/{pid}/comm");
    eventually("it is the program", async || std::fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n")).await;
    let ended = Running::start(tidegate(["reload", "--pid", &pid])).end().await;
    ended.failed_with(1, &[&format!("process {pid} is no host of tidegate but sleep"), "nothing was sent to it"]);
    assert!(other.try_wait().unwrap().is_none());
    // A host of this machine gets it.
    let mut host = Reloading::start("", &[two("one", "")]).await;
    let pid = host.process.pid().as_raw_nonzero().to_string();
    let ended = Running::start(tidegate(["reload", "--pid", &pid])).end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    host.process.line_with("configuration read again (SIGHUP): nothing has changed").await;
    host.stop().await;
}
