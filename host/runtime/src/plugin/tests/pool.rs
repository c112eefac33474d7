//! Instances that live for one message, from the pool.

use super::*;
use crate::contract::Fault;
use crate::plugin::{HandlerPlugin, Wanted, WorkerContext};

/// Traps if any byte of its memory is not zero, and then fills all of it and of what it may take besides.
const NOSY: &str = "
    (local $at i32)
    (local.set $at (i32.const 4096))
    (loop $next
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $next (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
    (drop (memory.grow (i32.const 8)))
    (memory.fill (i32.const 4096) (i32.const 0xa5) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4096)))
    (i32.const 0)";

async fn isolated(bytes: &[u8]) -> HandlerPlugin {
    let (_dir, file) = file(bytes);
    let wanted = Wanted { isolated: true, ..Wanted::default() };
    host().load_as(&file, &limits(), &wanted).await.unwrap()
}

fn context() -> WorkerContext {
    WorkerContext::new("orders".into(), 3, Arc::new([]), limits())
}

#[tokio::test]
async fn nothing_that_an_instance_wrote_is_there_for_the_next_one() {
    // Within what stays with its place, and more than that.
    for pages in ["1", "40"] {
        let plugin = isolated(&core(pages, NOSY, "")).await;
        assert!(plugin.pooled.is_some());
        for _ in 0..50 {
            let mut pair = Vec::new();
            for _ in 0..8 {
                pair.push(plugin.instantiate(&context()).await.unwrap());
            }
            for instance in &mut pair {
                instance.handle(&delivery("")).await.unwrap().unwrap();
            }
        }
    }
}

#[tokio::test]
async fn what_finds_no_place_in_the_pool_is_made_as_without_one() {
    let plugin = isolated(&core("1", "(i32.const 0)", "")).await;
    let mut all = Vec::new();
    for _ in 0..300 {
        let mut instance = plugin.instantiate(&context()).await.unwrap();
        instance.handle(&delivery("")).await.unwrap().unwrap();
        all.push(instance);
    }
    // A guest that traps gives its place back as well.
    drop(all);
    let trap = isolated(&core("1", "unreachable", "")).await;
    for _ in 0..300 {
        let outcome = trap.instantiate(&context()).await.unwrap().handle(&delivery("")).await;
        assert!(matches!(outcome, Err(Fault::Trap(_))), "{outcome:?}");
    }
}
