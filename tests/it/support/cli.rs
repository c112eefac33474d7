//! The program as a user runs it.

use std::ffi::OsStr;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use super::PATIENCE;

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A run of `tidegate` that has not begun, without the NATS settings of whoever runs the tests.
pub(crate) fn tidegate<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = without_nats(Command::new(env!("CARGO_BIN_EXE_tidegate")));
    command.args(arguments);
    command
}

/// The same, with the signals of a program on a terminal: what runs the tests may itself be in the background of a
/// shell's script, which has such processes ignore some.
pub(crate) fn tidegate_with_signals<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = without_nats(Command::new("env"));
    command.args(["--default-signal", env!("CARGO_BIN_EXE_tidegate")]).args(arguments);
    command
}

/// A command without the NATS settings of whoever runs the tests.
pub(crate) fn without_nats(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NATS_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `tidegate` to its end.
pub(crate) async fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ended {
    Running::start(tidegate(arguments)).end().await
}

impl Ended {
    /// Both outputs, for messages that may be in either.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Checks that it failed with this code and said all of `parts`, in the words of this program: without traces of
    /// Rust, and no error telling a thing twice.
    #[track_caller]
    pub(crate) fn failed_with(&self, code: i32, parts: &[&str]) {
        let said = self.said();
        assert_eq!(self.code, Some(code), "{said}");
        for part in parts {
            assert!(said.contains(part), "no `{part}` in\n{said}");
        }
        in_own_words(&said);
    }
}

/// Checks that nothing is a trace of Rust, and that no error tells a thing twice.
#[track_caller]
fn in_own_words(said: &str) {
    for trace in ["panicked", "RUST_BACKTRACE", "Some(", "Err(", "Error {", "Kind"] {
        assert!(!said.contains(trace), "`{trace}` in\n{said}");
    }
    // What is indented belongs to the line before it.
    for error in said.replace("\n ", " ").lines() {
        let parts = error.split([':', ';']).map(str::trim).filter(|part| part.len() > 20);
        for part in parts {
            assert_eq!(error.matches(part).count(), 1, "`{part}` twice in\n{error}");
        }
    }
}

/// A program that runs. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: JoinHandle<String>,
    stderr: UnboundedReceiver<String>,
    /// The lines of standard error that were looked at.
    seen: Vec<String>,
}

impl Running {
    /// Starts `command` with empty input.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let stdout = tokio::spawn(async move {
            let mut text = Vec::new();
            output.read_to_end(&mut text).await.unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        let stderr = lines(child.stderr.take().unwrap());
        Self { child, stdout, stderr, seen: Vec::new() }
    }

    /// Awaits a line of standard error that has `part` in it, after those looked at before, and gives it.
    pub(crate) async fn line_with(&mut self, part: &str) -> String {
        let search = async {
            while let Some(line) = self.stderr.recv().await {
                self.seen.push(line.clone());
                if line.contains(part) {
                    return Some(line);
                }
            }
            None
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("ended without `{part}`; it said\n{}", self.seen.join("\n")),
            Err(_) => panic!("not within {PATIENCE:?}: `{part}`; it said\n{}", self.seen.join("\n")),
        }
    }

    /// Awaits a line that has all of `parts`, in the words of this program, and that it goes on: told to end, it
    /// drains.
    pub(crate) async fn waits_with(mut self, parts: &[&str]) -> Ended {
        let (first, rest) = parts.split_first().unwrap();
        let line = self.line_with(first).await;
        for part in rest {
            assert!(line.contains(part), "no `{part}` in\n{line}");
        }
        in_own_words(&line);
        self.signal(Signal::TERM);
        let ended = self.end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended
    }

    /// The lines of standard error that were looked at.
    pub(crate) fn seen(&self) -> &[String] {
        &self.seen
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.try_into().unwrap()));
        pid.expect("it has ended")
    }

    /// Kills it, and awaits its end: until then the server may give it messages.
    pub(crate) async fn kill(self) {
        self.signal(Signal::KILL);
        self.end().await;
    }

    /// Awaits its end.
    pub(crate) async fn end(mut self) -> Ended {
        let end = async {
            while let Some(line) = self.stderr.recv().await {
                self.seen.push(line);
            }
            self.child.wait().await.unwrap()
        };
        // It may do much before it ends: a whole benchmark does.
        let limit = PATIENCE * 4;
        let Ok(status) = tokio::time::timeout(limit, end).await else {
            panic!("did not end within {limit:?}; it said\n{}", self.seen.join("\n"));
        };
        let stdout = self.stdout.await.unwrap();
        Ended { code: status.code(), stdout, stderr: self.seen.join("\n") }
    }
}

fn lines(output: ChildStderr) -> UnboundedReceiver<String> {
    let (sender, receiver) = unbounded_channel();
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
