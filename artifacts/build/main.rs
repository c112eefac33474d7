//! Builds the guests that ship, in the repository; a package of this crate has them built.

#![allow(clippy::print_stdout, reason = "that is how a build script speaks")]

mod guests;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const GUESTS: &[&str] = &[
    "backlog",
    "drain",
    "fixed",
    "kpa",
    "objective",
    "step",
    "utilization",
    "archive",
    "dedupe",
    "echo",
    "fan-out",
    "fetch",
    "fetch-async",
    "later",
    "receipts",
    "reply",
    "reply-batch",
    "wait",
    "word-count",
];

fn main() -> ExitCode {
    if Path::new("../guest-workers").is_dir() {
        return guests::build_guests(guests::PROFILE, GUESTS, Path::new(".."));
    }
    match packaged() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes the guests that lie in the package.
fn packaged() -> Result<(), String> {
    println!("cargo::rerun-if-changed=guests");
    let out = env::var_os("OUT_DIR").map(PathBuf::from).ok_or("cargo has not set OUT_DIR")?;
    for guest in GUESTS {
        let file = format!("{guest}.wasm");
        fs::copy(Path::new("guests").join(&file), out.join(&file)).map_err(|error| {
            format!("this package has no guests/{file} (`make package` makes one that has): {error}")
        })?;
    }
    Ok(())
}
