//! One worker more a tick while the rate needs it, one less a tick after a quiet time.
//!
//! The README beside this crate describes the settings. [`rule`] decides; this file is the component around it.

mod rule;

tidegate_guest::policy!(rule::init, rule::decide);
