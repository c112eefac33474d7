//! Texts of a request that wasmtime keeps however long they are. An instance could have the host keep gigabytes with
//! them, which no limit of its memory counts, so here they have a bound.

use wasmtime::component::{Lift, Linker, LinkerInstance, Resource};
use wasmtime_wasi_http::p2::bindings::http::types as p2;
use wasmtime_wasi_http::p3::bindings::http::types as p3;
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

/// Bytes of a method that has no name of its own. The longest that is registered has 17.
const METHOD: usize = 64;
/// Bytes of an authority: a name of 253, and a port.
const AUTHORITY: usize = 300;
/// Bytes of a path with its query: the longest that servers usually take.
const PATH: usize = 8 << 10;

/// The interfaces as wasmtime links them.
const TYPES: &str = "wasi:http/types@0.2.12";
const ASYNC_TYPES: &str = "wasi:http/types@0.3.0";

/// Whether it was set. A handler is told no more by the interface.
type Set = Result<(), ()>;

/// Puts bounds on what is linked already.
pub(crate) fn bound<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    use p2::{HostOutgoingRequest, Method};
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    let name = |method: &Method| if let Method::Other(name) = method { name.len() } else { 0 };
    shadow(&mut types, "[method]outgoing-request.set-method", (name, METHOD), |view, request, method| {
        HostOutgoingRequest::set_method(view, request, method)
    })?;
    shadow(&mut types, "[method]outgoing-request.set-authority", (length, AUTHORITY), |view, request, authority| {
        HostOutgoingRequest::set_authority(view, request, authority)
    })?;
    shadow(&mut types, "[method]outgoing-request.set-path-with-query", (length, PATH), |view, request, path| {
        HostOutgoingRequest::set_path_with_query(view, request, path)
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The same of WASI 0.3.
pub(crate) fn bound_async<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    use p3::{HostRequest, Method};
    linker.allow_shadowing(true);
    let mut types = linker.instance(ASYNC_TYPES)?;
    let name = |method: &Method| if let Method::Other(name) = method { name.len() } else { 0 };
    shadow(&mut types, "[method]request.set-method", (name, METHOD), |view, request, method| {
        HostRequest::set_method(view, request, method)
    })?;
    shadow(&mut types, "[method]request.set-authority", (length, AUTHORITY), |view, request, authority| {
        HostRequest::set_authority(view, request, authority)
    })?;
    shadow(&mut types, "[method]request.set-path-with-query", (length, PATH), |view, request, path| {
        HostRequest::set_path_with_query(view, request, path)
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Puts a function in the place of the one of this name. It sets as that does, but nothing that is longer than `most`.
fn shadow<T: WasiHttpView + 'static, R: 'static, V: Lift + 'static>(
    types: &mut LinkerInstance<'_, T>,
    name: &str,
    (length, most): (fn(&V) -> usize, usize),
    set: fn(&mut WasiHttpCtxView<'_>, Resource<R>, V) -> wasmtime::Result<Set>,
) -> wasmtime::Result<()> {
    types.func_wrap(name, move |mut store, (request, value): (Resource<R>, V)| {
        let is_long = length(&value) > most;
        let done = if is_long { Err(()) } else { set(&mut store.data_mut().http(), request, value)? };
        Ok::<(Set,), wasmtime::Error>((done,))
    })
}

fn length(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}
