//! What a host answers over HTTP.

use crate::shared::http;

/// The status code and the body of what a host answers.
pub(crate) async fn get(address: &str, path: &str) -> (u16, String) {
    ask(address, address, path).await
}

/// The same, asked for under another name.
pub(crate) async fn ask(address: &str, name: &str, path: &str) -> (u16, String) {
    http::get(address, name, path).await.unwrap_or_else(|| panic!("{address} does not answer {path}"))
}
