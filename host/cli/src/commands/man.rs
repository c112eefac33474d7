//! `tidegate man`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

const EXAMPLES: &str = "\
Examples:
  tidegate man man1              then `man man1/tidegate-run.1`, or move them to ~/.local/share/man/man1
  tidegate man > tidegate.1";

/// Writes the man pages: tidegate.1, and one for each command, as tidegate-run.1.
///
/// Exit code 0: written. 1: they cannot be written. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ManArgs {
    /// The directory, which is made if it is not there; without it tidegate.1 is printed
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// Writes the pages of all of `program`, or prints its first to `out`.
///
/// # Errors
/// If they cannot be written.
pub fn run(args: &ManArgs, program: clap::Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Some(directory) = &args.directory else {
        // As for the pages of a directory.
        let mut program = program.disable_help_subcommand(true);
        program.build();
        let mut page = Vec::new();
        clap_mangen::Man::new(program).render(&mut page)?;
        out.write_all(&page)?;
        return Ok(ExitCode::SUCCESS);
    };
    let told = || format!("the man pages cannot be written to {}", directory.display());
    std::fs::create_dir_all(directory).with_context(told)?;
    clap_mangen::generate_to(program, directory).with_context(told)?;
    Ok(ExitCode::SUCCESS)
}
