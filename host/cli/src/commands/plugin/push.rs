//! `tidegate plugin push`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use tidegate_runtime::config::units::show_size;
use tidegate_runtime::config::{Config, OciReference, OciVersion, is_plugin_name, process_environment};
use tidegate_runtime::digest::Digest;
use tidegate_runtime::plugin::{inspect, signature_of};
use tidegate_runtime::registry::{Interfaces, Registries};
use tidegate_runtime::signature::SignatureError;

use crate::commands::flags::ConfigFlags;
use crate::commands::output::Output;
use crate::commands::plugin::bucket::bucket;

const EXAMPLES: &str = "\
Examples:
  tidegate plugin push plugins/receipts.wasm -c tidegate.toml --plugin-bucket TIDEGATE_PLUGINS
  tidegate plugin push plugins/backlog.wasm --name scaling --plugin-bucket TIDEGATE_PLUGINS
  tidegate plugin push plugins/receipts.wasm --to oci://ghcr.io/acme/receipts:1.2 -c tidegate.toml";

/// Puts a plugin into the bucket that hosts take theirs from, or into a registry, with the signature that stands beside
/// it.
///
/// Every host that has the bucket as plugins.bucket swaps to it; those that follow the tag in a registry, when they ask
/// it next. A file that no host would take is not put there: one
/// that is no component of this contract, is larger than plugins.max-size, or is not signed as plugins.trusted wants.
/// The bucket is made if it is not there. Exit code 0: it is there. 1: it is not. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct PushArgs {
    /// The plugin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Its name [default: the stem of the file]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The place in a registry, in place of the bucket
    #[arg(long, value_name = "oci://REGISTRY/NAME:TAG", conflicts_with_all = ["name", "plugin-bucket"])]
    pub to: Option<String>,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub flags: ConfigFlags,
}

#[derive(Debug, Serialize)]
struct Answer {
    plugin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<String>,
    bytes: usize,
    sha256: String,
    signed_by: Option<String>,
}

/// Puts it there, and prints what was put.
///
/// # Errors
/// If it is no plugin, is not signed as it must be, or the servers do not take it.
pub(super) async fn run(args: &PushArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = Config::for_plugins(&args.flags.0, &process_environment())?;
    let to = args.to.as_deref().map(place).transpose()?;
    let name = if to.is_some() { String::new() } else { name(args)? };
    let file = args.file.display();
    let (content, interfaces) = read(&args.file, config.plugins.compile.max_size)?;
    let signed = signature_of(&args.file);
    // Of what is put there, which is not read a second time: the file may have changed since.
    let digest = Digest::of(&content);
    let signature = match (signed, config.plugins.origin.trusted.as_slice()) {
        (Err(SignatureError::Unsigned), []) => None,
        (Ok(signature), []) => Some(signature),
        (Ok(signature), trusted) => {
            signature.check(&digest, trusted).with_context(|| format!("{file} is not put there"))?;
            Some(signature)
        }
        (Err(error), _) => return Err(error).with_context(|| format!("{file} is not put there")),
    };
    let text = signature.as_ref().map(ToString::to_string);
    let signed_by = signature.map(|signature| signature.key().to_owned());
    let (bytes, sha256) = (content.len(), digest.whole().to_owned());
    let answer = match to {
        Some(reference) => {
            let pushed =
                Registries::new(&config.plugins.origin.oci).push(&reference, (&content, &interfaces), text).await;
            let digest = pushed.map_err(|why| anyhow!("{reference}: {why}"))?;
            let plugin = reference.to_string();
            let pinned = OciReference { version: OciVersion::Digest(digest), ..reference }.to_string();
            Answer { plugin, bucket: None, pinned: Some(pinned), bytes, sha256, signed_by }
        }
        None => {
            let (bucket, shown) = bucket(&config).await?;
            Box::pin(bucket.push(&name, &content, text))
                .await
                .map_err(|why| anyhow!("the plugin bucket {shown}: {why}"))?;
            Answer { plugin: name, bucket: Some(shown), pinned: None, bytes, sha256, signed_by }
        }
    };
    args.output.write(out, &answer, |out| match &answer {
        Answer { plugin, bucket: Some(bucket), sha256, .. } => {
            writeln!(out, "{plugin} is in the bucket {bucket}: {plugin}@sha256:{sha256}")
        }
        Answer { plugin, pinned, .. } => writeln!(out, "{plugin} is there: {}", pinned.as_deref().unwrap_or_default()),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The place in a registry that it gets.
fn place(text: &str) -> anyhow::Result<OciReference> {
    let parsed = OciReference::parse(text).with_context(|| {
        format!("{text:?} is not the place of a plugin in a registry; write oci://REGISTRY/NAME:TAG")
    })?;
    parsed.map_err(|wrong| anyhow!("{}; {}", wrong.problem, wrong.remedy))
}

/// The name that it gets.
fn name(args: &PushArgs) -> anyhow::Result<String> {
    let stem = || args.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = args.name.clone().unwrap_or_else(stem);
    if !is_plugin_name(&name) {
        bail!("{name:?} cannot be the name of a plugin; give one with --name");
    }
    Ok(name)
}

/// Reads a file that could be a plugin.
fn read(file: &Path, most: u64) -> anyhow::Result<(Vec<u8>, Interfaces)> {
    let shown = file.display();
    let metadata = std::fs::metadata(file).with_context(|| format!("cannot read {shown}"))?;
    if !metadata.is_file() {
        bail!("{shown} is not a file");
    }
    if metadata.len() > most {
        let (size, most) = (metadata.len(), show_size(&most));
        bail!("{shown} has {size} bytes, more than {most}, and no host would take it; raise plugins.max-size");
    }
    let content = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
    let found = inspect(&content).with_context(|| format!("{shown} is not put there"))?;
    Ok((content, Interfaces { exports: found.exports, imports: found.imports }))
}
