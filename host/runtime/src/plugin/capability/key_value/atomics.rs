//! `wasi:keyvalue/atomics`.

use bytes::Bytes;
use wasmtime::component::Resource;

use super::access::KeyValueAccess;
use super::wit_atomics::{CasError, Host, HostCas};
use super::{Bucket, Cas, Error, KeyValueView, KvEntry, KvError, read};
use crate::config::KvAccess;
use crate::subject::shown;

/// How often an increment is tried while others change the key.
const TRIES: usize = 100;

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl HostCas for KeyValueView<'_> {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Resource<Cas>> {
        let name = self.bucket(&bucket)?;
        let shared = match self.operation(&name, &key, KvAccess::Read) {
            Ok(shared) => shared,
            Err(error) => return Ok(Err(error)),
        };
        let entry = read(&shared, &name, &key).await;
        Ok(entry.and_then(|entry| self.cas(Cas { bucket: name, key, entry })))
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>> {
        Ok(Ok(self.resources.get(&cas)?.entry.value.as_deref().map(<[u8]>::to_vec)))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.taken(cas).map(|_| ())
    }
}

impl Host for KeyValueView<'_> {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> Answer<i64> {
        let name = self.bucket(&bucket)?;
        let shared = match self.operation(&name, &key, KvAccess::ReadWrite) {
            Ok(shared) => shared,
            Err(error) => return Ok(Err(error)),
        };
        Ok(add(&shared, &name, &key, delta).await)
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), CasError>> {
        let Cas { bucket, key, entry } = self.taken(cas)?;
        let shared = match self.operation(&bucket, &key, KvAccess::ReadWrite) {
            Ok(shared) => shared,
            Err(error) => return Ok(Err(CasError::StoreError(error))),
        };
        let set = async {
            shared.check_size(value.len())?;
            match shared.buckets()?.set(&bucket, &key, value.into(), Some(entry.revision)).await {
                Ok(_) => Ok(None),
                Err(KvError::Conflict(_)) => read(&shared, &bucket, &key).await.map(Some),
                Err(error) => Err(error.into()),
            }
        };
        let changed = match set.await {
            Ok(None) => return Ok(Ok(())),
            Ok(Some(entry)) => self.cas(Cas { bucket, key, entry }),
            Err(error) => Err(error),
        };
        Ok(Err(changed.map_or_else(CasError::StoreError, CasError::CasFailed)))
    }
}

impl KeyValueView<'_> {
    fn cas(&mut self, cas: Cas) -> Result<Resource<Cas>, Error> {
        let keeps = cas.kept();
        self.handle(cas, keeps)
    }

    /// What a handle was of, which is closed.
    fn taken(&mut self, cas: Resource<Cas>) -> wasmtime::Result<Cas> {
        let cas = self.resources.delete(cas)?;
        self.state.close(cas.kept());
        Ok(cas)
    }
}

/// Adds to a number until nobody gets between.
async fn add(shared: &KeyValueAccess, bucket: &str, key: &str, delta: i64) -> Result<i64, Error> {
    let buckets = shared.buckets()?;
    let _turn = match shared.turn(bucket, key) {
        Some(turn) => Some(turn.lock().await),
        None => None,
    };
    for _ in 0..TRIES {
        let entry = read(shared, bucket, key).await?;
        let sum = sum(&entry, key, delta)?;
        match buckets.set(bucket, key, Bytes::from(sum.to_string()), Some(entry.revision)).await {
            Ok(_) => return Ok(sum),
            Err(KvError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Other(format!("`{}` was changed by others {TRIES} times in a row; try again later", shown(key))))
}

fn sum(entry: &KvEntry, key: &str, delta: i64) -> Result<i64, Error> {
    let wrong = |what: &str| Error::Other(format!("`{}` {what}", shown(key)));
    let number = match &entry.value {
        None => 0,
        Some(value) => std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.trim().parse::<i64>().ok())
            .ok_or_else(|| wrong("is no number in decimal digits"))?,
    };
    number.checked_add(delta).ok_or_else(|| wrong("would be more, or less, than 64 bits hold"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(value: Option<&'static str>) -> KvEntry {
        KvEntry { revision: 1, value: value.map(|text| Bytes::from_static(text.as_bytes())) }
    }

    #[test]
    fn a_number_is_decimal_digits_and_what_is_none_is_not_overwritten() {
        assert_eq!(sum(&entry(None), "k", -3).unwrap(), -3);
        assert_eq!(sum(&entry(Some("41")), "k", 1).unwrap(), 42);
        assert_eq!(sum(&entry(Some("-1\n")), "k", 1).unwrap(), 0);
        for (value, delta) in [("", 1), ("x", 1), ("1.5", 1), ("9223372036854775807", 1), ("-9223372036854775808", -1)]
        {
            assert!(matches!(sum(&entry(Some(value)), "k", delta), Err(Error::Other(_))), "{value}");
        }
    }
}
