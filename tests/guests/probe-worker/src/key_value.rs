//! Steps on key-value buckets: `kv BUCKET FUNCTION ARGUMENTS`.

use std::cell::RefCell;

use crate::types::Failure;
use generated::wasi::keyvalue::atomics::{Cas, CasError, increment, swap};
use generated::wasi::keyvalue::batch;
use generated::wasi::keyvalue::store::{Bucket, Error, open};

#[allow(unsafe_code, reason = "generated")]
mod generated {
    wit_bindgen::generate!({ world: "imports", path: "../../../wit/deps/keyvalue" });
}

thread_local! {
    /// A handle that outlives its call.
    static KEPT: RefCell<Option<Cas>> = const { RefCell::new(None) };
}

/// What a step comes to, as text. An error is one too, but for those that are to be retried.
pub(crate) fn answer(words: &[&str]) -> Result<String, Failure> {
    let [name, rest @ ..] = words else { return Err(unknown(words)) };
    if let ["retry", rest @ ..] = rest {
        // As a handler should: what the server does not do now it may do later.
        return open(name).and_then(|bucket| step(&bucket, rest)).map_err(|_| Failure::Retry(Some(100)));
    }
    if let ["hoard", count] = rest {
        return Ok(hoard(name, count.parse().map_err(|_| unknown(words))?));
    }
    Ok(open(name).and_then(|bucket| step(&bucket, rest)).unwrap_or_else(said))
}

fn step(bucket: &Bucket, words: &[&str]) -> Result<String, Error> {
    let shown = |value: Option<Vec<u8>>| value.map_or("none".to_owned(), |value| lossy(&value));
    Ok(match words {
        ["get", key] => shown(bucket.get(key)?),
        ["set", key, value] => bucket.set(key, value.as_bytes()).map(|()| "done".to_owned())?,
        ["set-large", key, bytes] => {
            let value = vec![b'x'; bytes.parse().unwrap_or(0)];
            bucket.set(key, &value).map(|()| "done".to_owned())?
        }
        ["delete", key] => bucket.delete(key).map(|()| "done".to_owned())?,
        ["exists", key] => bucket.exists(key)?.to_string(),
        ["increment", key, delta] => increment(bucket, key, delta.parse().unwrap_or(0))?.to_string(),
        ["list"] => list(bucket)?,
        ["list-from", cursor] => bucket.list_keys(Some(cursor))?.keys.join(" "),
        ["cas-large", key, bytes] => swapped(Cas::new(bucket, key)?, &"x".repeat(bytes.parse().unwrap_or(0)))?,
        ["cas", key, meanwhile, value] => {
            let cas = Cas::new(bucket, key)?;
            if *meanwhile != "-" {
                bucket.set(key, meanwhile.as_bytes())?;
            }
            swapped(cas, value)?
        }
        ["keep", key] => {
            let cas = Cas::new(bucket, key)?;
            let current = cas.current()?;
            KEPT.set(Some(cas));
            shown(current)
        }
        ["swap-kept", value] => match KEPT.take() {
            Some(cas) => swapped(cas, value)?,
            None => "nothing kept".to_owned(),
        },
        ["get-many", keys @ ..] => {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            let values = batch::get_many(bucket, &keys)?.into_iter();
            values.map(|pair| shown(pair.map(|(_, value)| value))).collect::<Vec<_>>().join(" ")
        }
        ["set-many", value, keys @ ..] => {
            let pairs: Vec<(String, Vec<u8>)> =
                keys.iter().map(|key| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
            batch::set_many(bucket, &pairs).map(|()| "done".to_owned())?
        }
        ["delete-many", keys @ ..] => {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            batch::delete_many(bucket, &keys).map(|()| "done".to_owned())?
        }
        _ => return Err(Error::Other("not a step that the probe knows".to_owned())),
    })
}

/// How many pages and keys there are, and the keys if they are few.
fn list(bucket: &Bucket) -> Result<String, Error> {
    let (mut pages, mut keys, mut cursor) = (0, Vec::new(), None);
    loop {
        let mut page = bucket.list_keys(cursor.as_deref())?;
        pages += 1;
        keys.append(&mut page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let shown = if keys.len() > 10 { String::new() } else { keys.join(" ") };
    Ok(format!("{pages} {} {shown}", keys.len()).trim_end().to_owned())
}

fn swapped(cas: Cas, value: &str) -> Result<String, Error> {
    match swap(cas, value.as_bytes()) {
        Ok(()) => Ok("swapped".to_owned()),
        Err(CasError::StoreError(error)) => Err(error),
        Err(CasError::CasFailed(now)) => {
            let current = now.current()?.map_or("none".to_owned(), |value| lossy(&value));
            // The new handle is of the key as it is now.
            let again = if swap(now, value.as_bytes()).is_ok() { "swapped" } else { "failed" };
            Ok(format!("failed at {current}, then {again}"))
        }
    }
}

/// Opens a bucket again and again, and closes none.
fn hoard(name: &str, count: usize) -> String {
    let (mut open_ones, mut last) = (Vec::new(), "none".to_owned());
    for _ in 0..count {
        match open(name) {
            Ok(bucket) => open_ones.push(bucket),
            Err(error) => last = said(error),
        }
    }
    format!("{} open, {last}", open_ones.len())
}

fn said(error: Error) -> String {
    match error {
        Error::NoSuchStore => "no such store".to_owned(),
        Error::AccessDenied => "access denied".to_owned(),
        Error::Other(why) => format!("error: {why}"),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn unknown(words: &[&str]) -> Failure {
    Failure::Reject(format!("not a step that the probe knows: kv {}", words.join(" ")))
}
