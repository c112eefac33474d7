//! Components in the shape of a handler, around any core module.

use wasmparser::{Parser, Payload};

/// A handler with this text as its core module, which has to export `memory`, `realloc` and `handle`.
pub(super) fn handler(core: &str) -> Vec<u8> {
    let text = include_str!("../../../tests/guests/handler.wat");
    let text = text.replace("CORE", core).replace("IMPORTS", "").replace("WITH", "").replace("VERSION", "0.1.0");
    wat::parse_str(text).unwrap()
}

/// The exports that a handler's core module has.
pub(super) const EXPORTS: &str = r#"
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "handle") (param i32 i32 i32 i32 i32 i32 i64 i32 i64 i32) (result i32) unreachable)"#;

/// A handler with these bytes as its core module.
pub(super) fn around(module: &[u8]) -> Vec<u8> {
    let shape = handler(EXPORTS);
    for payload in Parser::new(0).parse_all(&shape) {
        if let Payload::ModuleSection { unchecked_range: range, .. } = payload.unwrap() {
            // Before it are the byte that says what it is, and its length.
            let head = range.start - 1 - leb128(range.len()).len();
            return [&shape[..head], &[1], &leb128(module.len()), module, &shape[range.end..]].concat();
        }
    }
    panic!("the shape has no core module")
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

/// A handler that answers with its payload: the canonical ABI's bytes of a result, at address 0.
pub(super) const MIRROR: &str = r#"
    (memory (export "memory") 4)
    (global $free (mut i32) (i32.const 0x10000))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $free)
      (global.set $free
        (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
    (func (export "handle") (param i32 i32 i32 i32 i32 i32 i64 i32 i64 i32) (result i32)
      (memory.fill (i32.const 0) (i32.const 0) (i32.const 0x10000))
      (memory.copy (i32.const 0) (local.get 4) (local.get 5))
      (global.set $free (i32.const 0x10000))
      (i32.const 0))"#;
/// The longest payload that it takes.
pub(super) const MIRRORED: usize = 0x10000;
