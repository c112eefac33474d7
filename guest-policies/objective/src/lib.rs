//! As few workers as let a share of the messages wait no longer than an objective.
//!
//! The README beside this crate describes the settings. [`rule`] decides; this file is the component around it.

mod rule;

tidegate_guest::policy!(rule::init, rule::decide);
