//! Compiles a plugin in a process of its own, so that a file can cost only bounded time and memory.
//!
//! The child process puts the compiled code into the cache. The host then loads the component as if it compiled it, and
//! finds it there. So the host runs only native code that wasmtime's cache vouches for, and a compiler that fails ends
//! only its own process.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmtime::component::Component;
use wasmtime::{Cache, Config, Engine};

use super::cache;
use super::compiled_note::CompiledNote;
use super::refusal::PluginRefusal;
use super::temporary::TemporaryDirectory;
use crate::config::units::{show_duration, show_size};
use crate::digest::{Digest, sha256};
use crate::plugin::run::engine_config::{async_handlers, handlers, policies};
use crate::plugin::run::kind::Kind;
use crate::plugin::run::told_text::brief;

/// How many plugins are compiled at once.
pub(super) const AT_ONCE: usize = 2;
/// Threads of one compiling process. Each keeps memory of its own, and leaves processors to others.
const THREADS: usize = 4;
/// Bytes of the child's output that are read.
const SAID: usize = 4 << 10;
/// Exit codes of the command `compile`, besides 0 for success.
const INVALID: u8 = 3;
const NOT_KEPT: u8 = 4;

/// The engine that code is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompileFor {
    /// That of handlers.
    Handlers,
    /// That of handlers of the asynchronous form.
    AsyncHandlers,
    /// That of policies.
    Policies,
}

impl CompileFor {
    /// The engine of a component that is used so.
    pub(super) fn of(kind: Kind, asynchronous: bool) -> Self {
        match kind {
            Kind::Policy => Self::Policies,
            Kind::Handler | Kind::Both if asynchronous => Self::AsyncHandlers,
            Kind::Handler | Kind::Both => Self::Handlers,
        }
    }

    fn config(self, cache: Cache) -> Config {
        match self {
            Self::Handlers => handlers(Some(cache)),
            Self::AsyncHandlers => async_handlers(Some(cache)),
            Self::Policies => policies(Some(cache)),
        }
    }
}

/// The program that compiles, and what compiling may cost.
#[derive(Debug, Clone)]
pub(super) struct Compiler {
    pub(super) program: PathBuf,
    /// The directory of the cache.
    pub(super) cache: PathBuf,
    pub(super) time: Duration,
    pub(super) memory: u64,
    /// Limits how many plugins are compiled at once. It is more than one, so that one that takes long does not keep all
    /// others waiting.
    pub(super) turns: Arc<Semaphore>,
}

impl Compiler {
    /// Whether the cache has what was compiled of this component for this engine.
    pub(super) async fn has_compiled(&self, engine: &Engine, component: &Digest) -> bool {
        let note = CompiledNote::of(&self.cache, engine, component.whole());
        // A task that ends with the runtime has found nothing.
        tokio::task::spawn_blocking(move || note.holds()).await.unwrap_or(false)
    }

    /// Compiles a plugin into the cache.
    pub(super) async fn compile(&self, to: CompileFor, bytes: &Arc<[u8]>) -> Result<(), PluginRefusal> {
        // Waiting for a turn does not count as compile time. The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        let mut child = self.command(to).spawn().map_err(PluginRefusal::NoCompiler)?;
        let input = child.stdin.take();
        let work = async {
            if let Some(mut input) = input {
                // A child that ends early says why by its exit code.
                let _ = input.write_all(bytes).await;
            }
            child.wait_with_output().await
        };
        // The child is killed when it is dropped.
        match timeout(self.time, work).await {
            Err(_) => Err(PluginRefusal::CompileTime(show_duration(&self.time))),
            Ok(Err(error)) => Err(PluginRefusal::NoCompiler(error)),
            Ok(Ok(output)) => self.judge(&output),
        }
    }

