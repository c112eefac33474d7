//! What the integration tests and the fault bench share. The first panic where something is not as it should be, the
//! other reports it, so nothing here does either.

pub(crate) mod http;
pub(crate) mod plugins;
pub(crate) mod wait;
