use std::path::Path;
use std::time::Duration;

use tidegate_artifacts::{policies, workers};
use tidegate_test_artifacts::probes;
use tokio::time::timeout;

use super::{Logged, host, limits};
use crate::config::{Compile, Plugins};
use crate::plugin::{Directory, HandlerWatch, PluginHost, PolicyWatch};

/// Longer than anything here takes. A test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a directory. `rescan` is long where a test is about events.
pub(super) fn start(dir: &Path, rescan: Duration) -> Directory {
    Directory::start(
        host(),
        &Plugins { dir: dir.to_owned(), rescan, cache: None, compile: Compile::default(), origin: Default::default() },
    )
}

const EVENTS: Duration = Duration::from_secs(3600);
const RESCAN: Duration = Duration::from_millis(20);

/// Replaces a file as a careful copy does: its name never leads to half a file. The file's time is old, so that only an
/// event or the rescan makes the directory look at it again.
pub(super) fn put(dir: &Path, name: &str, bytes: &[u8]) {
    let fresh = dir.join(format!(".{name}.new"));
    std::fs::write(&fresh, bytes).unwrap();
    let old = crate::clock::time_of_day() - Duration::from_secs(60);
    std::fs::File::options().write(true).open(&fresh).unwrap().set_modified(old).unwrap();
    std::fs::rename(&fresh, dir.join(name)).unwrap();
}

pub(super) async fn next(watch: &mut HandlerWatch) -> String {
    timeout(PATIENCE, watch.changed()).await.unwrap();
    watch.current().unwrap().generation().digest.to_string()
}

/// Waits until a line was logged.
pub(super) async fn logged(log: &Logged, part: &str) {
    let seen = async {
        while log.with(part).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("never logged: {part}"));
}

#[tokio::test]
async fn a_plugin_that_is_there_is_loaded_when_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "echo.wasm", workers::ECHO);
    put(dir.path(), "step.wasm", policies::STEP);
    let directory = start(dir.path(), EVENTS);
    let mut handler = directory.watch("echo", &limits());
    next(&mut handler).await;
    assert!(!handler.has_changed());
    let mut policy: PolicyWatch = directory.watch("step", &limits());
    timeout(PATIENCE, policy.changed()).await.unwrap();
    assert_eq!(&*policy.current().unwrap().generation().plugin, "step");
    // Later requests for the plugin have it at once.
    let mut again: HandlerWatch = directory.watch("echo", &limits());
    assert!(again.current().is_some());
}

#[tokio::test]
async fn a_replaced_file_is_the_next_generation() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "probe.wasm", probes::WORKER_V1);
    let directory = start(dir.path(), EVENTS);
    let mut watch = directory.watch("probe", &limits());
    let first = next(&mut watch).await;
    put(dir.path(), "probe.wasm", probes::WORKER_V2);
    let second = next(&mut watch).await;
    assert_ne!(first, second);
    put(dir.path(), "probe.wasm", probes::WORKER_V1);
    assert_eq!(next(&mut watch).await, first);
}