    fn command(&self, to: CompileFor) -> Command {
        let threads = available_parallelism().map_or(1, |all| all.get().min(THREADS));
        let mut command = Command::new(&self.program);
        command
            .arg("compile")
            .arg(match to {
                CompileFor::Policies => "--policy",
                CompileFor::Handlers => "--handler",
                CompileFor::AsyncHandlers => "--async-handler",
            })
            .arg("--cache-dir")
            .arg(&self.cache)
            .arg("--memory")
            .arg(self.memory.to_string())
            .arg("--cpu-seconds")
            // The child ends itself if this host dies before it can kill it.
            .arg((self.time.as_secs() + 1).saturating_mul(u64::try_from(threads).unwrap_or(1)).to_string())
            // The component is not trusted, and the environment may hold secrets.
            .env_clear()
            .env("RAYON_NUM_THREADS", threads.to_string())
            // Each arena of the allocator reserves address space, which is limited here.
            .env("MALLOC_ARENA_MAX", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A signal to this host's group, as by Ctrl-C, is for the host, which then drops the child. It would end
            // the child first, as if the plugin were bad. A child that outlives its host still has its own limit of
            // time; to have the system kill it then would do so when the thread ends that has started it.
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// The refusal for a lack of memory: by the configured limit, or by a lower one of the system.
    fn without_memory(&self) -> PluginRefusal {
        match bytes_allowed().filter(|allowed| *allowed < self.memory) {
            Some(allowed) => PluginRefusal::NoMemory(show_size(&allowed)),
            None => PluginRefusal::CompileMemory(show_size(&self.memory)),
        }
    }

    fn judge(&self, output: &Output) -> Result<(), PluginRefusal> {
        let said = brief(&String::from_utf8_lossy(&output.stdout), SAID);
        let complained = String::from_utf8_lossy(&output.stderr);
        let without_memory =
            |text: &str| ["memory allocation of", "annot allocate memory"].iter().any(|part| text.contains(part));
        match output.status.code() {
            Some(0) => Ok(()),
            _ if without_memory(&said) || without_memory(&complained) => Err(self.without_memory()),
            Some(code) if code == i32::from(INVALID) => Err(PluginRefusal::Compile(said)),
            Some(code) if code == i32::from(NOT_KEPT) => {
                Err(PluginRefusal::NotKept { dir: self.cache.clone(), why: said })
            }
            // The child failed before it read the plugin.
            Some(1) => Err(PluginRefusal::NoCompiler(std::io::Error::other(brief(&complained, SAID)))),
            _ if ended_by(output, Signal::XCPU) => Err(PluginRefusal::CompileTime(show_duration(&self.time))),
            // This host kills a child only when nobody waits for it any more, so the system did it, or who ends all
            // processes of a service at once. The plugin is not to blame.
            _ if [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP].iter().any(|by| ended_by(output, *by)) => {
                Err(PluginRefusal::CompilerKilled(output.status.to_string()))
            }
            _ => {
                tracing::debug!(status = %output.status, complained = %complained.trim(), "the compiling process \
                failed");
                Err(PluginRefusal::Compile("the compiler failed on it".into()))
            }
        }
    }
}

/// The bytes of address space that the system allows this process and its children, if it limits them.
fn bytes_allowed() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

fn ended_by(output: &Output, signal: Signal) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    output.status.signal() == Some(signal.as_raw())
}

/// Why the command `compile` failed. Exit code and text are read by the host that started it.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] cache::CacheError),
    /// The component is not valid code, or the engine does not run here.
    #[error("{0}")]
    Invalid(String),
    /// Compiled code did not stay in the cache.
    #[error("the compiled code cannot be kept")]
    NotKept,
}

impl CompileError {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Invalid(_) => INVALID,
            Self::Cache(_) | Self::NotKept => NOT_KEPT,
        }
    }
}

/// Compiles a component in this process, into the cache in `dir`. A component that is in the cache already is only
/// read.
///
/// # Errors
/// If the component does not compile, or the cache does not have it afterwards.
pub fn compile_into(dir: &Path, to: CompileFor, bytes: &[u8]) -> Result<(), CompileError> {
    let cache = cache::open(dir)?;
    let engine = Engine::new(&to.config(cache.clone())).map_err(invalid)?;
    let note = CompiledNote::of(cache.directory(), &engine, &sha256(bytes));
    if note.holds() {
        return Ok(());
    }
    cache::forget_abandoned(cache.directory());
    let own = tempfile::Builder::new().prefix(cache::COMPILING).tempdir_in(cache.directory());
    let own = TemporaryDirectory::from(own.map_err(|_| CompileError::NotKept)?);
    let alone = Engine::new(&to.config(cache::open(own.path())?)).map_err(invalid)?;
    Component::from_binary(&alone, bytes).map_err(invalid)?;
    note.take(own.path()).map_err(|_| CompileError::NotKept)?;
    // The host must find it in the cache, or would compile it without a limit.
    Component::from_binary(&engine, bytes).map_err(invalid)?;
    if cache.cache_hits() > 0 {
        return Ok(());
    }
    // A file that a failed write has left would keep everything from being written there again.
    cache::forget_unfinished(cache.directory());
    Err(CompileError::NotKept)
}

