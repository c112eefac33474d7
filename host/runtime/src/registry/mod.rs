//! Plugins in registries of OCI: one artifact found by its tag or digest, its component fetched or put there.
//!
//! Everything that a registry says is checked here: it may be somebody else's, or in somebody else's hands. What it
//! sends is bounded in bytes and in time, and counts only with the digest that it should have. Requests go by the HTTP
//! client that this program has anyway. A library for registries would bring a second one, with TLS of its own, and
//! reads answers of any length into memory.
//!
//! `manifest` is what is in an artifact, `challenge` what a registry wants to know of who asks, `docker_config` a file
//! with credentials; all pure. `session` carries requests out, `artifacts` what is wanted of a registry.

mod artifacts;
mod challenge;
mod credentials;
mod docker_config;
mod manifest;
mod push;
mod session;

pub use artifacts::{Artifact, Registries};
pub use manifest::Interfaces;
