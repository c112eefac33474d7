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
    "probe-messaging-async",
    "probe-policy",
    "probe-policy-v2",
    "unknown-import",
    "other-version",
];

fn main() -> ExitCode {
    let root = Path::new("../..");
    match guests::build_guests(guests::PROFILE, GUESTS, root) {
        ExitCode::SUCCESS => guests::build_guests("guest-lines", &["probe-worker"], root),
        failed => failed,
    }
}
