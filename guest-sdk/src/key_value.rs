//! Key-value buckets, for handlers: `wasi:keyvalue` as it is, and what is often wanted with it.
//!
//! The workload has to grant a bucket (`grants.kv`). An error becomes a retry with `?`, and a log line says why.
//!
//! ```no_run
//! use tidegate_guest::handler::{Delivery, Failure, Response};
//! use tidegate_guest::key_value;
//!
//! tidegate_guest::handler!(handle);
//!
//! fn handle(delivery: Delivery) -> Result<Response, Failure> {
//!     let totals = key_value::open("totals")?;
//!     totals.set(&key_value::escape(&delivery.subject), &delivery.payload)?;
//!     Ok(Response::done())
//! }
//! # fn main() {}
//! ```

use std::fmt::Write as _;

use crate::handler::Failure;
use crate::{Level, log};

#[allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        inline: "package tidegate:guest;
            world key-value {
                include wasi:keyvalue/imports@0.2.0-draft2;
            }",
        path: "wit",
        generate_all,
    });
}

pub use bindings::wasi::keyvalue::atomics::{Cas, CasError, increment, swap};
pub use bindings::wasi::keyvalue::batch::{delete_many, get_many, set_many};
pub use bindings::wasi::keyvalue::store::{Bucket, Error, KeyResponse, open};

impl From<Error> for Failure {
    /// The message is not to blame: the bucket may be there, or granted, when it is delivered again.
    fn from(error: Error) -> Self {
        log(Level::Warn, "key-value", &error.to_string());
        Self::retry()
    }
}

/// Any text as a key: letters, digits, `-` and `_` as they are, each other byte as `=` and two hexadecimal digits. Two
/// texts have two keys. An empty text is no key.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut key = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            key.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(key, "={byte:02X}");
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_key() {
        assert_eq!(escape("A-1_b"), "A-1_b");
        assert_eq!(escape("a.b=c d/é"), "a=2Eb=3Dc=20d=2F=C3=A9");
    }
}
