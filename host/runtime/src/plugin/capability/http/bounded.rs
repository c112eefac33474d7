//! Texts of a request that wasmtime keeps however long they are. An instance could have the host keep gigabytes with
//! them, which no limit of its memory counts, so here they have a bound.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types as p2;
use wasmtime_wasi_http::p3::bindings::http::types as p3;

/// Bytes of a method that has no name of its own. The longest that is registered has 17.
const METHOD: usize = 64;
/// Bytes of an authority: a name of 253, and a port.
const AUTHORITY: usize = 300;

/// The interfaces as wasmtime links them.
const TYPES: &str = "wasi:http/types@0.2.12";
const ASYNC_TYPES: &str = "wasi:http/types@0.3.0";

/// Whether it was set. A handler is told no more by the interface.
type Set = Result<(), ()>;

/// Puts bounds on what is linked already.
pub(crate) fn bound<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store, (request, method): (Resource<p2::OutgoingRequest>, p2::Method)| {
            let set = if matches!(&method, p2::Method::Other(name) if name.len() > METHOD) {
                Err(())
            } else {
                p2::HostOutgoingRequest::set_method(&mut store.data_mut().http(), request, method)?
            };
            wasmtime::Result::<(Set,)>::Ok((set,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store, (request, authority): (Resource<p2::OutgoingRequest>, Option<String>)| {
            let set = if is_long(authority.as_deref()) {
                Err(())
            } else {
                p2::HostOutgoingRequest::set_authority(&mut store.data_mut().http(), request, authority)?
            };
            wasmtime::Result::<(Set,)>::Ok((set,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The same of WASI 0.3.
pub(crate) fn bound_async<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(ASYNC_TYPES)?;
    types.func_wrap(
        "[method]request.set-method",
        |mut store, (request, method): (Resource<p3::Request>, p3::Method)| {
            let set = if matches!(&method, p3::Method::Other(name) if name.len() > METHOD) {
                Err(())
            } else {
                p3::HostRequest::set_method(&mut store.data_mut().http(), request, method)?
            };
            wasmtime::Result::<(Set,)>::Ok((set,))
        },
    )?;
    types.func_wrap(
        "[method]request.set-authority",
        |mut store, (request, authority): (Resource<p3::Request>, Option<String>)| {
            let set = if is_long(authority.as_deref()) {
                Err(())
            } else {
                p3::HostRequest::set_authority(&mut store.data_mut().http(), request, authority)?
            };
            wasmtime::Result::<(Set,)>::Ok((set,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn is_long(authority: Option<&str>) -> bool {
    authority.is_some_and(|authority| authority.len() > AUTHORITY)
}
