//! Components of every version of WASI 0.2, and components that are made of several.

use super::{core_text, delivery, file, host, limits};
use crate::contract::Response;
use crate::plugin::{HandlerPlugin, PluginRefusal, WorkerContext};

/// The versions that WASI 0.2 has had.
const VERSIONS: std::ops::RangeInclusive<u32> = 0..=12;
/// Interfaces of which a component may import this much: a resource.
const RESOURCES: &[(&str, &str)] = &[
    ("cli/terminal-input", "terminal-input"),
    ("cli/terminal-output", "terminal-output"),
    ("filesystem/types", "descriptor"),
    ("http/types", "fields"),
    ("io/error", "error"),
    ("io/poll", "pollable"),
    ("sockets/ip-name-lookup", "resolve-address-stream"),
    ("sockets/network", "network"),
    ("sockets/tcp", "tcp-socket"),
    ("sockets/udp", "udp-socket"),
];
/// Interfaces of which a component may import this much: a function of plain values.
const FUNCTIONS: &[(&str, &str)] = &[
    ("cli/environment", r#"(export "get-arguments" (func (result (list string))))"#),
    ("cli/exit", r#"(export "exit" (func (param "status" (result))))"#),
    ("clocks/monotonic-clock", r#"(export "now" (func (result u64)))"#),
    (
        "clocks/wall-clock",
        r#"(type $d (record (field "seconds" u64) (field "nanoseconds" u32))) (export "datetime" (type $t (eq $d)))
           (export "now" (func (result $t)))"#,
    ),
    ("random/insecure", r#"(export "get-insecure-random-u64" (func (result u64)))"#),
    ("random/insecure-seed", r#"(export "insecure-seed" (func (result (tuple u64 u64))))"#),
    ("random/random", r#"(export "get-random-u64" (func (result u64)))"#),
];

/// A handler that imports all of these in one version, and calls what the clock, the random numbers and standard output
/// have.
fn importing(version: &str) -> String {
    let resource = |(interface, name): &(&str, &str)| {
        format!(r#"(import "wasi:{interface}@{version}" (instance (export "{name}" (type (sub resource)))))"#)
    };
    let function = |(interface, functions): &(&str, &str)| {
        let name = interface.replace('/', "-");
        format!(r#"(import "wasi:{interface}@{version}" (instance ${name} {functions}))"#)
    };
    let imports: Vec<String> = RESOURCES.iter().map(resource).chain(FUNCTIONS.iter().map(function)).collect();
    format!(
        r#"{}
           (import "wasi:io/streams@{version}" (instance $streams (export "output-stream" (type (sub resource)))))
           (alias export $streams "output-stream" (type $output-stream))
           (import "wasi:cli/stdout@{version}" (instance $stdout
             (alias outer 1 $output-stream (type $o)) (export "output-stream" (type $stream (eq $o)))
             (export "get-stdout" (func (result (own $stream))))))
           (core func $now (canon lower (func $clocks-monotonic-clock "now")))
           (core func $random (canon lower (func $random-random "get-random-u64")))
           (core func $stdout (canon lower (func $stdout "get-stdout")))"#,
        imports.join("\n")
    )
}

fn text(imports: &str, core_imports: &str, with: &str, handle: &str) -> String {
    let text = include_str!("../../../../../tests/guests/handler.wat");
    let core = format!("{core_imports} {}", core_text("1", handle, ""));
    let text = text.replace("CORE", &core).replace("IMPORTS", imports).replace("WITH", with);
    text.replace("VERSION", "0.1.0")
}

fn of_version(version: &str) -> Vec<u8> {
    let text = text(
        &importing(version),
        r#"(import "wasi" "now" (func $now (result i64))) (import "wasi" "random" (func $random (result i64)))
           (import "wasi" "stdout" (func $stdout (result i32)))"#,
        r#"(with "wasi" (instance (export "now" (func $now)) (export "random" (func $random))
             (export "stdout" (func $stdout))))"#,
        "(if (i64.eqz (call $now)) (then unreachable)) (drop (call $random)) (drop (call $stdout)) (i32.const 0)",
    );
    wat::parse_str(text).unwrap()
}

async fn load(bytes: &[u8]) -> Result<HandlerPlugin, PluginRefusal> {
    let (_dir, file) = file(bytes);
    host().load(&file, &limits()).await.map_err(|error| error.refusal)
}

async fn call(plugin: &HandlerPlugin) -> Response {
    let context = WorkerContext::new("work".into(), 1, std::sync::Arc::new([]), limits());
    let mut instance = plugin.instantiate(&context).await.unwrap();
    instance.handle(&delivery("x")).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_component_of_each_version_of_wasi_0_2_loads_and_runs() {
    for patch in VERSIONS {
        let version = format!("0.2.{patch}");
        let plugin = load(&of_version(&version)).await.unwrap_or_else(|refusal| panic!("{version}: {refusal}"));
        assert_eq!(call(&plugin).await, Response::default(), "{version}");
    }
}

#[tokio::test]
async fn a_component_of_another_wasi_is_refused_by_its_imports() {
    let refusal = load(&of_version("0.3.0")).await.unwrap_err();
    assert!(matches!(&refusal, PluginRefusal::LaterWasi(imports) if imports.len() > 10), "{refusal}");
}

/// A handler and a component that it imports from, linked with each other within a third, as `wac plug` does it.
#[tokio::test]
async fn a_component_that_is_composed_of_others_runs_and_each_reaches_what_the_outer_one_imports() {
    let handler = text(
        r#"(import "shop:pricing/prices@1.0.0"
             (instance $prices (export "double" (func (param "price" u32) (result u32)))))
           (core func $double (canon lower (func $prices "double")))"#,
        r#"(import "prices" "double" (func $double (param i32) (result i32)))"#,
        r#"(with "prices" (instance (export "double" (func $double))))"#,
        "(if (i32.ne (call $double (i32.const 21)) (i32.const 42)) (then unreachable)) (i32.const 0)",
    );
    let handler = handler.replacen("(component", "(component $handler", 1);
    let composed = format!(
        r#"(component
           (import "wasi:random/random@0.2.6" (instance $random (export "get-random-u64" (func (result u64)))))
           (component $pricing
             (import "wasi:random/random@0.2.6" (instance $random (export "get-random-u64" (func (result u64)))))
             (core func $random (canon lower (func $random "get-random-u64")))
             (core module $m
               (import "random" "get" (func $random (result i64)))
               (func (export "double") (param i32) (result i32)
                 (drop (call $random)) (i32.mul (local.get 0) (i32.const 2))))
             (core instance $i (instantiate $m (with "random" (instance (export "get" (func $random))))))
             (func $double (param "price" u32) (result u32) (canon lift (core func $i "double")))
             (instance $prices (export "double" (func $double)))
             (export "shop:pricing/prices@1.0.0" (instance $prices)))
           (instance $priced (instantiate $pricing (with "wasi:random/random@0.2.6" (instance $random))))
           (alias export $priced "shop:pricing/prices@1.0.0" (instance $prices))
           {handler}
           (instance $handles (instantiate $handler (with "shop:pricing/prices@1.0.0" (instance $prices))))
           (alias export $handles "tidegate:plugin/handler@0.1.0" (instance $exported))
           (export "tidegate:plugin/handler@0.1.0" (instance $exported)))"#
    );
    let plugin = load(&wat::parse_str(composed).unwrap()).await.unwrap();
    assert_eq!(call(&plugin).await, Response::default());
}
