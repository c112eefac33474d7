//! As many workers as the messages in the system need: the algorithm of the Knative autoscaler.
//!
//! The README beside this crate describes the settings. [`rule`] decides; this file is the component around it.

mod rule;

tidegate_guest::policy!(rule::init, rule::decide);
