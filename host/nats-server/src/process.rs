//! A child process that never outlives this one.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, PipeWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

/// How often a child's state is looked at while it is awaited.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Becomes the program, after leaving behind a guard that reads a pipe of which this process holds the other end. A
/// line sends the guard home; the end of the pipe, which even `kill -9` of this process brings, makes it kill the
/// program and remove the directory that nobody else will remove.
///
/// Linux could do the same by `PR_SET_PDEATHSIG`, but that needs unsafe code, fires when the thread that spawned ends
/// (tokio ends idle ones) and is unknown elsewhere. The guard is there before the program is, so there is no gap.
const GUARDED: &str = r#"
exec 3<&0 </dev/null
directory=$1
shift
{ read -r _ || { kill -s KILL $$; rm -rf -- "$directory"; }; } <&3 3<&- &
exec "$0" "$@" 3<&-
"#;

/// The command line of a child.
pub(super) struct Arguments(Vec<OsString>);

impl Arguments {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn pair(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.0.push(name.into());
        self.0.push(value.as_ref().to_owned());
    }
}

/// A child process and the guard that ends it with this one. Dropping it kills the child and waits for its end.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    guard: PipeWriter,
}

impl Process {
    /// Starts `program`, in a process group of its own so that Ctrl-C reaches only this process and it can drain first.
    /// `directory` is removed if this process ends without a chance to do so.
    pub(super) fn spawn(program: &Path, arguments: Arguments, log: File, directory: &Path) -> io::Result<Self> {
        let (lifeline, guard) = io::pipe()?;
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg(GUARDED)
            .arg(program)
            .arg(directory)
            .args(arguments.0)
            .process_group(0)
            .stdin(lifeline)
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(log)
            .spawn()?;
        Ok(Self { child, guard })
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.dismiss_guard();
        }
        Ok(status)
    }

    pub(super) fn number(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.ended(), Ok(None))
    }

    /// Asks the child to end, waits as long as told, then kills it. Nothing happens if it has ended.
    pub(super) async fn terminate(&mut self, within: Duration) {
        // A paused child acts on no signal but this and SIGKILL.
        let asked = self.signal(Signal::TERM).and_then(|()| self.signal(Signal::CONT));
        if asked.is_ok() && tokio::time::timeout(within, self.end()).await.is_err() {
            tracing::warn!(?within, "nats-server did not end when asked to and is killed");
        }
        self.kill();
    }

    async fn end(&mut self) {
        while self.is_running() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Kills child and guard, and waits for the child's end.
    pub(super) fn kill(&mut self) {
        if self.is_running() {
            // Errors mean that it has just ended; the wait tells.
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.dismiss_guard();
        }
    }

    /// Stops the child and waits until all of its threads stand still; the signal alone leaves them some moments.
    pub(super) async fn pause(&mut self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        while self.is_running() && waitid(WaitId::Pid(self.pid()), stopped)?.is_none() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    pub(super) fn resume(&mut self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks a nats-server to read its configuration again.
    pub(super) fn reload(&mut self) -> io::Result<()> {
        self.signal(Signal::HUP)
    }

    /// Asks a nats-server to send its clients away and end.
    pub(super) fn retire(&mut self) -> io::Result<()> {
        self.signal(Signal::USR2)
    }

    fn signal(&mut self, signal: Signal) -> io::Result<()> {
        // Once its end was read, its number may be another process's.
        if self.is_running() {
            Ok(kill_process(self.pid(), signal)?)
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, "it has ended"))
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Lets the guard go, for the child's number is free now. A guard that was killed too does not read it.
    fn dismiss_guard(&mut self) {
        let _ = self.guard.write_all(b"\n");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
