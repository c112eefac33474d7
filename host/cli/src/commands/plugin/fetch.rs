//! `tidegate plugin fetch`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use tidegate_runtime::config::{Config, OciReference, process_environment};
use tidegate_runtime::digest::Digest;
use tidegate_runtime::plugin::signature_file;
use tidegate_runtime::registry::Registries;

use crate::commands::flags::ConfigFlags;
use crate::commands::output::Output;
use crate::commands::plugin::bucket::bucket;
use crate::commands::plugin::put::put;

const EXAMPLES: &str = "\
Examples:
  tidegate plugin fetch receipts --into plugins --plugin-bucket TIDEGATE_PLUGINS
  tidegate plugin fetch oci://ghcr.io/acme/backlog:1.2 --into plugins -c tidegate.toml";

/// Writes a plugin of the bucket or of a registry into a directory, with its signature beside it.
///
/// What works on files, as `replay`, `simulate` and `dev` do, takes it there. The file is named as the plugin is, or as
/// the last part of its place in a registry. Its digest is checked, and nothing else. A file of that name is replaced.
/// Exit code 0: it is there. 1: it is not. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct FetchArgs {
    /// Its name in the bucket, or its place in a registry
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The directory, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub flags: ConfigFlags,
}

#[derive(Debug, Serialize)]
struct Answer {
    file: PathBuf,
    sha256: String,
    signed: bool,
}

/// A plugin as it came.
struct Fetched {
    stem: String,
    content: Vec<u8>,
    /// What it should have as its SHA-256.
    digest: Option<String>,
    signature: Option<String>,
}

/// Writes it, and prints where it is.
///
/// # Errors
/// If it cannot be had or written.
pub(super) async fn run(args: &FetchArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = Config::for_plugins(&args.flags.0, &process_environment())?;
    let Fetched { stem, content, digest, signature } = fetch(&config, &args.name).await?;
    let sha256 = Digest::of(&content).whole().to_owned();
    // Before it is written: a host may use the file that is there.
    if digest.as_ref() != Some(&sha256) {
        bail!("{}: its content is not what its digest says; push it again", args.name);
    }
    let into = args.into.display();
    std::fs::create_dir_all(&args.into).with_context(|| format!("cannot make the directory {into}"))?;
    let file = args.into.join(format!("{stem}.wasm"));
    put(&file, &content).with_context(|| format!("cannot write {}", file.display()))?;
    let beside = signature_file(&file);
    match &signature {
        Some(text) => put(&beside, text.as_bytes()).with_context(|| format!("cannot write {}", beside.display()))?,
        // That of another content would not let this one run.
        None => drop(std::fs::remove_file(&beside)),
    }
    let answer = Answer { file, sha256, signed: signature.is_some() };
    args.output.write(out, &answer, |out| writeln!(out, "{}  sha256:{}", answer.file.display(), answer.sha256))?;
    Ok(ExitCode::SUCCESS)
}

async fn fetch(config: &Config, name: &str) -> anyhow::Result<Fetched> {
    let most = config.plugins.compile.max_size;
    if let Some(parsed) = OciReference::parse(name) {
        let reference = parsed.map_err(|wrong| anyhow!("{}; {}", wrong.problem, wrong.remedy))?;
        let fetched = Registries::new(&config.plugins.origin.oci).fetch(&reference, most).await;
        let (artifact, content) = fetched.map_err(|why| anyhow!("{reference}: {why}"))?;
        let stem = reference.stem().to_owned();
        return Ok(Fetched { stem, content, digest: Some(artifact.component), signature: artifact.signature });
    }
    let (store, shown) = bucket(config).await?;
    let got = store.get(name, most).await.map_err(|why| anyhow!("{name} in the bucket {shown}: {why}"))?;
    let (stored, content) =
        got.with_context(|| format!("{name} is not in the bucket {shown}; `tidegate plugin list` says what is"))?;
    if stored.bytes > most {
        bail!("{name} in the bucket {shown} has {} bytes; raise plugins.max-size", stored.bytes);
    }
    Ok(Fetched { stem: name.to_owned(), content, digest: stored.digest, signature: stored.signature })
}
