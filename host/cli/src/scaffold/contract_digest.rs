//! Whether the bindings that ship with a new project are those of the contract.
//!
//! `tidegate.d.ts` and the C bindings are files that were made once, and the tools that make them are on few machines.
//! So a digest of what they were made from stands here.

#![cfg(test)]
#![allow(clippy::unwrap_used)]

use std::path::Path;

use sha2::{Digest, Sha256};

/// The digest of [`INTERFACES`] when the bindings were made last.
const MADE_FROM: &str = "2c477fc6a05f7401003e96d0b52ba392";

/// What the bindings have. Of the world they have this much; what else it imports, they do not.
const INTERFACES: [&str; 3] = ["handler.wit", "deps/config/store.wit", "deps/logging/logging.wit"];

/// A file of the contract without comments, the version of its package, and the shape of its lines. A guest of an
/// earlier version runs.
fn meaning(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("package "));
    let code = lines.map(|line| line.split("//").next().unwrap_or_default());
    code.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_bindings_that_ship_are_those_of_the_contract() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/wit");
    let mut digest = Sha256::new();
    for file in INTERFACES {
        digest.update(meaning(&std::fs::read_to_string(wit.join(file)).unwrap()));
        digest.update([0]);
    }
    let digest: String = digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        digest, MADE_FROM,
        "wit/ is another than the bindings in host/cli/templates/ were made from. Make handler-c/bindings anew \
         (`wit-bindgen c --world worker wit`), bring handler-javascript/tidegate.d.ts in line, and put this digest \
         here"
    );
}

#[test]
fn the_types_for_editors_have_each_field_and_case_of_the_contract() {
    let wit = meaning(include_str!("../../sdk/wit/handler.wit"));
    let types = include_str!("../../templates/handler-javascript/tidegate.d.ts");
    let c = include_str!("../../templates/handler-c/bindings/worker.h");
    let names: Vec<&str> =
        wit.split(' ').filter_map(|word| word.strip_suffix(':')).filter(|name| is_field(name)).collect();
    assert!(names.contains(&"stream-sequence"), "{names:?}");
    for name in names {
        assert!(types.contains(&camel(name)), "tidegate.d.ts has no {}", camel(name));
        assert!(c.contains(&name.replace('-', "_")), "worker.h has no {}", name.replace('-', "_"));
    }
}

fn is_field(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

fn camel(name: &str) -> String {
    let mut parts = name.split('-');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| name + &part[..1].to_uppercase() + &part[1..])
}
