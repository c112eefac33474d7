//! How a number grows with what is made larger: where it begins to, and whether faster than that. Pure.

use serde::Serialize;

/// Half as fast as what it is drawn over: below it is flat, above it grows.
const GROWS: f64 = 0.5;
/// Faster than in proportion, by more than a measurement is wrong by.
const TOO_FAST: f64 = 1.25;

/// How a number grows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Growth {
    /// The point behind which it grows: what does not depend on the size is most of it up to there. None where it does
    /// not grow.
    pub knee: Option<u32>,
    /// The power with which it grows behind the knee, steepest: 1 is in proportion.
    pub steepest: f64,
    /// The point behind which it grows faster than in proportion.
    pub too_fast: Option<u32>,
}

impl Growth {
    /// Of values at points that ascend. Points at 0, values that are not above 0, and all but the first of the same
    /// point are left out, for they have no power.
    pub(super) fn of(values: &[(u32, f64)]) -> Self {
        let mut seen: Vec<_> = values.iter().copied().filter(|(at, value)| *at > 0 && *value > 0.0).collect();
        seen.dedup_by_key(|(at, _)| *at);
        let powers: Vec<(u32, f64)> = seen
            .iter()
            .zip(seen.iter().skip(1))
            .map(|((at, value), (next, then))| (*at, (then / value).ln() / (f64::from(*next) / f64::from(*at)).ln()))
            .collect();
        let behind = |power: f64| powers.iter().find(|(_, of)| *of >= power).map(|(at, _)| *at);
        let steepest = powers.iter().map(|(_, power)| *power).fold(0.0, f64::max);
        Self { knee: behind(GROWS), steepest, too_fast: behind(TOO_FAST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: impl Fn(f64) -> f64) -> Growth {
        let points = [0, 1, 10, 100, 1_000, 10_000];
        Growth::of(&points.map(|at| (at, value(f64::from(at)))))
    }

    #[test]
    fn what_stays_the_same_has_no_knee() {
        assert_eq!(of(|_| 7.0), Growth { knee: None, steepest: 0.0, too_fast: None });
        assert_eq!(of(|at| 7.0 / (1.0 + at)).knee, None);
        assert_eq!(Growth::of(&[]).knee, None);
    }

    #[test]
    fn a_cost_of_each_beside_one_of_all_has_its_knee_where_they_are_alike() {
        let growth = of(|at| 100.0 + at);
        assert_eq!((growth.knee, growth.too_fast), (Some(100), None));
        assert!(growth.steepest < 1.0, "{growth:?}");
    }

    #[test]
    fn a_point_that_comes_again_says_nothing() {
        let again = Growth::of(&[(10, 1.0), (100, 1.0), (100, 9.0)]);
        assert_eq!(again, Growth { knee: None, steepest: 0.0, too_fast: None });
    }

    #[test]
    fn what_grows_faster_than_in_proportion_is_told() {
        let growth = of(|at| 1_000.0 + at * at);
        assert_eq!(growth.too_fast, Some(100));
        assert!(growth.steepest > 1.9, "{growth:?}");
    }
}
