//! Handlers that are composed of several components: one component, with the limits of one.

use std::collections::BTreeMap;

use tidegate_runtime::config::{Isolation, Limits, Workload};
use tidegate_test_artifacts::probes;

use crate::support::cli::run;
use crate::support::eventually;
use crate::support::host::{Host, workload};
use crate::support::site::{DEAD, Site, header};

/// A handler that asks a component within it, which asks a third, as `wac plug` links them. What it does depends on the
/// payload's length.
fn composed() -> Vec<u8> {
    let core = r#"
        (import "prices" "double" (func $double (param i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "handle") (param i32 i32 i32 i32 i32) (param $length i32) (param i64 i32 i64 i32) (result i32)
          ;; In five and six bytes: it grows by 100 pages.
          (if (i32.ge_u (local.get $length) (i32.const 5)) (then
            (if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))))
          ;; In two bytes: the part within it traps. In three and six: that grows.
          (if (i32.eq (local.get $length) (i32.const 2)) (then (drop (call $double (i32.const 0)))))
          (if (i32.or (i32.eq (local.get $length) (i32.const 3)) (i32.eq (local.get $length) (i32.const 6))) (then
            (drop (call $double (i32.const 1)))))
          ;; ok(response) with a reply of one byte.
          (i32.store8 (i32.const 8) (i32.const 1)) (i32.store (i32.const 12) (i32.const 100))
          (i32.store (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 100) (call $double (i32.const 21)))
          (i32.const 0))"#;
    let imports = r#"
        (import "shop:pricing/prices@1.0.0"
          (instance $prices (export "double" (func (param "price" u32) (result u32)))))
        (core func $double (canon lower (func $prices "double")))"#;
    let handler = include_str!("../guests/handler.wat")
        .replace("CORE", core)
        .replace("IMPORTS", imports)
        .replace("WITH", r#"(with "prices" (instance (export "double" (func $double))))"#)
        .replace("VERSION", "0.1.0")
        .replacen("(component", "(component $handler", 1);
    let text = format!(
        r#"(component
             (component $taxes
               (core module $taxes
                 (memory 1)
                 (func (export "with") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2))))
               (core instance $i (instantiate $taxes))
               (func $with (param "price" u32) (result u32) (canon lift (core func $i "with")))
               (instance $taxed (export "with" (func $with)))
               (export "shop:pricing/taxes@1.0.0" (instance $taxed)))
             (component $pricing
               (import "shop:pricing/taxes@1.0.0"
                 (instance $taxes (export "with" (func (param "price" u32) (result u32)))))
               (core func $with (canon lower (func $taxes "with")))
               (core module $pricing
                 (import "taxes" "with" (func $with (param i32) (result i32)))
                 (memory 1)
                 (func $price_of_nothing unreachable)
                 (func $double (export "double") (param i32) (result i32)
                   (if (i32.eqz (local.get 0)) (then (call $price_of_nothing)))
                   (if (i32.eq (local.get 0) (i32.const 1)) (then
                     (if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))))
                   (call $with (local.get 0))))
               (core instance $i (instantiate $pricing
                 (with "taxes" (instance (export "with" (func $with))))))
               (func $double (param "price" u32) (result u32) (canon lift (core func $i "double")))
               (instance $prices (export "double" (func $double)))
               (export "shop:pricing/prices@1.0.0" (instance $prices)))
             (instance $taxed (instantiate $taxes))
             (alias export $taxed "shop:pricing/taxes@1.0.0" (instance $taxes))
             (instance $priced (instantiate $pricing (with "shop:pricing/taxes@1.0.0" (instance $taxes))))
             (alias export $priced "shop:pricing/prices@1.0.0" (instance $prices))
             {handler}
             (instance $handles (instantiate $handler (with "shop:pricing/prices@1.0.0" (instance $prices))))
             (alias export $handles "tidegate:plugin/handler@0.1.0" (instance $exported))
             (export "tidegate:plugin/handler@0.1.0" (instance $exported)))"#
    );
    wat::parse_str(text).unwrap()
}

async fn host(workload: Workload) -> Host {
    let site = Site::new().await;
    site.install("composed", &composed());
    Host::start_at(site, vec![Workload { handler: "composed".into(), ..workload }]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_composed_handler_runs_and_a_trap_tells_the_function_of_the_part_that_trapped() {
    let host = host(workload("parts")).await;
    assert_eq!(host.request("in.parts.a", "four").await, "*");
    host.publish("in.parts.a", "up").await;
    let letters = host.stored_count(DEAD, 1).await;
    assert_eq!(header(&letters[0], "Tidegate-Cause"), Some("trapped"));
    let reason = header(&letters[0], "Tidegate-Reason").unwrap();
    assert!(reason.contains("price_of_nothing < double"), "{reason}");
    assert_eq!(host.request("in.parts.a", "four").await, "*");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memories_of_all_parts_count_as_one() {
    // Of 200 pages together, 100 fit, whichever part has them.
    let limits = Limits { memory: 10 << 20, ..workload("memories").limits };
    let host = host(Workload { limits, isolation: Isolation::Message, ..workload("memories") }).await;
    assert_eq!(host.request("in.memories.a", "inn").await, "*");
    assert_eq!(host.request("in.memories.a", "outer").await, "*");
    host.publish("in.memories.a", "either").await;
    assert_eq!(host.causes(1).await, BTreeMap::from([(3, "memory".to_owned())]));
}

#[tokio::test]
async fn the_core_instances_of_all_parts_and_the_adapters_between_them_count_as_one() {
    let site = Site::new().await;
    site.install("composed", &composed());
    let dir = site.plugins.path().to_str().unwrap();
    let check = async |instances| {
        let of = ["check", "--plugins", dir, "--stream", "work", "--handler", "composed", "--policy", "fixed"];
        run(of.into_iter().chain(["--limit-instances", instances])).await
    };
    // A core module in each of the three parts, and an adapter where one calls another.
    check("4").await.failed_with(1, &["composed.wasm", "more than the 4 core instances that limits.instances allows"]);
    let checked = check("5").await;
    assert_eq!(checked.code, Some(0), "{}", checked.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_composed_handler_is_swapped_for_another_and_back() {
    let host = host(workload("swapped")).await;
    let replies = async |with: &str| {
        eventually(&format!("it replies {with:?}"), async || host.request("in.swapped.a", "echo").await == with).await;
    };
    replies("*").await;
    host.install("composed", probes::WORKER_V1);
    replies("echo").await;
    host.install("composed", &composed());
    replies("*").await;
}
