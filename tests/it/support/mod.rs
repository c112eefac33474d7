//! What the tests share: servers, conditions that are awaited, the program as a user runs it.
// Each test uses what it needs.
#![allow(dead_code, unused_imports)]

pub(crate) mod cli;
pub(crate) mod host;
pub(crate) mod jwt;
pub(crate) mod log;
pub(crate) mod nats;
pub(crate) mod patience;
pub(crate) mod raw;
pub(crate) mod site;
pub(crate) mod terminal;
pub(crate) mod tls;
pub(crate) mod web;
pub(crate) mod wire;

pub(crate) use patience::{PATIENCE, eventually, until};
