//! `tidegate completions`.

use std::io::Write;
use std::process::ExitCode;

use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  tidegate completions bash > tidegate.bash    then `source tidegate.bash`; in ~/.bashrc for all shells to come
  tidegate completions zsh > _tidegate         in a directory that fpath has, before compinit
  tidegate completions fish > tidegate.fish    in ~/.config/fish/completions";

/// Prints the script with which a shell completes commands, flags and their values.
///
/// Exit code 0: printed. 1: it cannot be written. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

/// Prints to `out` the script for all of `program`.
///
/// # Errors
/// If it cannot be written.
pub fn run(args: &CompletionsArgs, mut program: clap::Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "tidegate", &mut script);
    out.write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
