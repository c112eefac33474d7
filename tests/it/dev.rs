//! `tidegate dev`: an edit of a real project, and the reply that changes.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::cli::{Running, run, tidegate, without_nats};
use crate::support::eventually;

/// How long a build may take on a busy machine.
const LONG: std::time::Duration = std::time::Duration::from_secs(300);

/// A handler in Rust that `tidegate new` made, with the versions that this repository was built with.
async fn project(dir: &Path) -> PathBuf {
    let mut command = tidegate(["new", "handler", "shout"]);
    command.current_dir(dir);
    assert_eq!(Running::start(command).end().await.code, Some(0));
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    std::fs::copy(lock, dir.join("shout/Cargo.lock")).unwrap();
    dir.join("shout")
}

/// A `tidegate dev` that runs.
struct Dev {
    child: Child,
    typed: ChildStdin,
    replies: Lines<BufReader<ChildStdout>>,
    log: Lines<BufReader<ChildStderr>>,
}

impl Dev {
    fn start(mut command: Command) -> Self {
        command.env("CARGO_NET_OFFLINE", "true").env("CARGO_TARGET_DIR", target());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let typed = child.stdin.take().unwrap();
        let replies = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, typed, replies, log }
    }

    /// The next reply. What is logged meanwhile is read, or nothing could be logged any more.
    async fn reply(&mut self) -> String {
        let Self { replies, log, .. } = self;
        tokio::select! {
            reply = next(replies) => reply,
            never = drained(log) => never,
        }
    }

    /// Reads the log up to a line with this in it.
    async fn logged(&mut self, part: &str) -> String {
        loop {
            let line = next(&mut self.log).await;
            if line.contains(part) {
                return line;
            }
        }
    }

    async fn types(&mut self, line: &str) {
        self.typed.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn ends(mut self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.try_into().unwrap())).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        self.logged("draining").await;
        let Self { child, log, .. } = &mut self;
        let ended = async {
            tokio::select! {
                status = child.wait() => status.unwrap(),
                never = drained(log) => panic!("{never}"),
            }
        };
        assert!(ended.await.success());
    }
}

async fn next(lines: &mut Lines<impl AsyncBufRead + Unpin>) -> String {
    let line = timeout(LONG, lines.next_line()).await.expect("nothing is said");
    line.unwrap().expect("it has ended")
}

async fn drained(log: &mut Lines<BufReader<ChildStderr>>) -> String {
    let mut said = Vec::new();
    let ended = async {
        while let Ok(Some(line)) = log.next_line().await {
            said.push(line);
        }
    };
    match timeout(LONG, ended).await {
        Ok(()) => std::future::pending().await,
        Err(_) => panic!("no reply; it said\n{}", said.join("\n")),
    }
}

/// Where all projects of tests are built.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("dev")
}

