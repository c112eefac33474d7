//! `wasi:keyvalue/batch`.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use wasmtime::component::Resource;

use super::access::KeyValueAccess;
use super::wit_batch::Host;
use super::{Bucket, Error, KeyValueView, read};
use crate::config::KvAccess;

/// Operations of one batch that wait for the server together.
const TOGETHER: usize = 16;

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl KeyValueView<'_> {
    /// What a batch is done with, if all of it may be done.
    fn batch<'a>(
        &mut self,
        bucket: &str,
        keys: impl ExactSizeIterator<Item = &'a String>,
        access: KvAccess,
    ) -> Result<Arc<KeyValueAccess>, Error> {
        let shared = self.state.operations(keys.len())?;
        for key in keys {
            shared.check(bucket, key, access)?;
        }
        Ok(shared)
    }
}

impl Host for KeyValueView<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<(String, Vec<u8>)>>> {
        let name = self.bucket(&bucket)?;
        let shared = match self.batch(&name, keys.iter(), KvAccess::Read) {
            Ok(shared) => shared,
            Err(error) => return Ok(Err(error)),
        };
        let (shared, name) = (&*shared, &*name);
        let values = keys.into_iter().map(|key| async move {
            let entry = read(shared, name, &key).await?;
            Ok::<_, Error>(entry.value.map(|value| (key, value)))
        });
        let limit = shared.limits.response;
        let mut values = stream::iter(values).buffered(TOGETHER);
        let gather = async {
            let (mut all, mut bytes) = (Vec::new(), 0_usize);
            while let Some(value) = values.try_next().await? {
                bytes = bytes.saturating_add(value.as_ref().map_or(0, |(_, value)| value.len()));
                if bytes > limit {
                    let why = format!("the values have more than {limit} bytes together (limits.response)");
                    return Err(Error::Other(why));
                }
                all.push(value.map(|(key, value)| (key, Vec::from(value))));
            }
            Ok(all)
        };
        Ok(gather.await)
    }

    async fn set_many(&mut self, bucket: Resource<Bucket>, key_values: Vec<(String, Vec<u8>)>) -> Answer<()> {
        let name = self.bucket(&bucket)?;
        let shared = match self.batch(&name, key_values.iter().map(|(key, _)| key), KvAccess::ReadWrite) {
            Ok(shared) => shared,
            Err(error) => return Ok(Err(error)),
        };
        let set = async {
            key_values.iter().try_for_each(|(_, value)| shared.check_size(value.len()))?;
            let (buckets, name) = (&*shared.buckets()?, &*name);
            let sets = key_values
                .into_iter()
                .map(|(key, value)| async move { buckets.set(name, &key, value.into(), None).await.map(drop) });
            stream::iter(sets).buffered(TOGETHER).try_for_each(|()| std::future::ready(Ok(()))).await?;
            Ok(())
        };
        Ok(set.await)
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        let name = self.bucket(&bucket)?;
        let shared = match self.batch(&name, keys.iter(), KvAccess::ReadWrite) {
            Ok(shared) => shared,
            Err(error) => return Ok(Err(error)),
        };
        let delete = async {
            let (buckets, name) = (&*shared.buckets()?, &*name);
            let deletes = keys.into_iter().map(|key| async move { buckets.delete(name, &key).await });
            stream::iter(deletes).buffered(TOGETHER).try_for_each(|()| std::future::ready(Ok(()))).await?;
            Ok(())
        };
        Ok(delete.await)
    }
}
