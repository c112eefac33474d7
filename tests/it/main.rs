//! Integration tests, against a real nats-server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod bad_answers;
mod bad_config;
mod bad_consumer;
mod bad_plugin;
mod batches;
mod bench;
mod bounds;
#[cfg(feature = "test-web")]
mod browser;
mod check;
mod command_line;
mod completions;
mod composed;
mod concurrent;
mod connections;
mod dead_commands;
mod dead_letters;
mod demo;
mod dev;
mod dispositions;
mod edited;
mod explain;
mod fetch;
mod fleet;
mod health;
mod hops;
mod hosts;
mod http;
mod journal;
mod key_value;
#[cfg(feature = "test-languages")]
mod languages;
mod limits;
mod limits_behind;
mod links;
mod messaging;
mod messaging_async;
mod nats_headers;
mod new;
mod order;
mod order_hosts;
mod page;
mod pause;
mod plugin_sources;
mod plugins_export;
mod printed;
mod reload;
mod request;
mod rollout;
mod rules;
mod secrets;
mod server;
mod service;
#[path = "../shared/mod.rs"]
mod shared;
mod shipped;
mod simulate;
mod sources;
mod support;
mod swap;
mod telemetry;
mod top;
mod trace;
mod troubleshooting;
mod unreadable;
