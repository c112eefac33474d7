//! Builds the guests for WebAssembly and copies them to where the library includes them from.
//!
//! The guests are built by a cargo of their own in a target directory of their own, since the cargo that runs this
//! script holds the lock of its target directory.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET: &str = "wasm32-wasip2";
/// The profile of the guests that ship, in the workspace's Cargo.toml.
pub(crate) const PROFILE: &str = "guest";
/// What the guests are made of, from the root of the workspace.
const SOURCES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "guest-sdk",
    "guest-policies",
    "guest-workers",
    "tests/guests",
    "wit",
];

/// Builds these guests, whose packages are called so after `tidegate-`, and copies them to `OUT_DIR`, with the profile
/// in their name if it is not that of the guests that ship. `root` is the workspace.
pub(crate) fn build_guests(profile: &str, guests: &[&str], root: &Path) -> ExitCode {
    match build(profile, guests, root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn build(profile: &str, guests: &[&str], root: &Path) -> Result<(), String> {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let out = variable("OUT_DIR")?;
    let target_dir = target_dir(&out);
    check_target()?;
    run_cargo(profile, guests, root, &target_dir)?;
    let profiled = if profile == PROFILE { String::new() } else { format!(".{profile}") };
    for guest in guests {
        let built = target_dir.join(TARGET).join(profile).join(format!("{}.wasm", guest.replace('-', "_")));
        fs::copy(&built, out.join(format!("{guest}{profiled}.wasm")))
            .map_err(|error| format!("the guest {guest} is not at {}: {error}", built.display()))?;
    }
    Ok(())
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("cargo has not set {name}"))
}

/// `guests` in the target directory, which `make guests` uses too; below `OUT_DIR` where that is not laid out as
/// `<target>/<profile>/build/<package>/out`.
fn target_dir(out: &Path) -> PathBuf {
    let is_usual = out.ancestors().nth(2).is_some_and(|path| path.ends_with("build"));
    let base = out.ancestors().nth(4).filter(|_| is_usual).unwrap_or(out);
    base.join("guests")
}

/// Without this the nested cargo would say in hundreds of lines that `core` cannot be found.
fn check_target() -> Result<(), String> {
    let rustc = variable("RUSTC")?;
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("{} does not run: {error}", rustc.display()))?;
    let directory = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && Path::new(directory.trim()).is_dir() {
        return Ok(());
    }
    Err(format!("the target {TARGET} is missing: run `make setup` or `rustup target add {TARGET}`"))
}

fn run_cargo(profile: &str, guests: &[&str], root: &Path, target_dir: &Path) -> Result<(), String> {
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.current_dir(root);
    cargo.args(["build", "--locked", "--profile", profile, "--target", TARGET, "--target-dir"]).arg(target_dir);
    for guest in guests {
        cargo.args(["--package", &format!("tidegate-{guest}")]);
    }
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_the_outer_build) {
            cargo.env_remove(name);
        }
    }
    match cargo.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("the guests do not build: see above".to_owned()),
        Err(error) => Err(format!("cargo does not run: {error}")),
    }
}

/// Whether a variable says how the outer build is to be done. It would make the guests other ones (flags, profiles),
/// would only have them checked (the wrappers of clippy and of editors), or build all of them anew each time.
fn is_of_the_outer_build(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "CARGO_BUILD_BUILD_DIR",
        "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_RUSTC_WRAPPER",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_TARGET_DIR",
        "CLIPPY_ARGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
    ];
    const PREFIXES: &[&str] = &["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PROFILE_"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
