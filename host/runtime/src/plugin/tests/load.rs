use std::time::Duration;

use tidegate_artifacts::{policies, workers};
use tidegate_test_artifacts::probes;

use super::{core, core_at, core_text, file, host, limits};
use crate::config::{Compile, Limits, Plugins};
use crate::contract::Fault;
use crate::plugin::{HandlerPlugin, Kind, KindError, LoadError, PluginHost, PluginRefusal};

async fn load_with(bytes: &[u8], limits: &Limits) -> Result<HandlerPlugin, LoadError> {
    let (_dir, file) = file(bytes);
    host().load(&file, limits).await
}

async fn refusal(bytes: &[u8]) -> (PluginRefusal, String) {
    let error = load_with(bytes, &limits()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("probe.wasm: "), "{text}");
    (error.refusal, text)
}

#[tokio::test]
async fn a_generation_is_named_by_its_file_and_its_bytes() {
    let plugin = load_with(workers::ECHO, &limits()).await.unwrap();
    assert_eq!(&*plugin.generation().plugin, "probe");
    assert_eq!(plugin.generation().digest.whole().len(), 64);
    assert_eq!(plugin.generation().digest.to_string().len(), 12);
    let same = load_with(workers::ECHO, &limits()).await.unwrap();
    assert_eq!(same.generation(), plugin.generation());
    let other = load_with(workers::REPLY, &limits()).await.unwrap();
    assert_ne!(other.generation(), plugin.generation());
}

#[tokio::test]
async fn what_is_no_component_is_refused_by_name() {
    let component = wat::parse_str("(component)").unwrap();
    let module = wat::parse_str("(module)").unwrap();
    assert!(matches!(refusal(b"").await.0, PluginRefusal::Kind(KindError::Empty)));
    assert!(matches!(refusal(b"(component)").await.0, PluginRefusal::Kind(KindError::Text)));
    assert!(matches!(refusal(&module).await.0, PluginRefusal::Kind(KindError::CoreModule)));
    assert!(matches!(refusal(&component).await.0, PluginRefusal::Kind(KindError::OtherWorld { .. })));
}

#[tokio::test]
async fn the_wrong_kind_is_refused_with_both_kinds() {
    let (refusal, text) = refusal(policies::STEP).await;
    assert!(matches!(refusal, PluginRefusal::WrongKind { wanted: Kind::Handler, found: Kind::Policy }));
    assert!(text.contains("it is a policy, and is used as a handler"), "{text}");
}

#[tokio::test]
async fn another_version_and_an_unknown_import_are_refused_by_name() {
    let (_, text) = refusal(probes::OTHER_VERSION).await;
    assert!(text.contains("built for tidegate:plugin@0.2.0"), "{text}");
    let (refused, text) = refusal(probes::UNKNOWN_IMPORT).await;
    assert!(matches!(refused, PluginRefusal::Import(_)));
    assert!(text.contains("it imports probe:unknown/secrets@1.0.0, which this host does not have"), "{text}");
}

