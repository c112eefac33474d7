//! A policy: so many workers that each has a given share of the backlog, and fewer only after a calm time.
//!
//! This file is the component. `rule.rs` decides, and its tests run without a host.

mod rule;

tidegate_guest::policy!(rule::init, rule::decide);
