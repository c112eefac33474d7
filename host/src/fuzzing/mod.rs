//! stub
pub fn config(bytes: &[u8]) { let _ = std::str::from_utf8(bytes).map(crate::config::Config::from_toml); }
pub fn plugin(bytes: &[u8]) { let _ = crate::plugin::inspect(bytes); }
pub fn contract(_: &[u8]) {}
pub fn letter(_: &[u8]) {}
pub fn wire(_: &[u8]) {}