#[tokio::test(flavor = "current_thread")]
async fn a_workload_waits_for_a_plugin_that_is_not_there_and_says_so() {
    let log = Logged::start();
    let dir = tempfile::tempdir().unwrap();
    let directory = start(dir.path(), EVENTS);
    let mut watch = directory.watch("echo", &limits());
    logged(&log, "waiting for").await;
    assert!(watch.current().is_none());
    assert!(log.with("waiting for")[0].contains("echo.wasm: there is no such file"));
    put(dir.path(), "echo.wasm", workers::ECHO);
    next(&mut watch).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_refused_file_is_told_once_and_the_last_good_generation_stays() {
    let log = Logged::start();
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "echo.wasm", workers::ECHO);
    let directory = start(dir.path(), RESCAN);
    let mut watch = directory.watch("echo", &limits());
    let first = next(&mut watch).await;
    put(dir.path(), "echo.wasm", policies::STEP);
    logged(&log, "it is a policy, and is used as a handler").await;
    put(dir.path(), "echo.wasm", b"<html>");
    logged(&log, "it is text").await;
    assert!(!watch.has_changed());
    assert_eq!(watch.current().unwrap().generation().digest.to_string(), first);
    put(dir.path(), "echo.wasm", workers::REPLY);
    next(&mut watch).await;
    assert_eq!(log.with("refused").len(), 2);
    assert!(log.with("refused")[0].contains(&format!("generation {first} stays in use")));
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_that_is_written_slowly_is_loaded_when_it_is_whole() {
    use std::io::Write as _;
    let log = Logged::start();
    let dir = tempfile::tempdir().unwrap();
    let directory = start(dir.path(), RESCAN);
    let mut file = std::fs::File::create(dir.path().join("echo.wasm")).unwrap();
    let (head, tail) = workers::ECHO.split_at(workers::ECHO.len() / 2);
    file.write_all(head).unwrap();
    let mut watch = directory.watch("echo", &limits());
    logged(&log, "may be half written").await;
    assert!(watch.current().is_none());
    file.write_all(tail).unwrap();
    drop(file);
    next(&mut watch).await;
    assert!(log.with("refused").is_empty());
}

#[tokio::test(flavor = "current_thread")]
async fn a_removed_file_leaves_its_generation_in_use() {
    let log = Logged::start();
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "echo.wasm", workers::ECHO);
    let directory = start(dir.path(), EVENTS);
    let mut watch = directory.watch("echo", &limits());
    let first = next(&mut watch).await;
    std::fs::remove_file(dir.path().join("echo.wasm")).unwrap();
    logged(&log, "the generation in use stays").await;
    assert_eq!(watch.current().unwrap().generation().digest.to_string(), first);
    put(dir.path(), "echo.wasm", workers::REPLY);
    assert_ne!(next(&mut watch).await, first);
}

#[tokio::test(flavor = "current_thread")]
async fn a_directory_may_come_late_and_vanish() {
    let log = Logged::start();
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("plugins");
    let directory = start(&dir, RESCAN);
    let mut watch = directory.watch("probe", &limits());
    logged(&log, "the plugin directory cannot be read").await;
    std::fs::create_dir(&dir).unwrap();
    put(&dir, "probe.wasm", probes::WORKER_V1);
    let first = next(&mut watch).await;
    std::fs::remove_dir_all(&dir).unwrap();
    while log.with("the plugin directory cannot be read").len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(watch.current().unwrap().generation().digest.to_string(), first);
    std::fs::create_dir(&dir).unwrap();
    put(&dir, "probe.wasm", probes::WORKER_V2);
    assert_ne!(next(&mut watch).await, first);
}

/// A compiler that waits for the file `go` beside it, and writes the file `runs` while it does.
struct Slow {
    dir: tempfile::TempDir,
}

impl Slow {
    fn new(end: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let text = format!(
            "#!/bin/sh\necho $$ > {at}/runs.new && mv {at}/runs.new {at}/runs\nwhile [ ! -e {at}/go ]; do sleep 0.02; \
             done\n{end}\n"
        );
        std::fs::write(dir.path().join("program"), text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path().join("program"), mode).unwrap();
        Self { dir }
    }

    fn go(&self, go: bool) {
        let file = self.dir.path().join("go");
        if go { std::fs::write(file, "").unwrap() } else { std::fs::remove_file(file).unwrap() }
    }

    fn directory(&self, plugins: &Path) -> Directory {
        let compile = Compile { program: Some(self.dir.path().join("program")), ..Compile::default() };
        let plugins =
            Plugins { dir: plugins.to_owned(), rescan: RESCAN, cache: None, compile, origin: Default::default() };
        Directory::start(PluginHost::start(&plugins).unwrap(), &plugins)
    }

