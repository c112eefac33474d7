//! What handlers and policies for tidegate are written with.
//!
//! A **handler** says what becomes of a message. It is one function:
//!
//! ```
//! use tidegate_guest::handler::{Delivery, Failure, Response};
//!
//! tidegate_guest::handler!(handle);
//!
//! fn handle(delivery: Delivery) -> Result<Response, Failure> {
//!     Ok(Response::reply(delivery.payload))
//! }
//! # fn main() {}
//! ```
//!
//! A handler of **batches** has several messages in one call, and answers to each of them:
//!
//! ```
//! use tidegate_guest::handler::{Delivery, Failure, Response};
//!
//! tidegate_guest::batch_handler!(handle);
//!
//! fn handle(deliveries: Vec<Delivery>) -> Vec<Result<Response, Failure>> {
//!     let all: Vec<u8> = deliveries.iter().flat_map(|delivery| [&*delivery.payload, b"\n"].concat()).collect();
//!     let mut answers = vec![Ok(Response::done()); deliveries.len()];
//!     // The host acknowledges the others when this is stored.
//!     if let Some(first) = answers.first_mut() {
//!         *first = Ok(Response::done().publish("archive", all));
//!     }
//!     answers
//! }
//! # fn main() {}
//! ```
//!
//! A handler of the **asynchronous form** waits for something, and its instance handles other messages meanwhile. With
//! the feature `async`:
//!
//! ```
//! # #[cfg(feature = "async")]
//! # mod handler {
//! use tidegate_guest::handler::{Delivery, Failure, Response};
//!
//! tidegate_guest::async_handler!(handle);
//!
//! async fn handle(delivery: Delivery) -> Result<Response, Failure> {
//!     Ok(Response::reply(price(delivery.text()?).await?))
//! }
//! # async fn price(of: &str) -> Result<Vec<u8>, Failure> { Ok(of.into()) }
//! # }
//! # fn main() {}
//! ```
//!
//! A **policy** says how many workers run. It is two functions, a fold: from an observation and a state they make a
//! decision and the next state.
//!
//! ```
//! use tidegate_guest::policy::{Decision, Observation};
//! use tidegate_guest::{Settings, state};
//!
//! tidegate_guest::policy!(init, decide);
//!
//! fn init(mut settings: Settings, _previous: Option<&[u8]>) -> Result<Vec<u8>, String> {
//!     let workers = settings.take_u32("workers", 1, 0..=1000)?;
//!     settings.finish()?;
//!     Ok(state::encode("fixed/1", &[("workers", workers.to_string())]))
//! }
//!
//! fn decide(seen: &Observation, state: Vec<u8>) -> Decision {
//!     let workers = state::decode("fixed/1", &state).and_then(|mut read| read.take_u32("workers", 1, 0..=1000).ok());
//!     Decision { desired: workers.unwrap_or(seen.running), reason: "as configured".into(), state }
//! }
//! # fn main() {}
//! ```
//!
//! Build either as a `cdylib` for `wasm32-wasip2`, and put the file into the host's plugin directory. Tests run
//! natively:
//! [`handler::Delivery::test`], [`policy::Observation::test`] and [`testing`] make what a host would give.
//!
//! The contract is WIT, in `wit/` of this crate, and says for each case what the host does. Nothing here is needed to
//! fulfil it: `wit_bindgen::generate!` on those files does too.

#[cfg(feature = "async")]
pub mod asynchronous;
pub mod batch;
mod duration;
pub mod handler;
pub mod key_value;
#[cfg(feature = "log")]
mod logger;
pub mod policy;
pub mod settings;
pub mod state;
mod test_signals;
pub mod testing;

pub use handler::bindings::wasi::logging::logging::{Level, log};
pub use settings::Settings;

/// What the macros call before the guest's own function. With the feature `log` it makes [`log`](https://docs.rs/log)
/// write to the host.
#[doc(hidden)]
pub fn start() {
    #[cfg(feature = "log")]
    logger::install();
}
