//! Integration tests, against a real nats-server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

<<<<<<< HEAD
mod demo;
=======
>>>>>>> main
mod dispositions;
mod request;
mod server;
mod support;
