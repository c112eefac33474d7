//! Headers as the client library has them.

use async_nats::header::{HeaderMap, HeaderName, HeaderValue};

use crate::ports::EffectError;
use crate::subject::shown;

/// # Errors
/// [`EffectError::Refused`] for the first that is not a legal header.
pub(super) fn headers(list: Vec<(String, String)>) -> Result<HeaderMap, EffectError> {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        let header = name.parse::<HeaderName>().ok().zip(value.parse::<HeaderValue>().ok());
        let (legal_name, legal_value) =
            header.ok_or_else(|| EffectError::Refused(format!("`{}` is not a legal header", shown(&name))))?;
        headers.append(legal_name, legal_value);
    }
    Ok(headers)
}

/// Whether a message may be published with these headers.
#[doc(hidden)]
pub fn may_be_headers(list: Vec<(String, String)>) -> bool {
    headers(list).is_ok()
}
