//! `tidegate plugin verify`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use tidegate_runtime::plugin::{digest_of_file, signature_of};
use tidegate_runtime::signature::{SignatureError, public_key};

use crate::commands::output::Output;

const EXAMPLES: &str = "\
Examples:
  tidegate plugin verify plugins/receipts.wasm --trusted UBKXGEDXNI5MS6QZEFSCITCBYZ4ORXSS7DYGBWAUWRWGFR5HMMQDKMWB";

/// Says whether plugins are signed by somebody who is trusted, as a host finds out.
///
/// Exit code 0: all are. 1: one is not. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// The plugins; the signature of FILE is FILE.sig
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// A public key whose signatures count, U...; may be given again
    #[arg(long, value_name = "KEY", required = true, value_parser = key)]
    pub trusted: Vec<String>,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

fn key(text: &str) -> Result<String, String> {
    public_key(text).map(|()| text.to_owned()).map_err(|(problem, remedy)| format!("it {problem}; {remedy}"))
}

#[derive(Debug, Serialize)]
struct Answer {
    ok: bool,
    plugins: Vec<Verified>,
}

#[derive(Debug, Serialize)]
struct Verified {
    file: PathBuf,
    sha256: String,
    signed_by: Option<String>,
    problem: Option<String>,
}

/// Verifies, and prints the answer to `out`.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn run(args: &VerifyArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let plugins: Vec<_> = args.files.iter().map(|file| verify(file, &args.trusted)).collect::<anyhow::Result<_>>()?;
    let answer = Answer { ok: plugins.iter().all(|plugin| plugin.problem.is_none()), plugins };
    args.output.write(out, &answer, |out| {
        for Verified { file, signed_by, problem, .. } in &answer.plugins {
            match (problem, signed_by) {
                (Some(problem), _) => writeln!(out, "{}: {problem}", file.display())?,
                (None, key) => writeln!(out, "{}: signed by {}", file.display(), key.as_deref().unwrap_or_default())?,
            }
        }
        Ok(())
    })?;
    Ok(if answer.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verify(file: &Path, trusted: &[String]) -> anyhow::Result<Verified> {
    let digest = digest_of_file(file).with_context(|| format!("cannot read {}", file.display()))?;
    let signature = signature_of(file);
    let signed_by = signature.as_ref().ok().map(|signature| signature.key().to_owned());
    let checked: Result<(), SignatureError> = signature.and_then(|signature| signature.check(&digest, trusted));
    let problem = checked.err().map(|error| error.to_string());
    Ok(Verified { file: file.to_owned(), sha256: digest.whole().to_owned(), signed_by, problem })
}