/// Changes a text in a file, as an editor does that writes a new file in its place.
fn edit(file: &Path, text: &str, instead: &str) {
    let before = std::fs::read_to_string(file).unwrap();
    assert!(before.contains(text), "{} has no {text}", file.display());
    let part = file.with_extension("rs~");
    std::fs::write(&part, before.replacen(text, instead, 1)).unwrap();
    std::fs::rename(part, file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_changes_the_reply_and_one_that_does_not_compile_changes_nothing() {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let project = project(dir.path()).await;
    let source = project.join("src/lib.rs");
    let mut dev = Dev::start(tidegate(["dev", project.to_str().unwrap(), "--send", "Hello tide"]));
    assert_eq!(dev.reply().await, "HELLO TIDE");

    edit(&source, "to_uppercase()", "to_lowercase()");
    assert_eq!(dev.reply().await, "hello tide");

    edit(&source, "let loud =", "let loud: u8 =");
    dev.logged("mismatched types").await;
    let failed = dev.logged("the build failed").await;
    assert!(failed.contains("what runs stays"), "{failed}");
    dev.types("Second TIDE").await;
    assert_eq!(dev.reply().await, "second tide");

    edit(&source, "let loud: u8 =", "let loud =");
    dev.logged("the component is the same as before").await;
    edit(&source, "to_lowercase()", "to_lowercase().replace(\"tide\", \"ebb\")");
    // The line that was typed took the place of the first message.
    assert_eq!(dev.reply().await, "second ebb");
    dev.ends().await;
}

#[tokio::test]
async fn another_command_builds_another_file_and_one_that_makes_none_is_told() {
    let dir = TempDir::new().unwrap();
    let echo = dir.path().join("echo");
    std::fs::write(&echo, tidegate_artifacts::workers::ECHO).unwrap();
    let flags = ["--build", "cat echo > made", "--component", "made", "--handler", "loud", "--send", "as it is"];
    let mut dev = Dev::start(tidegate(["dev", dir.path().to_str().unwrap()].iter().chain(&flags)));
    assert_eq!(dev.reply().await, "as it is");
    // A line is bytes, and the next ones are read too.
    dev.typed.write_all(b"any \xff byte\n").await.unwrap();
    assert_eq!(dev.reply().await, "any \u{fffd} byte");
    std::fs::remove_file(&echo).unwrap();
    dev.logged("the build failed").await;
    dev.types("and stays").await;
    assert_eq!(dev.reply().await, "and stays");
    dev.ends().await;

    let empty = TempDir::new().unwrap();
    let empty = empty.path().to_str().unwrap();
    run(["dev", empty]).await.failed_with(1, &["no Cargo.toml, package.json or Makefile", "--build"]);
    run(["dev", "/nowhere"]).await.failed_with(1, &["cannot work in /nowhere"]);
    let mut gone = without_nats(Command::new("sh"));
    gone.args(["-c", "mkdir gone; cd gone; rmdir ../gone; exec \"$0\" dev", env!("CARGO_BIN_EXE_tidegate")]);
    gone.current_dir(empty);
    Running::start(gone).end().await.failed_with(1, &["the directory . is there no more", "give it as DIR"]);
}

#[tokio::test]
async fn a_file_that_each_build_writes_starts_none_after_some_and_is_told() {
    let dir = TempDir::new().unwrap();
    let within = |name: &str| dir.path().join(name);
    std::fs::write(within("echo"), tidegate_artifacts::workers::ECHO).unwrap();
    let build = "cat echo > made; echo again >> stamp";
    let flags = ["--build", build, "--component", "made", "--handler", "loud"];
    let mut dev = Dev::start(tidegate(["dev", dir.path().to_str().unwrap()].iter().chain(&flags)));
    dev.logged("stamp changes with every build, so that change starts none any more; leave it out by --ignore stamp")
        .await;
    // Its name comes after that of the other, which would be named if it counted.
    std::fs::write(within("text"), "one").unwrap();
    let changed = dev.logged(" changed").await;
    assert!(changed.contains("text changed"), "{changed}");
    dev.logged("the component is the same as before").await;
    std::fs::write(within("text"), "another").unwrap();
    let changed = dev.logged(" changed").await;
    assert!(changed.contains("text changed"), "{changed}");
    dev.ends().await;
}

#[tokio::test]
async fn what_it_prints_into_a_file_beside_the_source_is_no_change() {
    let dir = TempDir::new().unwrap();
    let within = |name: &str| dir.path().join(name);
    std::fs::write(within("echo"), tidegate_artifacts::workers::ECHO).unwrap();
    std::fs::write(within("source"), "one").unwrap();
    // Its name comes before all others, so it would be named as what has changed.
    let output = within("all.txt");
    let flags = ["--build", "cat echo > made", "--component", "made", "--handler", "loud", "--send", "as it is"];
    let mut command = tidegate(["dev", dir.path().to_str().unwrap()].iter().chain(&flags));
    let file = std::fs::File::create(&output).unwrap();
    // Its server is its own, so a context does not count that says how to reach another, and is not even there.
    command.env("NATS_CONTEXT", "nope");
    command.stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file).kill_on_drop(true);
    let mut dev = command.spawn().unwrap();
    let said = || std::fs::read_to_string(&output).unwrap();
    eventually("it replies", async || said().lines().any(|line| line == "as it is")).await;
    std::fs::write(within("source"), "another").unwrap();
    eventually("it is built again", async || said().contains("the component is the same as before")).await;
    let changed = |said: &str| said.lines().filter(|line| line.ends_with(" changed")).count();
    let said = said();
    assert!(said.contains("source changed") && changed(&said) == 1, "{said}");
    let pid = dev.id().and_then(|id| Pid::from_raw(id.try_into().unwrap())).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(dev.wait().await.unwrap().success());
}
