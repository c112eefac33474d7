//! `tidegate plugin remove`.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;
use tidegate_runtime::config::{Config, process_environment};

use crate::commands::flags::ConfigFlags;
use crate::commands::output::Output;
use crate::commands::plugin::bucket::bucket;

/// Removes a plugin from the bucket.
///
/// What runs stays; a host that starts then waits for it. Exit code 0: it is gone. 1: it was not there, or cannot be
/// removed. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
pub struct RemoveArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub flags: ConfigFlags,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    plugin: &'a str,
    bucket: String,
    removed: bool,
}

/// Removes it, and prints that to `out`.
///
/// # Errors
/// If it cannot be removed.
pub(super) async fn run(args: &RemoveArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = Config::for_plugins(&args.flags.0, &process_environment())?;
    let (store, bucket) = bucket(&config).await?;
    let removed = store.remove(&args.name).await;
    let removed = removed.map_err(|why| anyhow::anyhow!("the plugin bucket {bucket}: {why}"))?;
    let answer = Answer { plugin: &args.name, bucket, removed };
    args.output.write(out, &answer, |out| {
        let Answer { plugin, bucket, removed } = &answer;
        let done = if *removed { "is removed from" } else { "is not in" };
        writeln!(out, "{plugin} {done} the bucket {bucket}")
    })?;
    Ok(if removed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
