//! `wasi:keyvalue/store`.

use wasmtime::component::Resource;

use super::wit_store::{Host, HostBucket, KeyResponse};
use super::{Bucket, Error, KeyValueView, read};
use crate::config::KvAccess;

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for KeyValueView<'_> {
    async fn open(&mut self, identifier: String) -> Answer<Resource<Bucket>> {
        Ok((|| {
            self.state.operations(1)?.check_bucket(&identifier)?;
            self.handle(Bucket { name: identifier.into() }, 0)
        })())
    }
}

impl HostBucket for KeyValueView<'_> {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Option<Vec<u8>>> {
        let name = self.bucket(&bucket)?;
        let shared = match self.operation(&name, &key, KvAccess::Read) {
            Ok(shared) => shared,
            Err(error) => return Ok(Err(error)),
        };
        let entry = read(&shared, &name, &key).await;
        Ok(entry.map(|entry| entry.value.map(Vec::from)))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answer<()> {
        let name = self.bucket(&bucket)?;
        let shared = match self.operation(&name, &key, KvAccess::ReadWrite) {
            Ok(shared) => shared,
            Err(error) => return Ok(Err(error)),
        };
        let set = async {
            shared.check_size(value.len())?;
            shared.buckets()?.set(&name, &key, value.into(), None).await?;
            Ok(())
        };
        Ok(set.await)
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<()> {
        let name = self.bucket(&bucket)?;
        let shared = match self.operation(&name, &key, KvAccess::ReadWrite) {
            Ok(shared) => shared,
            Err(error) => return Ok(Err(error)),
        };
        let delete = async { Ok(shared.buckets()?.delete(&name, &key).await?) };
        Ok(delete.await)
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<bool> {
        let name = self.bucket(&bucket)?;
        let shared = match self.operation(&name, &key, KvAccess::Read) {
            Ok(shared) => shared,
            Err(error) => return Ok(Err(error)),
        };
        let exists = async { Ok(shared.buckets()?.get(&name, &key).await?.value.is_some()) };
        Ok(exists.await)
    }

    async fn list_keys(&mut self, bucket: Resource<Bucket>, cursor: Option<String>) -> Answer<KeyResponse> {
        let name = self.bucket(&bucket)?;
        let shared = match self.state.operations(1) {
            Ok(shared) => shared,
            Err(error) => return Ok(Err(error)),
        };
        let list = async {
            let from = match cursor.as_deref() {
                None => 0,
                Some(cursor) => cursor.parse().map_err(|_| {
                    Error::Other("this cursor is none that list-keys gave; begin without one".to_owned())
                })?,
            };
            let page = shared.buckets()?.keys(&name, &shared.prefixes(&name), from).await?;
            Ok(KeyResponse { keys: page.keys, cursor: page.next.map(|next| next.to_string()) })
        };
        Ok(list.await)
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.resources.delete(bucket)?;
        self.state.close(0);
        Ok(())
    }
}
