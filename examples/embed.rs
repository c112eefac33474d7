#![allow(clippy::print_stdout, reason = "it is a program for a person")]
//! A host inside a program of yours: one workload, until Ctrl-C, with its scaling printed.
//!
//! `make guests && cargo run --release -p tidegate-runtime --example embed`, with a nats-server on localhost that has
//! JetStream. Then publish to `orders.new`.

use tidegate_runtime::{Config, Event, Observer, run};

const CONFIG: &str = r#"
[workload.orders]
stream = "ORDERS"
subjects = ["orders.>"]
manage = "create"
handler = "echo"
policy = "backlog"
scale = { min = 0, max = 8 }
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_toml(CONFIG)?;
    let observer = Observer::new(|event| match event {
        Event::Ready { workload } => println!("{workload} is ready"),
        Event::Scaled { workload, from, to, reason } => println!("{workload}: {from} -> {to} workers, {reason}"),
        _ => {}
    });
    // It ends when this future does, after every delivery is settled or given back.
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    Ok(run(config, observer, interrupted).await?)
}
