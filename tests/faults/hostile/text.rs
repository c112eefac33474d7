//! Handlers that Rust cannot express, in the text format of components.

/// `realloc` gives everything the same place: these guests do not look at what they get.
const REALLOC: &str = r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))"#;
const HANDLE: &str = r#"(func (export "handle") (param i32 i32 i32 i32 i32 i32 i64 i32 i64 i32) (result i32)"#;

/// A handler with so many pages of memory, this body of `handle`, and more in its module.
fn handler(pages: u32, body: &str, more: &str) -> Vec<u8> {
    component(&format!(r#"{more} (memory (export "memory") {pages}) {REALLOC} {HANDLE} {body})"#), "", "")
}

fn component(core: &str, imports: &str, with: &str) -> Vec<u8> {
    let text = include_str!("../../guests/handler.wat");
    let text = text.replace("CORE", core).replace("IMPORTS", imports).replace("WITH", with).replace("VERSION", "0.1.0");
    wat::parse_str(text).expect("the text is a component")
}

/// One that answers `ok`, without a reply and without publications.
const OK: &str = "(i32.const 0)";

/// Its start function never ends.
pub(crate) fn loops_at_its_start() -> Vec<u8> {
    handler(1, OK, "(func $start (loop (br 0))) (start $start)")
}

/// Begins with all the memory that a memory can have.
pub(crate) fn four_gibibytes() -> Vec<u8> {
    handler(65_536, OK, "")
}

/// Begins with a table of 160 MB.
pub(crate) fn large_table() -> Vec<u8> {
    handler(1, OK, "(table 20000000 funcref)")
}

/// Made of a thousand instances.
pub(crate) fn thousand_instances() -> Vec<u8> {
    let more = "(core module $n (memory 1)) ".to_owned() + &"(core instance (instantiate $n)) ".repeat(1000);
    component(&format!(r#"(memory (export "memory") 1) {REALLOC} {HANDLE} {OK})"#), &more, "")
}

/// Takes table elements until it gets no more, then traps.
pub(crate) fn grows_a_table() -> Vec<u8> {
    let grow = "(loop (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable)) \
                (br 0)) unreachable";
    handler(1, grow, "(table $t 1 funcref)")
}

/// Calls itself without touching its memory.
pub(crate) fn recurses() -> Vec<u8> {
    handler(
        1,
        "(call $again (i64.const 0)) unreachable",
        "(func $again (param i64) (call $again (i64.add (local.get 0) (i64.const 1))))",
    )
}

/// Returns a pointer outside of its memory.
pub(crate) fn bogus_pointer() -> Vec<u8> {
    handler(1, "(i32.const 0x7fffff00)", "")
}

/// Replies with four gigabytes that it does not have.
pub(crate) fn bogus_length() -> Vec<u8> {
    let reply = "(i32.store8 (i32.const 8) (i32.const 1)) (i32.store (i32.const 12) (i32.const 16)) (i32.store \
                 (i32.const 16) (i32.const -1))";
    handler(1, &format!("{reply} {OK}"), "")
}

/// Publishes a thousand times the whole of its megabyte: the list is small, and what is in it is not.
pub(crate) fn same_megabyte_often() -> Vec<u8> {
    // publications: pointer at 20, length at 24. Each: subject, headers, payload, of a pointer and a length.
    let each = "(i32.store (i32.add (local.get 0) (i32.const 20)) (i32.const 1000000)) (local.set 0 (i32.add \
                (local.get 0) (i32.const 24)))";
    let list =
        "(local.set 0 (i32.const 4096)) (loop (if (i32.lt_u (local.get 0) (i32.const 28096)) (then EACH (br 1))))";
    let ends = "(i32.store (i32.const 20) (i32.const 4096)) (i32.store (i32.const 24) (i32.const 1000))";
    handler(17, &format!("{} {ends} {OK}", list.replace("EACH", each)), "")
}

/// Asks for random numbers without end.
pub(crate) fn random_storm() -> Vec<u8> {
    let imports = r#"
        (import "wasi:random/random@0.2.0" (instance $random (export "get-random-u64" (func (result u64)))))
        (core func $random-u64 (canon lower (func $random "get-random-u64")))
        (core instance $host (export "random" (func $random-u64)))"#;
    let core = format!(
        r#"(import "host" "random" (func $random (result i64))) (memory (export "memory") 1) {REALLOC}
        {HANDLE} (loop (drop (call $random)) (br 0)) unreachable)"#
    );
    component(&core, imports, r#"(with "host" (instance $host))"#)
}

/// Takes pollables without end and never gives one back.
pub(crate) fn leaks_handles() -> Vec<u8> {
    let imports = r#"
        (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
        (alias export $poll "pollable" (type $pollable))
        (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
          (alias outer 1 $pollable (type $outer))
          (export "pollable" (type $own (eq $outer)))
          (export "subscribe-duration" (func (param "when" u64) (result (own $own))))))
        (core func $subscribe (canon lower (func $clock "subscribe-duration")))
        (core instance $host (export "subscribe" (func $subscribe)))"#;
    let core = format!(
        r#"(import "host" "subscribe" (func $subscribe (param i64) (result i32))) (memory (export "memory") 1) {REALLOC}
        {HANDLE} (loop (drop (call $subscribe (i64.const 1000000000))) (br 0)) unreachable)"#
    );
    component(&core, imports, r#"(with "host" (instance $host))"#)
}
