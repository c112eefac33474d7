//! As many workers as process the backlog in a given time: the algorithm of Numaflow.
//!
//! The README beside this crate describes the settings. [`rule`] decides; this file is the component around it.

mod rule;

tidegate_guest::policy!(rule::init, rule::decide);
