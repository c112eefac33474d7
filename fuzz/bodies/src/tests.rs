//! The seeds of the fuzz targets, each through its body.

use std::path::Path;

use super::guests;
use super::lab::{FuzzLab, ReadyHandler};
use tidegate_runtime::contract::{Delivery, Response};

fn seeds(target: &str, body: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        // Shown only if the body panics on it.
        println!("{}", path.display());
        body(&std::fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{} is empty", directory.display());
}

/// Otherwise what wasm-smith makes would only ever be refused.
#[test]
fn a_module_in_the_shape_of_a_handler_is_loaded_and_run() {
    let module = guests::EXPORTS.replace("unreachable", "(i32.const 0)");
    let module = wat::parse_str(format!("(module {module})")).unwrap();
    let lab = FuzzLab::new();
    let outcome = ReadyHandler::new(&lab, &guests::around(&module)).handle(&lab, &Delivery::default());
    assert_eq!(outcome, Ok(Ok(Response::default())));
}

#[test]
fn every_seed_of_config_passes() {
    seeds("config", super::config);
}

#[test]
fn every_seed_of_consumer_passes() {
    seeds("consumer", super::consumer);
}

#[test]
fn every_seed_of_plugin_passes() {
    seeds("plugin", super::plugin);
}

#[test]
fn every_seed_of_declared_passes() {
    seeds("declared", super::declared);
}

#[test]
fn every_seed_of_contract_passes() {
    seeds("contract", super::contract);
}

#[test]
fn every_seed_of_letter_passes() {
    seeds("letter", super::letter);
}

#[test]
fn every_seed_of_wire_passes() {
    seeds("wire", super::wire);
}

#[test]
fn every_seed_of_journal_passes() {
    seeds("journal", super::journal);
}

#[test]
fn every_seed_of_trace_passes() {
    seeds("trace", super::trace);
}
