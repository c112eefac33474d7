//! What charts share: time in equal parts, blocks for a terminal, SVG documents. What is drawn stands where it is
//! known.

mod blocks;
mod parts;
pub(crate) mod svg;

pub use blocks::{block, sparkline};
pub(crate) use parts::{cover, spread};
