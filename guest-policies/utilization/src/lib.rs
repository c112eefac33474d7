//! As many workers as keep them busy to a target: the algorithm of the Kubernetes HorizontalPodAutoscaler.
//!
//! The README beside this crate describes the settings. [`rule`] decides; this file is the component around it.

mod rule;

tidegate_guest::policy!(rule::init, rule::decide);
