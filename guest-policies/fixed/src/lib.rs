//! Always the same number of workers.
//!
//! The README beside this crate describes the settings. [`rule`] decides; this file is the component around it.

mod rule;

tidegate_guest::policy!(rule::init, rule::decide);
