//! The median of rounds.

/// The median of a number of each; not a number of none.
pub(super) fn median<T>(all: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = all.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
