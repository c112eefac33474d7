//! Builds the guests that ship.

#![allow(clippy::print_stdout, reason = "that is how a build script speaks")]

mod guests;

use std::path::Path;
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
    guests::build_guests(guests::PROFILE, GUESTS, Path::new(".."))
}