#[allow(clippy::needless_pass_by_value, reason = "it is mapped over errors")]
fn invalid(error: wasmtime::Error) -> CompileError {
    CompileError::Invalid(format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::{self, File};

    use super::*;
    use crate::clock::time_of_day;

    /// Compiles by a script of this text.
    fn by_script(dir: &Path, text: &str) -> Compiler {
        use std::os::unix::fs::PermissionsExt as _;
        let program = dir.join("compiles");
        fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let (time, turns) = (Duration::from_secs(60), Arc::new(Semaphore::new(AT_ONCE)));
        Compiler { program, cache: dir.to_owned(), time, memory: 1 << 30, turns }
    }

    #[tokio::test]
    async fn a_signal_to_the_group_of_this_process_is_not_one_to_the_process_that_compiles() {
        let dir = tempfile::tempdir().unwrap();
        // The fifth field is the group; the name of the program, before it, has no spaces.
        let compiler = by_script(dir.path(), "read -r _ _ _ _ group _ </proc/$$/stat; echo $$ $group; exit 3");
        let refused = compiler.compile(CompileFor::Handlers, &EMPTY.into()).await.unwrap_err();
        let PluginRefusal::Compile(said) = refused else { panic!("{refused}") };
        let (process, group) = said.trim().split_once(' ').unwrap();
        assert_eq!(process, group);
    }

    #[tokio::test]
    async fn a_compiling_process_that_somebody_ends_says_nothing_against_the_plugin() {
        let dir = tempfile::tempdir().unwrap();
        // The others may be ignored here, as by nohup.
        for signal in ["TERM", "KILL"] {
            let compiler = by_script(dir.path(), &format!("kill -{signal} $$"));
            let refused = compiler.compile(CompileFor::Handlers, &EMPTY.into()).await.unwrap_err();
            assert!(matches!(refused, PluginRefusal::CompilerKilled(_)), "{refused}");
        }
    }

    /// A component without anything in it.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn what_killed_compilers_have_left_is_removed_and_what_others_write_now_is_not() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("compiled");
        cache::open(&dir).unwrap();
        let old = [dir.join("compiling-old"), dir.join(".tmpold")];
        let other = [dir.join("compiling-new"), dir.join(".tmpnew"), dir.join("old")];
        for path in old.iter().chain(&other) {
            match path.file_name().unwrap().to_str().unwrap().starts_with(cache::COMPILING) {
                true => fs::create_dir_all(path.join("modules/wasmtime-1")).unwrap(),
                false => fs::write(path, "half").unwrap(),
            }
        }
        for path in old.iter().chain(&other[2..]) {
            File::open(path).unwrap().set_modified(time_of_day() - Duration::from_secs(3 * 60 * 60)).unwrap();
        }
        compile_into(&dir, CompileFor::Handlers, EMPTY).unwrap();
        assert!(old.iter().all(|path| !path.exists()));
        assert!(other.iter().all(|path| path.exists()));
    }

    #[test]
    fn code_that_is_kept_but_cannot_be_noted_is_compiled_all_the_same() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("compiled");
        cache::open(&dir).unwrap();
        // No directory of notes can be made here.
        fs::write(dir.join("notes"), "").unwrap();
        compile_into(&dir, CompileFor::Handlers, EMPTY).unwrap();
        fs::remove_file(dir.join("notes")).unwrap();
        compile_into(&dir, CompileFor::Handlers, EMPTY).unwrap();
        let cache = cache::open(&dir).unwrap();
        let engine = Engine::new(&CompileFor::Handlers.config(cache.clone())).unwrap();
        assert!(CompiledNote::of(cache.directory(), &engine, &sha256(EMPTY)).holds());
    }
}
