//! `tidegate plugin sign`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use tidegate_runtime::plugin::{digest_of_file, signature_file};
use tidegate_runtime::signature::Signer;

use crate::commands::output::Output;
use crate::commands::plugin::put::put;

const EXAMPLES: &str = "\
Examples:
  tidegate plugin sign plugins/receipts.wasm --seed-file signer.nk
  tidegate plugin sign plugins/*.wasm --seed-file signer.nk --output json";

/// Signs plugins: writes FILE.sig beside each FILE.
///
/// The seed is that of a user's nkey (SU...), as `nk -gen user` makes one. Hosts take the plugin that name the public
/// key, which this prints, in plugins.trusted. Exit code 0: signed. 1: one could not be signed. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SignArgs {
    /// The plugins
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The file with the seed of the key that signs
    #[arg(long, value_name = "FILE")]
    pub seed_file: PathBuf,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Serialize)]
struct Answer {
    key: String,
    signed: Vec<Signed>,
}

#[derive(Debug, Serialize)]
struct Signed {
    file: PathBuf,
    signature: PathBuf,
    sha256: String,
}

/// Signs, and prints what was signed and whose key did it.
///
/// # Errors
/// If there is no seed of a user, or a file cannot be read or its signature not written.
pub(super) fn run(args: &SignArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let seed = std::fs::read_to_string(&args.seed_file)
        .with_context(|| format!("cannot read the seed in {}", args.seed_file.display()))?;
    let signer = Signer::of_seed(&seed).map_err(|why| {
        let file = args.seed_file.display();
        anyhow::anyhow!("{file} is no seed to sign with: {why}\n  `nk -gen user` makes one.")
    })?;
    let signed = args.files.iter().map(|file| sign(file, &signer)).collect::<anyhow::Result<_>>()?;
    let answer = Answer { key: signer.public_key(), signed };
    args.output.write(out, &answer, |out| {
        for Signed { signature, .. } in &answer.signed {
            writeln!(out, "wrote {}", signature.display())?;
        }
        writeln!(out, "signed by {}", answer.key)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn sign(file: &Path, signer: &Signer) -> anyhow::Result<Signed> {
    let digest = digest_of_file(file).with_context(|| format!("cannot read {}", file.display()))?;
    let signature = signer.sign(&digest).map_err(anyhow::Error::msg)?;
    let beside = signature_file(file);
    put(&beside, signature.to_string().as_bytes()).with_context(|| format!("cannot write {}", beside.display()))?;
    Ok(Signed { file: file.to_owned(), signature: beside, sha256: digest.whole().to_owned() })
}
