//! `tidegate new`.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::scaffold::{CrateKind, CrateName, Language, contract, files, place, place_config};

const EXAMPLES: &str = "\
Examples:
  tidegate new handler shout
  tidegate new handler shout --language python
  tidegate new policy queue-age
  tidegate new config
  tidegate new wit                               the contract, as WIT, for a project that there is already";

/// Makes something to begin with: a policy or a handler that builds, has tests, and runs, a configuration, or the
/// contract alone.
///
/// A policy or a handler is a new directory of that name where this is run, with the contract in it; building it needs
/// Rust, the target wasm32-wasip2 and crates.io, or in another language what its README says. A configuration is a file
/// with comments. What is there already is never touched. Exit code 0: it is made. 1: it is not, and nothing is left
/// behind. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct NewArgs {
    #[allow(missing_docs)]
    #[command(subcommand)]
    pub what: What,
}

/// What is begun, and its name.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum What {
    /// A policy, which decides how many workers run
    Policy(Named),
    /// A handler, which handles one message
    Handler(Named),
    /// A configuration file, which says what runs
    Config(ConfigFile),
    /// The contract of this version, as WIT: what a tool for components makes bindings of
    Wit(WitDirectory),
}

/// Where the contract is written.
#[derive(Debug, Clone, clap::Args)]
pub struct WitDirectory {
    /// The directory, which must not be there
    #[arg(value_name = "DIR", default_value = "wit")]
    pub dir: PathBuf,
}

/// Where a configuration is written.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigFile {
    /// The file
    #[arg(value_name = "FILE", default_value = "tidegate.toml")]
    pub file: PathBuf,
}

/// A name.
#[derive(Debug, Clone, clap::Args)]
pub struct Named {
    /// The name of the crate, its directory and the plugin: lower-case letters, digits, - and _
    #[arg(value_name = "NAME", allow_hyphen_values = true)]
    pub name: CrateName,
    /// What it is written in; a policy is written in Rust
    #[arg(long, value_enum, default_value_t)]
    pub language: Language,
}

/// Makes it in the directory that the process is in, and says to `out` how to go on.
///
/// # Errors
/// If there is something of that name, or it cannot be written.
pub fn run(args: &NewArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let (kind, named) = match &args.what {
        What::Policy(named) => (CrateKind::Policy, named),
        What::Handler(named) => (CrateKind::Handler, named),
        What::Config(ConfigFile { file }) => return config(file, out),
        What::Wit(WitDirectory { dir }) => return wit(dir, out),
    };
    let (name, language) = (&named.name, named.language);
    if kind == CrateKind::Policy && language != Language::Rust {
        anyhow::bail!(
            "there is no policy to begin with in this language; leave --language out to write it in Rust, or make a \
             component of the world `policy` in wit/"
        );
    }
    place(Path::new(name.as_str()), &files(kind, language, name)?)?;
    let (word, library) = (kind.word(), name.library());
    let name = name.as_str();
    writeln!(out, "made {name}/, a {word}; {name}/README.md says how to try it. Build it with")?;
    writeln!(out, "  cd {name}")?;
    if let Some(build) = language.build() {
        writeln!(out, "  {build}")?;
        return Ok(());
    }
    write!(out, "  cargo build --release --target wasm32-wasip2 && ")?;
    writeln!(out, "cp target/wasm32-wasip2/release/{library}.wasm plugins/{name}.wasm")?;
    Ok(())
}

fn wit(dir: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    place(dir, &contract())?;
    let shown = dir.display();
    writeln!(out, "made {shown}/, the package tidegate:plugin; {shown}/README.md says what is in it")?;
    Ok(())
}

fn config(file: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    place_config(file)?;
    let shown = file.display();
    writeln!(out, "made {shown}, with one workload. Change it to yours, and see what is missing with")?;
    writeln!(out, "  tidegate check --config {shown} --connect")?;
    Ok(())
}
