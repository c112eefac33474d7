//! `wasi:keyvalue` on the JetStream KV buckets that `grants.kv` names. It is linked for every handler, and without a
//! grant each call is denied.
//!
//! What an instance has is checked here: grants, keys, limits. What is done with a key is behind [`KeyValue`].

mod access;
mod atomics;
mod batch;
mod store;

use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

pub(crate) use access::KeyValueAccess;

use crate::config::KvAccess;
use crate::plugin::capability::call_budget::CallBudget;
use crate::ports::{KeyValue, KvEntry, KvError};
use generated::wasi::keyvalue::{atomics as wit_atomics, batch as wit_batch, store as wit_store};
use wit_store::Error;

#[allow(missing_docs, clippy::pedantic)]
mod generated {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "wasi:keyvalue/imports@0.2.0-draft2",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": super::Bucket,
            "wasi:keyvalue/atomics.cas": super::Cas,
        },
    });
}

/// A bucket that a guest has opened.
#[allow(unreachable_pub, reason = "the generated code re-exports it")]
pub struct Bucket {
    name: Arc<str>,
}

/// A key as it was when a guest made a handle for a compare-and-swap.
#[allow(unreachable_pub, reason = "the generated code re-exports it")]
pub struct Cas {
    bucket: Arc<str>,
    key: String,
    entry: KvEntry,
}

impl Cas {
    fn kept(&self) -> usize {
        self.entry.value.as_ref().map_or(0, bytes::Bytes::len)
    }
}

/// What one instance has used.
#[derive(Default)]
pub(crate) struct KeyValueState {
    access: Arc<KeyValueAccess>,
    /// Operations of the calls that run.
    operations: CallBudget,
    /// Buckets and handles that are open.
    handles: u32,
    /// Bytes of the values that handles keep.
    kept: usize,
}

/// How many values of the largest size the handles of an instance may keep together.
const KEPT_VALUES: usize = 8;

impl KeyValueState {
    pub(crate) fn new(access: Arc<KeyValueAccess>) -> Self {
        Self { access, ..Self::default() }
    }

    /// Begins a new call.
    pub(crate) fn begin_call(&mut self) {
        self.operations.begin();
    }

    /// Ends a call.
    pub(crate) fn end_call(&mut self) {
        self.operations.end(each_call(&self.access));
    }

    /// Counts operations. Gives what they are done with.
    fn operations(&mut self, count: usize) -> Result<Arc<KeyValueAccess>, Error> {
        let limit = each_call(&self.access);
        if !self.operations.take(count, limit) {
            return Err(Error::Other(format!("more than {limit} operations in one call (limits.kv-operations)")));
        }
        Ok(self.access.clone())
    }

    /// Counts a handle that keeps so many bytes.
    fn open(&mut self, keeps: usize) -> Result<(), Error> {
        let limits = &self.access.limits;
        if self.handles >= limits.kv_handles {
            let limit = limits.kv_handles;
            return Err(Error::Other(format!("more than {limit} handles are open (limits.kv-handles)")));
        }
        let most = limits.kv_value.saturating_mul(KEPT_VALUES);
        if self.kept.saturating_add(keeps) > most {
            let why = format!("the values of open handles have more than {most} bytes (8 times limits.kv-value)");
            return Err(Error::Other(why));
        }
        self.handles += 1;
        self.kept += keeps;
        Ok(())
    }

    fn close(&mut self, kept: usize) {
        self.handles = self.handles.saturating_sub(1);
        self.kept = self.kept.saturating_sub(kept);
    }
}

/// The operations that a call may do.
fn each_call(access: &KeyValueAccess) -> usize {
    usize::try_from(access.limits.kv_operations).unwrap_or(usize::MAX)
}

impl KeyValueView<'_> {
    /// The name of an open bucket.
    fn bucket(&self, bucket: &Resource<Bucket>) -> wasmtime::Result<Arc<str>> {
        Ok(self.resources.get(bucket)?.name.clone())
    }

    /// A handle that keeps something; not more than an instance may have.
    fn handle<T: Send + 'static>(&mut self, handle: T, keeps: usize) -> Result<Resource<T>, Error> {
        self.state.open(keeps)?;
        self.resources.push(handle).map_err(|_| {
            self.state.close(keeps);
            Error::Other("the instance has too many resources open; drop what is not used".to_owned())
        })
    }

    /// What one operation on a key is done with, if it may be done.
    fn operation(&mut self, bucket: &str, key: &str, access: KvAccess) -> Result<Arc<KeyValueAccess>, Error> {
        let shared = self.state.operations(1)?;
        shared.check(bucket, key, access)?;
        Ok(shared)
    }
}

impl From<KvError> for Error {
    fn from(error: KvError) -> Self {
        match error {
            KvError::NoBucket(_) => Self::NoSuchStore,
            KvError::Conflict(why) | KvError::Refused(why) | KvError::TooLarge(why) | KvError::Unavailable(why) => {
                Self::Other(why)
            }
        }
    }
}

/// What of an instance's store the functions of this interface work on.
pub(crate) struct KeyValueView<'a> {
    pub(crate) state: &'a mut KeyValueState,
    pub(crate) resources: &'a mut ResourceTable,
}

struct HasKeyValue;

impl HasData for HasKeyValue {
    type Data<'a> = KeyValueView<'a>;
}

/// Lets handlers import it.
pub(crate) fn link<T: Send>(linker: &mut Linker<T>, view: fn(&mut T) -> KeyValueView<'_>) -> wasmtime::Result<()> {
    wit_store::add_to_linker::<T, HasKeyValue>(linker, view)?;
    wit_atomics::add_to_linker::<T, HasKeyValue>(linker, view)?;
    wit_batch::add_to_linker::<T, HasKeyValue>(linker, view)
}

/// Reads a key whose value a guest may be given.
async fn read(shared: &KeyValueAccess, bucket: &str, key: &str) -> Result<KvEntry, Error> {
    let entry = shared.buckets()?.get(bucket, key).await?;
    if let Some(value) = &entry.value {
        shared.check_size(value.len())?;
    }
    Ok(entry)
}