    /// Waits until the compiler runs, and returns its process id.
    async fn runs(&self) -> String {
        let seen = async {
            loop {
                if let Ok(number) = std::fs::read_to_string(self.dir.path().join("runs")) {
                    return number.trim().to_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, seen).await.unwrap()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_compilation_that_nobody_wants_any_more_is_ended_and_what_was_put_back_does_not_wait_for_it() {
    let log = Logged::start();
    let dir = tempfile::tempdir().unwrap();
    let slow = Slow::new("exit 0");
    slow.go(true);
    put(dir.path(), "probe.wasm", probes::WORKER_V1);
    let directory = slow.directory(dir.path());
    let mut watch = directory.watch("probe", &limits());
    let first = next(&mut watch).await;
    slow.go(false);
    std::fs::remove_file(slow.dir.path().join("runs")).unwrap();
    put(dir.path(), "probe.wasm", probes::WORKER_V2);
    let process = slow.runs().await;
    put(dir.path(), "probe.wasm", probes::WORKER_V1);
    logged(&log, "which will not be used").await;
    let ended = async {
        while Path::new("/proc").join(&process).exists() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ended).await.unwrap();
    assert!(!watch.has_changed());
    assert_eq!(watch.current().unwrap().generation().digest.to_string(), first);
    assert_eq!(directory.plugins()[0].loaded, 1);
}

#[tokio::test(flavor = "current_thread")]
async fn a_generation_that_was_withdrawn_while_it_was_loaded_is_not_used() {
    let log = Logged::start();
    let dir = tempfile::tempdir().unwrap();
    let slow = Slow::new("exit 0");
    put(dir.path(), "probe.wasm", probes::WORKER_V1);
    let directory = slow.directory(dir.path());
    let mut watch = directory.watch("probe", &limits());
    slow.runs().await;
    std::fs::remove_file(dir.path().join("probe.wasm")).unwrap();
    slow.go(true);
    logged(&log, "which will not be used").await;
    logged(&log, "waiting for").await;
    assert!(watch.current().is_none());
    put(dir.path(), "probe.wasm", probes::WORKER_V2);
    next(&mut watch).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_plugin_that_takes_long_keeps_no_other_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let slow = Slow::new("exit 0");
    put(dir.path(), "probe.wasm", probes::WORKER_V1);
    let directory = slow.directory(dir.path());
    let _never: HandlerWatch = directory.watch("probe", &limits());
    slow.runs().await;
    std::fs::remove_file(slow.dir.path().join("runs")).unwrap();
    put(dir.path(), "echo.wasm", workers::ECHO);
    let _other: HandlerWatch = directory.watch("echo", &limits());
    slow.runs().await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_not_the_files_fault_is_told_once_and_tried_again() {
    let log = Logged::start();
    let dir = tempfile::tempdir().unwrap();
    // As where the cache is on a full disk, until somebody makes room.
    let slow = Slow::new("[ -e $0.room ] && exit 0\necho no room\nexit 4");
    slow.go(true);
    put(dir.path(), "probe.wasm", probes::WORKER_V1);
    let directory = slow.directory(dir.path());
    let mut watch = directory.watch("probe", &limits());
    logged(&log, "it will be tried again").await;
    logged(&log, "was refused again").await;
    assert!(log.with("WARN")[0].contains("cannot be kept in") && log.with("WARN")[0].contains("no room"));
    std::fs::write(slow.dir.path().join("program.room"), "").unwrap();
    next(&mut watch).await;
    assert_eq!(log.with("it will be tried again").len(), 1);
    assert_eq!(directory.plugins()[0].problem, None);
}

#[tokio::test]
async fn a_flipped_link_is_seen() {
    // As Kubernetes mounts a ConfigMap: files are links through `..data`, which is replaced.
    let dir = tempfile::tempdir().unwrap();
    let version = |name: &str, bytes: &[u8]| {
        let version = dir.path().join(name);
        std::fs::create_dir(&version).unwrap();
        std::fs::write(version.join("probe.wasm"), bytes).unwrap();
        std::os::unix::fs::symlink(name, dir.path().join("..data_tmp")).unwrap();
        std::fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    version("..1", probes::WORKER_V1);
    std::os::unix::fs::symlink("..data/probe.wasm", dir.path().join("probe.wasm")).unwrap();
    let directory = start(dir.path(), EVENTS);
    let mut watch = directory.watch("probe", &limits());
    let first = next(&mut watch).await;
    version("..2", probes::WORKER_V2);
    assert_ne!(next(&mut watch).await, first);
}
