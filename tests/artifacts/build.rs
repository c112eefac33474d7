//! Builds the guests that only tests need.

#![allow(clippy::print_stdout, reason = "that is how a build script speaks")]

#[path = "../../artifacts/build/guests.rs"]
mod guests;

use std::path::Path;
use std::process::ExitCode;

const GUESTS: &[&str] = &[
    "probe-worker",
    "probe-worker-v2",
    "probe-async",
    "probe-batch",
    "probe-http",
    "probe-messaging",
    "probe-policy",
    "probe-policy-v2",
    "unknown-import",
    "other-version",
];

fn main() -> ExitCode {
    guests::build_guests(GUESTS, Path::new("../.."))
}
