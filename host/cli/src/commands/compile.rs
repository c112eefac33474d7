//! `tidegate compile`: what the host runs to compile a plugin within bounds. Not for people.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit, umask};

use super::error_output;
use super::signals::outlive_file_limit;
use tidegate_runtime::plugin::{CompileFor, compile_into};

/// How much more modest this is than the host that started it.
const NICE: i32 = 10;

/// Compiles the component on standard input into the cache, within bounds.
#[derive(Debug, Clone, clap::Args)]
pub struct CompileArgs {
    /// For a workload's handler
    #[arg(long, group = "used", required_unless_present_any = ["async_handler", "policy"])]
    pub handler: bool,
    /// For a workload's handler, of the asynchronous form
    #[arg(long, group = "used")]
    pub async_handler: bool,
    /// For a workload's policy
    #[arg(long, group = "used")]
    pub policy: bool,
    /// Where compiled code is kept
    #[arg(long, value_name = "DIR")]
    pub cache_dir: PathBuf,
    /// Bytes of address space
    #[arg(long, value_name = "BYTES")]
    pub memory: u64,
    /// Seconds of processor time
    #[arg(long, value_name = "SECONDS")]
    pub cpu_seconds: u64,
}

/// Compiles. A reason why it cannot goes to standard output, where the host reads it.
pub fn run(args: &CompileArgs) -> ExitCode {
    let bytes = match bound(args).and_then(|()| input()) {
        Ok(bytes) => bytes,
        Err(error) => {
            error_output::say(&error);
            return ExitCode::FAILURE;
        }
    };
    let to = match (args.policy, args.async_handler) {
        (true, _) => CompileFor::Policies,
        (false, true) => CompileFor::AsyncHandlers,
        (false, false) => CompileFor::Handlers,
    };
    match compile_into(&args.cache_dir, to, &bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If nobody reads it, nobody waits for it.
            let _ = std::io::Write::write_all(&mut std::io::stdout(), error.to_string().as_bytes());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Where a process says how soon the system ends it when memory runs out, and what says that it is the first.
const FIRST_TO_GO: (&str, &str) = ("/proc/self/oom_score_adj", "1000");

/// Bounds this process for good.
fn bound(args: &CompileArgs) -> anyhow::Result<()> {
    // This can be done again, and what the host has in its work cannot. No right is needed, and there may be no such
    // file: then it competes.
    let _ = std::fs::write(FIRST_TO_GO.0, FIRST_TO_GO.1);
    // What the system bounds closer stays so.
    let bound = |resource, most: u64, hard: u64| {
        let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        setrlimit(resource, Rlimit { current: Some(most.min(allowed)), maximum: Some(hard.min(allowed)) })
    };
    bound(Resource::As, args.memory, args.memory).context("memory cannot be bounded")?;
    // The first ends it by a signal that tells why.
    let second_more = args.cpu_seconds.saturating_add(1);
    bound(Resource::Cpu, args.cpu_seconds, second_more).context("processor time cannot be bounded")?;
    // Memory that runs out ends the process, and its picture is of no use.
    bound(Resource::Core, 0, 0).context("core dumps cannot be switched off")?;
    // What is compiled is run unchecked, so it is made for nobody else to write to.
    umask(Mode::RWXG | Mode::RWXO);
    // Compiled code that may not be written is a reason to tell.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    runtime.and_then(|runtime| runtime.block_on(async { outlive_file_limit() })).context("signals cannot be heard")?;
    // Where it may not, it competes.
    let _ = nice(NICE);
    Ok(())
}

fn input() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).context("the component cannot be read")?;
    Ok(bytes)
}
