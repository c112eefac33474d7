//! A length of time in equal parts.

use std::ops::Range;

/// The parts that `from..to` touches: at least one, if there are any.
pub(crate) fn cover(from: f64, to: f64, part: f64, parts: usize) -> Range<usize> {
    // A hair of slack keeps an end on a border from counting as the part behind it.
    let (first, end) = if part > 0.0 { ((from / part) as usize, (to / part - 1e-9).ceil() as usize) } else { (0, 0) };
    let first = first.min(parts.saturating_sub(1));
    first..end.clamp(first.saturating_add(1), parts.max(first.saturating_add(1)))
}

/// Shares an amount between the parts that `from..to` covers.
pub(crate) fn spread(sums: &mut [f64], part: f64, from: f64, to: f64, amount: f64) {
    let covered = cover(from, to, part, sums.len());
    let alone = covered.len() == 1;
    for (index, sum) in sums.iter_mut().enumerate().take(covered.end).skip(covered.start) {
        let start = index as f64 * part;
        let share = (to.min(start + part) - from.max(start)).max(0.0) / (to - from);
        *sum += if alone { amount } else { amount * share };
    }
}
