//! The guests that only tests need, as components, built from their sources.

macro_rules! component {
    ($file:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $file, ".wasm"))
    };
}

/// Guests for tests.
pub mod probes {
    /// A handler that does what its payload says.
    pub const WORKER_V1: &[u8] = component!("probe-worker");
    /// The same with another version number, for swaps.
    pub const WORKER_V2: &[u8] = component!("probe-worker-v2");
    /// The first, with the lines of its source in it.
    pub const WORKER_WITH_LINES: &[u8] = component!("probe-worker.guest-lines");
    /// A handler of batches that does what the payloads say.
    pub const BATCH: &[u8] = component!("probe-batch");
    /// An asynchronous handler that does what the payloads say.
    pub const ASYNC: &[u8] = component!("probe-async");
    /// A handler that sends HTTP requests as its payload says.
    pub const HTTP: &[u8] = component!("probe-http");
    /// A component that exports `wasmcloud:messaging/handler`, and does what its payload says.
    pub const MESSAGING: &[u8] = component!("probe-messaging");
    /// The same in the asynchronous form.
    pub const MESSAGING_ASYNC: &[u8] = component!("probe-messaging-async");
    /// A policy that does what its settings say.
    pub const POLICY_V1: &[u8] = component!("probe-policy");
    /// The same with another version number, for swaps.
    pub const POLICY_V2: &[u8] = component!("probe-policy-v2");
    /// A handler that imports `probe:unknown/secrets@1.0.0`, which no host has.
    pub const UNKNOWN_IMPORT: &[u8] = component!("unknown-import");
    /// A handler that exports `tidegate:plugin/handler@0.2.0`, a version of the contract that there is not.
    pub const OTHER_VERSION: &[u8] = component!("other-version");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use tidegate_artifacts::{policies, workers};
    use wasmparser::{Parser, Payload, Validator};

    const HANDLER: &str = "tidegate:plugin/handler@0.1.3";
    const BATCH_HANDLER: &str = "tidegate:plugin/batch-handler@0.1.3";
    const ASYNC_HANDLER: &str = "tidegate:plugin/async-handler@0.1.3";
    const SCALING: &str = "tidegate:plugin/scaling@0.1.3";
    const SIGNALS: &str = "tidegate:plugin/signals@0.1.3";
    /// Of the first version of the contract.
    const FIRST_HANDLER: &str = "tidegate:plugin/handler@0.1.0";
    const SECOND_HANDLER: &str = "tidegate:plugin/handler@0.1.1";
    const FIRST_BATCH_HANDLER: &str = "tidegate:plugin/batch-handler@0.1.1";
    const THIRD_SCALING: &str = "tidegate:plugin/scaling@0.1.2";
    const THIRD_SIGNALS: &str = "tidegate:plugin/signals@0.1.2";
    const FIRST_SCALING: &str = "tidegate:plugin/scaling@0.1.0";
    const CONFIG: &str = "wasi:config/store@0.2.0-rc.1";
    const LOGGING: &str = "wasi:logging/logging@0.1.0-draft";
    const KEY_VALUE: [&str; 3] =
        ["wasi:keyvalue/store@0.2.0-draft2", "wasi:keyvalue/atomics@0.2.0-draft2", "wasi:keyvalue/batch@0.2.0-draft2"];

    /// The names of what a component imports and exports.
    fn interface(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
        Validator::new().validate_all(bytes).unwrap();
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.unwrap() {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) if depth > 0 => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 0 => {
                    imports.extend(section.into_iter().map(|import| import.unwrap().name.name.to_owned()));
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    exports.extend(section.into_iter().map(|export| export.unwrap().name.name.to_owned()));
                }
                _ => {}
            }
        }
        (imports, exports)
    }

    /// Whether an interface is one of WASI 0.2, which every host offers to handlers.
    fn is_command_interface(name: &str) -> bool {
        ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:http/", "wasi:io/", "wasi:random/", "wasi:sockets/"]
            .iter()
            .any(|package| name.starts_with(package))
    }

    fn check(name: &str, bytes: &[u8], export: &str, own_imports: &[&str]) {
        let (imports, exports) = interface(bytes);
        assert_eq!(exports, [export], "{name}");
        let others: Vec<_> = imports.iter().filter(|import| !is_command_interface(import)).collect();
        assert!(others.iter().all(|import| own_imports.contains(&import.as_str())), "{name} imports {others:?}");
    }

    #[test]
    fn every_handler_exports_its_interface_and_imports_what_the_host_has() {
        let [store, atomics, batch] = KEY_VALUE;
        for (name, bytes) in workers::ALL {
            let reaches: &[&str] = if *name == "dedupe" { &[store, atomics] } else { &[] };
            match interface(bytes).1.as_slice() {
                [export] if export == BATCH_HANDLER => check(name, bytes, BATCH_HANDLER, &[HANDLER, CONFIG, LOGGING]),
                [export] if export == ASYNC_HANDLER => check(name, bytes, ASYNC_HANDLER, &[HANDLER, CONFIG, LOGGING]),
                _ => check(name, bytes, HANDLER, &[&[CONFIG, LOGGING], reaches].concat()),
            }
        }
        let all = [CONFIG, LOGGING, store, atomics, batch];
        check("probe-worker", probes::WORKER_V1, FIRST_HANDLER, &all);
        check("probe-worker-v2", probes::WORKER_V2, FIRST_HANDLER, &all);
        check("probe-async", probes::ASYNC, ASYNC_HANDLER, &[&[HANDLER], &all[..]].concat());
        check("probe-batch", probes::BATCH, FIRST_BATCH_HANDLER, &[&[SECOND_HANDLER], &all[..]].concat());
    }

    #[test]
    fn every_policy_exports_its_interface_and_imports_what_the_host_has() {
        for (name, bytes) in policies::ALL {
            check(name, bytes, SCALING, &[LOGGING, SIGNALS]);
        }
        check("probe-policy", probes::POLICY_V1, FIRST_SCALING, &[LOGGING]);
        check("probe-policy-v2", probes::POLICY_V2, THIRD_SCALING, &[LOGGING, THIRD_SIGNALS]);
    }

    #[test]
    fn the_two_versions_of_a_probe_differ() {
        assert_ne!(probes::WORKER_V1, probes::WORKER_V2);
        assert_ne!(probes::POLICY_V1, probes::POLICY_V2);
    }

    #[test]
    fn the_odd_guests_are_odd_in_the_one_way_they_should_be() {
        check("unknown-import", probes::UNKNOWN_IMPORT, HANDLER, &["probe:unknown/secrets@1.0.0"]);
        assert!(interface(probes::UNKNOWN_IMPORT).0.contains(&"probe:unknown/secrets@1.0.0".to_owned()));
        let consumer = "wasmcloud:messaging/consumer@0.2.0";
        let imports = [CONFIG, LOGGING, "wasmcloud:messaging/types@0.2.0", consumer];
        check("probe-messaging", probes::MESSAGING, "wasmcloud:messaging/handler@0.2.0", &imports);
        let imports = [CONFIG, "wasmcloud:messaging/types@0.3.0", "wasmcloud:messaging/consumer@0.3.0"];
        check("probe-messaging-async", probes::MESSAGING_ASYNC, "wasmcloud:messaging/handler@0.3.0", &imports);
        check("other-version", probes::OTHER_VERSION, "tidegate:plugin/handler@0.2.0", &[]);
    }

    #[test]
    fn the_guests_that_ship_are_small() {
        for (name, bytes) in policies::ALL.iter().chain(workers::ALL) {
            assert!(bytes.len() < 160 * 1024, "{name} has {} bytes", bytes.len());
        }
    }
}
