//! What of the component model's asynchronous functions this host leaves out, each in the smallest component that has
//! it, and what of wasmtime the way in which calls of one instance run at once rests on.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::join;
use tokio::sync::Notify;
use tokio::task::yield_now;
use wasmtime::component::{Accessor, Component, Instance, Linker};
use wasmtime::{Engine, Store};

use super::*;
use crate::plugin::HandlerPlugin;
use crate::plugin::run::engine_config::async_handlers;

/// Why a component of the asynchronous form with these functions is refused.
async fn refused(functions: &str) -> String {
    let text = format!(
        r#"(component
             (core module $m
               (memory (export "memory") 1)
               (func (export "f"))
               (func (export "f-with-callback") (result i32) unreachable)
               (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
             (core instance $i (instantiate $m))
             (func $f async (canon lift (core func $i "f-with-callback") async (callback (func $i "callback"))))
             (core func $return (canon task.return))
             (instance $h (export "handle" (func $f)))
             (export "tidegate:plugin/async-handler@0.1.3" (instance $h))
             {functions})"#
    );
    let (_dir, file) = file(wat::parse_str(text).unwrap());
    let loaded: Result<HandlerPlugin, _> = host().load(&file, &limits()).await;
    loaded.unwrap_err().refusal.to_string()
}

#[tokio::test]
async fn what_has_no_callback_or_is_a_proposal_is_refused_by_its_name_and_with_what_mends_it() {
    // Without any of it the component compiles, and does not have the type of a handler.
    let compiles = refused("").await;
    assert!(compiles.contains("failed to convert function to given type"), "{compiles}");
    // A call without a callback would keep a stack for as long as it waits.
    let stackful = refused(r#"(func $g async (canon lift (core func $i "f") async))"#).await;
    for said in ["does not compile", "async stackful", "a callback, as wit-bindgen makes them"] {
        assert!(stackful.contains(said), "{stackful}");
    }
    for (functions, name) in [
        (r#"(core func (canon subtask.cancel async))"#, "more async builtins"),
        (
            r#"(type $s (stream u8)) (alias core export $i "memory" (core memory $memory))
               (core func (canon stream.read $s (memory $memory)))"#,
            "more async builtins",
        ),
        (r#"(core func (canon error-context.drop))"#, "error-context"),
    ] {
        let refused = refused(functions).await;
        for said in
            ["does not compile", name, "which is a proposal; build it with tools for WASI 0.2, or for WASI 0.3.0"]
        {
            assert!(refused.contains(said), "{refused}");
        }
    }
}

/// An instance of a component in the engine of handlers of the asynchronous form, with a function `f`, and what its
/// imports work on.
async fn instance<T: Default + Send + 'static>(text: &str, link: impl FnOnce(&mut Linker<T>)) -> (Store<T>, Instance) {
    let engine = Engine::new(&async_handlers(None)).unwrap();
    let component = Component::from_binary(&engine, &wat::parse_str(text).unwrap()).unwrap();
    let mut linker = Linker::new(&engine);
    link(&mut linker);
    let mut store = Store::new(&engine, T::default());
    store.set_epoch_deadline(1);
    let instance = linker.instantiate_async(&mut store, &component).await.unwrap();
    (store, instance)
}

#[derive(Default)]
struct Signals {
    begun: Notify,
    go_on: Notify,
    went_on: Notify,
}

/// Why a call that has to end takes its whole instance with it: nothing ends one call. If this fails one day, a call
/// can be ended alone.
#[tokio::test]
async fn a_call_that_nobody_waits_for_goes_on_in_the_guest() {
    let text = r#"(component
        (import "wait" (func $wait async))
        (import "went-on" (func $went-on))
        (core func $wait' (canon lower (func $wait) async))
        (core func $went-on' (canon lower (func $went-on)))
        (core func $set (canon waitable-set.new))
        (core func $join (canon waitable.join))
        (core func $return (canon task.return))
        (core module $m
          (import "" "wait" (func $wait (result i32)))
          (import "" "went-on" (func $went-on))
          (import "" "set" (func $set (result i32)))
          (import "" "join" (func $join (param i32 i32)))
          (import "" "return" (func $return))
          (func (export "f") (result i32) (local $set i32)
            (local.set $set (call $set))
            (call $join (i32.shr_u (call $wait) (i32.const 4)) (local.get $set))
            (i32.or (i32.shl (local.get $set) (i32.const 4)) (i32.const 2)))
          (func (export "callback") (param i32 i32 i32) (result i32)
            (call $went-on) (call $return) (i32.const 0)))
        (core instance $i (instantiate $m (with "" (instance
          (export "wait" (func $wait')) (export "went-on" (func $went-on')) (export "set" (func $set))
          (export "join" (func $join)) (export "return" (func $return))))))
        (func (export "f") async (canon lift (core func $i "f") async (callback (func $i "callback")))))"#;
    let (mut store, instance) = instance::<Arc<Signals>>(text, |linker| {
        let mut root = linker.root();
        root.func_wrap_concurrent("wait", |accessor, (): ()| {
            let signals = accessor.with(|mut access| access.data_mut().clone());
            async move {
                signals.begun.notify_one();
                signals.go_on.notified().await;
                Ok(())
            }
            .boxed()
        })
        .unwrap();
        root.func_wrap("went-on", |store, (): ()| {
            store.data().went_on.notify_one();
            Ok(())
        })
        .unwrap();
    })
    .await;
    let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
    let signals = store.data().clone();
    let calling = async |accessor: &Accessor<Arc<Signals>>| {
        tokio::select! {
            called = f.call_concurrent(accessor, ()) => panic!("{called:?}"),
            () = signals.begun.notified() => {}
        }
        // The future of the call is gone, and the guest goes on.
        signals.go_on.notify_one();
        signals.went_on.notified().await;
    };
    store.run_concurrent(calling).await.unwrap();
}

#[derive(Default)]
struct Polls {
    of_the_other: AtomicUsize,
    before: AtomicUsize,
    after: AtomicUsize,
}

/// Why the timer of the calls is around all of them, and why a call of WASI 0.2 that waits holds up all others of its
/// instance: beside one, nothing within the store is polled. If this fails one day, neither need be so.
#[tokio::test]
async fn while_a_guest_waits_in_an_ordinary_function_nothing_else_of_its_store_goes_on() {
    let text = r#"(component
        (import "wait" (func $wait))
        (core func $wait' (canon lower (func $wait)))
        (core func $return (canon task.return))
        (core module $m
          (import "" "wait" (func $wait))
          (import "" "return" (func $return))
          (func (export "f") (result i32) (call $wait) (call $return) (i32.const 0))
          (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
        (core instance $i (instantiate $m (with "" (instance
          (export "wait" (func $wait')) (export "return" (func $return))))))
        (func (export "f") async (canon lift (core func $i "f") async (callback (func $i "callback")))))"#;
    let (mut store, instance) = instance::<Arc<Polls>>(text, |linker| {
        let wait = linker.root().func_wrap_async("wait", |store, (): ()| {
            let polls = store.data().clone();
            Box::new(async move {
                polls.before.store(polls.of_the_other.load(Ordering::SeqCst), Ordering::SeqCst);
                for _ in 0..100 {
                    yield_now().await;
                }
                polls.after.store(polls.of_the_other.load(Ordering::SeqCst), Ordering::SeqCst);
                Ok(())
            })
        });
        wait.unwrap();
    })
    .await;
    let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
    let polls = store.data().clone();
    let calling = async |accessor: &Accessor<Arc<Polls>>| {
        let other = async {
            for _ in 0..1000 {
                polls.of_the_other.fetch_add(1, Ordering::SeqCst);
                yield_now().await;
            }
        };
        join(f.call_concurrent(accessor, ()), other).await.0
    };
    store.run_concurrent(calling).await.unwrap().unwrap();
    let [before, after] = [&polls.before, &polls.after].map(|at| at.load(Ordering::SeqCst));
    assert_eq!(before, after);
    assert_eq!(polls.of_the_other.load(Ordering::SeqCst), 1000);
}
