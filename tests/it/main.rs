//! Integration tests, against a real nats-server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod demo;
mod dispositions;
mod request;
mod server;
mod support;
