//! `tidegate plugin list`.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;
use tidegate_runtime::config::units::show_size;
use tidegate_runtime::config::{Config, OciReference, Plugins, Workload, process_environment};
use tidegate_runtime::digest::{Digest, shown};
use tidegate_runtime::jetstream::StoredPlugin;
use tidegate_runtime::plugin::{FoundPlugin, found_in};
use tidegate_runtime::registry::{Artifact, Registries};
use tidegate_runtime::text::plain;

use crate::commands::flags::ConfigFlags;
use crate::commands::output::Output;
use crate::commands::plugin::bucket::bucket;

const EXAMPLES: &str = "\
Examples:
  tidegate plugin list                           for ./tidegate.toml
  tidegate plugin list -c tidegate.toml --output json";

/// Lists the plugins that are where the configuration says they come from.
///
/// Those in registries are listed that a workload names. Of each: its digest, who has signed it, and which workloads
/// name it. What a host would refuse for its signature or for a pin is told; `tidegate check` compiles too. Exit code
/// 0: listed. 1: the configuration is wrong, or they cannot be read. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ListArgs {
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub flags: ConfigFlags,
}

#[derive(Debug, Serialize)]
struct Answer {
    plugins: Vec<Listed>,
}

/// A plugin, and who names it.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    pub(super) plugin: String,
    bytes: u64,
    pub(super) sha256: Option<String>,
    signed_by: Option<String>,
    used: Vec<Use>,
    pub(super) problems: Vec<String>,
}

/// A place in the configuration that names a plugin.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Use {
    workload: String,
    role: &'static str,
    pinned: Option<String>,
}

/// Lists them on `out`.
///
/// # Errors
/// If the configuration is wrong, or the plugins cannot be read.
pub(super) async fn run(args: &ListArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = Config::for_plugins(&args.flags.0, &process_environment())?;
    let answer = Answer { plugins: all(&config).await? };
    args.output.write(out, &answer, |out| {
        if answer.plugins.is_empty() {
            writeln!(out, "there are no plugins")?;
        }
        answer.plugins.iter().try_for_each(|plugin| plugin.write(out))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// All plugins that are where they come from, by name.
///
/// # Errors
/// If they cannot be read.
pub(super) async fn all(config: &Config) -> anyhow::Result<Vec<Listed>> {
    let artifacts = artifacts(config).await;
    let mut found = match config.plugins.origin.bucket {
        None => match found_in(&config.plugins) {
            Ok(found) => found,
            // Where all come from registries, there need be no directory.
            Err(_) if !artifacts.is_empty() && config.plugin_names().into_iter().all(OciReference::is_one) => {
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        },
        Some(_) => {
            let (store, shown) = bucket(config).await?;
            let stored = store.list().await.map_err(|why| anyhow::anyhow!("the plugin bucket {shown}: {why}"))?;
            stored.into_iter().map(|stored| found_object(stored, &config.plugins)).collect()
        }
    };
    found.extend(artifacts);
    Ok(found.into_iter().map(|found| listed(found, config)).collect())
}

/// The plugins in registries that workloads name, by name.
async fn artifacts(config: &Config) -> Vec<FoundPlugin> {
    let registries = Registries::new(&config.plugins.origin.oci);
    let mut found = Vec::new();
    for name in config.plugin_names() {
        let Some(Ok(reference)) = OciReference::parse(name) else { continue };
        found.extend(artifact(&registries, name, &reference, &config.plugins).await);
    }
    found
}

/// The plugin at a place in a registry, which no workload has to name.
pub(super) async fn at(config: &Config, name: &str, reference: &OciReference) -> Option<Listed> {
    let registries = Registries::new(&config.plugins.origin.oci);
    let found = artifact(&registries, name, reference, &config.plugins).await;
    found.map(|found| listed(found, config))
}

async fn artifact(
    registries: &Registries,
    name: &str,
    reference: &OciReference,
    plugins: &Plugins,
) -> Option<FoundPlugin> {
    let name = name.to_owned();
    match registries.find(reference, None).await {
        Ok(Some(Artifact { component, bytes, signature, .. })) => {
            Some(FoundPlugin::new(name, bytes, Some(component.into()), signature.as_deref(), plugins))
        }
        Ok(None) => None,
        Err(why) => Some(FoundPlugin { name, bytes: 0, digest: None, signed_by: None, problem: Some(why) }),
    }
}

fn found_object(stored: StoredPlugin, plugins: &Plugins) -> FoundPlugin {
    let StoredPlugin { name, bytes, digest, signature, problem } = stored;
    if problem.is_some() {
        return FoundPlugin { name, bytes, digest: None, signed_by: None, problem };
    }
    FoundPlugin::new(name, bytes, digest.map(Digest::from), signature.as_deref(), plugins)
}

impl Listed {
    /// For a person, in lines.
    pub(super) fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Listed { plugin, bytes, sha256, signed_by, used, problems } = self;
        write!(out, "{}  {}  {}", plain(plugin), sha256.as_deref().map_or("-", shown), show_size(bytes))?;
        if let Some(key) = signed_by {
            write!(out, "  signed by {key}")?;
        }
        for Use { workload, role, pinned } in used {
            let pinned = if pinned.is_some() { ", pinned" } else { "" };
            write!(out, "  {role} of {workload}{pinned}")?;
        }
        writeln!(out)?;
        problems.iter().try_for_each(|problem| writeln!(out, "  refused: {problem}"))
    }
}

fn listed(found: FoundPlugin, config: &Config) -> Listed {
    let FoundPlugin { name, bytes, digest, signed_by, problem } = found;
    let uses = uses(config, &name);
    let other_pin = |of: &&(Use, Option<Digest>)| of.1.is_some() && digest.is_some() && of.1 != digest;
    let refused = uses.iter().filter(other_pin).map(|(of, pin)| {
        let pin = pin.as_ref().map(Digest::whole).unwrap_or_default();
        format!("as the {} of {}, which pins {name}@sha256:{pin}", of.role, of.workload)
    });
    let problems = problem.into_iter().chain(refused).collect();
    let used = uses.iter().map(|(of, _)| of.clone()).collect();
    Listed { plugin: name, bytes, sha256: digest.map(|digest| digest.whole().to_owned()), signed_by, used, problems }
}

/// The places in the configuration that name a plugin, and what they pin it to.
fn uses(config: &Config, name: &str) -> Vec<(Use, Option<Digest>)> {
    let of_workload = |of: &Workload| {
        let named = of.plugins().filter(|(_, plugin, _)| *plugin == name);
        let used = named.map(|(role, _, pin)| {
            let pinned = pin.map(|pin| pin.whole().to_owned());
            (Use { workload: of.name.clone(), role, pinned }, pin.cloned())
        });
        used.collect::<Vec<_>>()
    };
    config.workloads.iter().flat_map(of_workload).collect()
}