/// A handler that imports an instance of this name with a function.
fn importing(name: &str) -> Vec<u8> {
    let text = format!(
        r#"(component (import "{name}" (instance (export "f" (func))))
           (instance $i) (export "tidegate:plugin/handler@0.1.0" (instance $i)))"#
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_before_anything_is_compiled() {
    // Nothing can be compiled here.
    let compile = Compile { program: Some("/nowhere".into()), ..Compile::default() };
    let plugins = Plugins { dir: "".into(), rescan: Duration::MAX, cache: None, compile, origin: Default::default() };
    let host = PluginHost::start(&plugins).unwrap();
    let refusal = async |name: &str| {
        let (_dir, file) = file(importing(name));
        host.load(&file, &limits()).await.map(|_: HandlerPlugin| ()).unwrap_err().refusal
    };
    let other = refusal("probe:unknown/secrets@1.0.0").await;
    assert!(matches!(other, PluginRefusal::Import(_)), "{other}");
    for known in ["wasi:http/types@0.2.3", "wasi:http/outgoing-handler@0.2.10"] {
        assert!(matches!(refusal(known).await, PluginRefusal::NoCompiler(_)), "{known}");
    }
    let later = refusal("wasi:cli/stdout@0.3.0").await;
    assert!(
        matches!(later, PluginRefusal::LaterWasi(_)) && later.to_string().contains("this host has WASI 0.2"),
        "{later}"
    );
    assert!(matches!(refusal("wasi:cli/stdout@0.2.3").await, PluginRefusal::NoCompiler(_)));
}

#[tokio::test]
async fn what_an_instance_begins_with_is_held_against_its_memory() {
    let globals = "(global i32 (i32.const 0))".repeat(20_000);
    let instances = "(core instance (instantiate $big))".repeat(15);
    let imports = format!("(core module $big {globals}) {instances}");
    let text = include_str!("../../../../../tests/guests/handler.wat").replace("IMPORTS", &imports).replace("WITH", "");
    let core = core_text("1", "unreachable", "");
    let bytes = wat::parse_str(text.replace("CORE", &core).replace("VERSION", "0.1.0")).unwrap();
    let small = Limits { memory: 8 << 20, ..limits() };
    let error = load_with(&bytes, &small).await.unwrap_err();
    assert!(matches!(error.refusal, PluginRefusal::Trial(Fault::Memory(_))), "{error}");
    load_with(&bytes, &limits()).await.unwrap();
}

#[tokio::test]
async fn a_proposal_that_is_not_switched_on_is_refused_with_what_mends_it() {
    let without = "does not have that proposal of WebAssembly; build it without that";
    let many = "(memory 1)".repeat(200);
    for (rest, said, remedy) in [
        ("(memory i64 1)", "memory64", without),
        ("(memory 1 1 shared)", "threads", without),
        ("(type (struct (field i32)))", "gc types", without),
        ("(func (param externref))", "gc types", without),
        ("(tag $t) (func (throw $t))", "exceptions", without),
        ("(type $f (func)) (type (cont $f))", "stack switching", without),
        (
            "(func (param i64) (result i64 i64) (i64.mul_wide_s (local.get 0) (local.get 0)))",
            "wide arithmetic",
            without,
        ),
        (many.as_str(), "memories count exceeds limit", "build it smaller, with less of that"),
    ] {
        let (_, text) = refusal(&core("1", "(i32.const 0)", rest)).await;
        for part in ["it does not compile", said, remedy] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        assert!(!text.ends_with("build it again"), "{text}");
    }
}

#[tokio::test]
async fn a_later_patch_of_the_contract_loads() {
    let bytes = core_at("0.1.1", "1", "unreachable", "");
    load_with(&bytes, &limits()).await.unwrap();
}

#[tokio::test]
async fn an_export_of_another_type_is_refused() {
    let bytes = wat::parse_str(r#"(component (instance $i) (export "tidegate:plugin/handler@0.1.0" (instance $i)))"#);
    let (refused, text) = refusal(&bytes.unwrap()).await;
    assert!(matches!(refused, PluginRefusal::Link(_)), "{text}");
}

#[tokio::test]
async fn a_start_function_that_traps_is_refused() {
    let (refused, text) = refusal(&core("1", "unreachable", "(func $s unreachable) (start $s)")).await;
    assert!(matches!(refused, PluginRefusal::Trial(Fault::Start(_))), "{text}");
    assert!(text.contains("did not start: trapped"), "{text}");
}

#[tokio::test]
async fn a_start_function_that_does_not_end_is_refused() {
    let bytes = core("1", "unreachable", "(func $s (loop (br 0))) (start $s)");
    let limits = Limits { time: Duration::from_millis(50), ..limits() };
    let error = load_with(&bytes, &limits).await.unwrap_err();
    assert!(matches!(error.refusal, PluginRefusal::Trial(Fault::Time(_))), "{error}");
}

#[tokio::test]
async fn a_component_that_begins_too_large_is_refused() {
    let (refused, text) = refusal(&core("65536", "unreachable", "")).await;
    assert!(matches!(refused, PluginRefusal::Trial(Fault::Memory(_))), "{text}");
    let (refused, text) = refusal(&core("1", "unreachable", "(table 20000 funcref)")).await;
    assert!(matches!(refused, PluginRefusal::Trial(Fault::Start(_))), "{text}");
    assert!(text.contains("table"), "{text}");
    let tables = "(table 1 funcref)".repeat(21);
    let (refused, text) = refusal(&core("1", "unreachable", &tables)).await;
    assert!(matches!(refused, PluginRefusal::Trial(Fault::Start(_))), "{text}");
}

#[tokio::test]
async fn what_is_not_a_readable_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("directory.wasm")).unwrap();
    std::os::unix::fs::symlink("nowhere", path("link.wasm")).unwrap();
    let refusal = |name: &str| {
        let file = path(name);
        async move { host().load(&file, &limits()).await.map(|_: HandlerPlugin| ()).unwrap_err().refusal }
    };
    assert!(matches!(refusal("directory.wasm").await, PluginRefusal::NotAFile));
    assert!(matches!(refusal("link.wasm").await, PluginRefusal::DanglingLink));
    assert!(matches!(refusal("absent.wasm").await, PluginRefusal::Missing));
}

#[tokio::test]
async fn a_file_is_read_without_being_compiled() {
    let (_dir, file) = file(probes::WORKER_V1);
    let found = host().inspect(&file).unwrap();
    assert_eq!(found.kind, Kind::Handler);
    assert!(found.imports.iter().any(|import| import.starts_with("wasi:cli/stdout@0.2")));
}

#[tokio::test]
async fn no_prefix_of_a_real_component_becomes_a_plugin() {
    for length in (0..probes::WORKER_V1.len()).step_by(997) {
        let prefix = &probes::WORKER_V1[..length];
        let loaded = load_with(prefix, &limits()).await;
        assert!(loaded.is_err(), "{length}");
    }
}
