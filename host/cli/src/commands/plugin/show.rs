//! `tidegate plugin show` and `pin`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use tidegate_runtime::config::{Config, OciReference, OciVersion, process_environment};
use tidegate_runtime::plugin::inspect;
use tidegate_runtime::registry::Registries;

use crate::commands::flags::ConfigFlags;
use crate::commands::output::Output;
use crate::commands::plugin::bucket::bucket;
use crate::commands::plugin::list::{Listed, all, at};

/// Shows one plugin: what it is, what it imports, its digest, who has signed it, and which workloads name it.
///
/// Exit code 0: shown. 1: it is not there, or cannot be read. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
pub struct ShowArgs {
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

/// Prints a plugin's name pinned to the digest that it has now, for the configuration.
///
/// A workload with `handler = "NAME@sha256:..."` takes that file alone, and nothing else that has the name later. Of
/// one in a registry (`oci://...`), which no workload has to name, the digest is its manifest's. Exit code 0: printed.
/// 1: it is not there, or cannot be read. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
pub struct PinArgs {
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
struct Shown {
    #[serde(flatten)]
    listed: Listed,
    kind: Option<String>,
    imports: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Pinned {
    pinned: String,
}

async fn find(config: &Config, name: &str) -> anyhow::Result<Listed> {
    if let Some(parsed) = OciReference::parse(name) {
        let reference = parsed.map_err(|wrong| anyhow!("{}; {}", wrong.problem, wrong.remedy))?;
        return at(config, name, &reference).await.with_context(|| format!("{reference} leads to nothing"));
    }
    let mut all = all(config).await?;
    let place = all.iter().position(|listed| listed.plugin == name);
    let names = || all.iter().map(|listed| listed.plugin.as_str()).collect::<Vec<_>>().join(", ");
    let Some(place) = place else {
        return Err(anyhow!("there is no plugin {name:?}; there are {}", names()));
    };
    Ok(all.swap_remove(place))
}

/// Prints it to `out`.
///
/// # Errors
/// If it is not there, or cannot be read.
pub(super) async fn show(args: &ShowArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = Config::for_plugins(&args.flags.0, &process_environment())?;
    let mut listed = find(&config, &args.name).await?;
    let inspection = inspect(&content(&config, &args.name).await?);
    let (kind, imports) = match inspection {
        Ok(inspection) => (Some(inspection.kind.to_string()), inspection.imports),
        Err(error) => {
            listed.problems.push(error.to_string());
            (None, Vec::new())
        }
    };
    let shown = Shown { listed, kind, imports };
    args.output.write(out, &shown, |out| {
        shown.listed.write(out)?;
        if let Some(kind) = &shown.kind {
            writeln!(out, "  it is {kind}")?;
        }
        shown.imports.iter().try_for_each(|import| writeln!(out, "  imports {import}"))
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn content(config: &Config, name: &str) -> anyhow::Result<Vec<u8>> {
    if let Some(Ok(reference)) = OciReference::parse(name) {
        let registries = Registries::new(&config.plugins.origin.oci);
        let got = registries.fetch(&reference, config.plugins.compile.max_size).await;
        return Ok(got.map_err(|why| anyhow!("{name}: {why}"))?.1);
    }
    if config.plugins.origin.bucket.is_some() {
        let (store, shown) = bucket(config).await?;
        let got = store.get(name, config.plugins.compile.max_size).await;
        let got = got.map_err(|why| anyhow!("{name} in the bucket {shown}: {why}"))?;
        return Ok(got.with_context(|| format!("{name} is not in the bucket {shown} any more"))?.1);
    }
    let file = config.plugins.dir.join(format!("{name}.wasm"));
    std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// Prints it to `out`.
///
/// # Errors
/// If it is not there, or cannot be read.
pub(super) async fn pin(args: &PinArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = Config::for_plugins(&args.flags.0, &process_environment())?;
    if let Some(parsed) = OciReference::parse(&args.name) {
        let reference = parsed.map_err(|wrong| anyhow!("{}; {}", wrong.problem, wrong.remedy))?;
        let found = Registries::new(&config.plugins.origin.oci).find(&reference, None).await;
        let found = found.map_err(|why| anyhow!("{reference}: {why}"))?;
        let digest = found.with_context(|| format!("{reference} leads to nothing"))?.digest;
        let pinned = OciReference { version: OciVersion::Digest(digest), ..reference }.to_string();
        return print(&Pinned { pinned }, args.output, out);
    }
    let listed = find(&config, &args.name).await?;
    let digest = listed.sha256.with_context(|| format!("{}: {}", args.name, listed.problems.join("; ")))?;
    print(&Pinned { pinned: format!("{}@sha256:{digest}", args.name) }, args.output, out)
}

fn print(answer: &Pinned, output: Output, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    output.write(out, answer, |out| writeln!(out, "{}", answer.pinned))?;
    Ok(ExitCode::SUCCESS)
}
