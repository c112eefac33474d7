//! The queue M/M/c: messages that come at random, calls of random length, `c` workers.
//!
//! `load` is the offered load `a = rate * service time`, in Erlang: how many workers would be busy if there were
//! enough. `patience` is the objective in service times, `miss` the share of messages that may wait longer.

/// Above this load the square-root rule takes the place of the recursion: there they differ by less than a worker in
/// a thousand, and the recursion would take one step for each worker.
const LARGE: f64 = 10_000.0;

/// Erlang's C: the probability that a message has to wait, with `workers > load`; otherwise 1.
///
/// By the recursion of Erlang's B, `B(n) = a B(n-1) / (n + a B(n-1))`, whose terms stay between 0 and 1 for any
/// number of workers, and `C = B / (1 - (a/c) (1 - B))`.
#[must_use]
pub fn wait_probability(workers: u32, load: f64) -> f64 {
    let blocked = (1..=workers).fold(1.0, |blocked, n| next_b(blocked, n, load));
    c_of_b(blocked, workers, load)
}

fn next_b(blocked: f64, workers: u32, load: f64) -> f64 {
    load * blocked / (f64::from(workers) + load * blocked)
}

fn c_of_b(blocked: f64, workers: u32, load: f64) -> f64 {
    let use_of_each = load / f64::from(workers);
    if use_of_each < 1.0 { blocked / (1.0 - use_of_each * (1.0 - blocked)) } else { 1.0 }
}

/// The probability that a wait exceeds `patience` service times: `C exp(-(c - a) patience)`.
fn miss_of(wait: f64, spare: f64, patience: f64) -> f64 {
    wait * (-spare * patience).exp()
}

/// The fewest workers of which at most the share `miss` of messages waits longer than `patience`, by Erlang's C.
#[must_use]
pub fn fewest(load: f64, patience: f64, miss: f64) -> u32 {
    if load.is_nan() || load <= 0.0 {
        return 0;
    }
    if load > LARGE {
        return fewest_by_square_root(load, patience, miss);
    }
    let mut blocked = 1.0;
    // Ends: the more workers beyond the load, the nearer the probability is to 0.
    for workers in 1..u32::MAX {
        blocked = next_b(blocked, workers, load);
        let spare = f64::from(workers) - load;
        if spare > 0.0 && miss_of(c_of_b(blocked, workers, load), spare, patience) <= miss.max(f64::MIN_POSITIVE) {
            return workers;
        }
    }
    u32::MAX
}

/// The same by the square-root rule: `a + b sqrt(a)` workers, where `b` is the least for which Halfin and Whitt's
/// limit of Erlang's C, `1 / (1 + b N(b) / n(b))`, keeps the share within `miss`. It is found by bisection.
#[must_use]
pub fn fewest_by_square_root(load: f64, patience: f64, miss: f64) -> u32 {
    if load.is_nan() || load <= 0.0 {
        return 0;
    }
    let root = load.sqrt();
    let is_enough = |b: f64| miss_of(halfin_whitt(b), b * root, patience) <= miss;
    let (mut few, mut enough) = (0.0, 40.0);
    for _ in 0..60 {
        let middle = f64::midpoint(few, enough);
        if is_enough(middle) { enough = middle } else { few = middle }
    }
    // The conversion saturates. One worker more than the load at least, or the backlog would never end.
    ((load + enough * root).ceil() as u32).max((load as u32).saturating_add(1))
}

fn halfin_whitt(b: f64) -> f64 {
    let density = (-b * b / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    density / (density + b * normal(b, density))
}

/// The normal distribution for `b >= 0`, to 7.5e-8: Abramowitz and Stegun, 26.2.17.
fn normal(b: f64, density: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * b);
    let series =
        ((((1.330_274_429 * t - 1.821_255_978) * t + 1.781_477_937) * t - 0.356_563_782) * t + 0.319_381_530) * t;
    1.0 - density * series
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    /// Erlang's C as it is defined, with the sums of powers and factorials.
    fn by_definition(workers: u32, load: f64) -> f64 {
        let mut term = 1.0;
        let mut sum = 0.0;
        for n in 0..workers {
            sum += term;
            term *= load / f64::from(n + 1);
        }
        let last = term * f64::from(workers) / (f64::from(workers) - load);
        last / (sum + last)
    }

    #[test]
    fn the_recursion_agrees_with_the_definition() {
        for (workers, load) in [(1, 0.5), (2, 1.0), (5, 4.8), (10, 7.0), (60, 55.0), (120, 100.0)] {
            assert!((wait_probability(workers, load) - by_definition(workers, load)).abs() < 1e-12, "{workers} {load}");
        }
        // With one worker a message waits as often as that is busy; with two, a^2 / (2 + a).
        assert!((wait_probability(1, 0.3) - 0.3).abs() < 1e-15);
        assert!((wait_probability(2, 1.0) - 1.0 / 3.0).abs() < 1e-15);
        assert_eq!(wait_probability(4, 4.0), 1.0);
    }

    #[test]
    fn the_textbook_call_centre_needs_fourteen() {
        // 100 calls in half an hour of 3 minutes each are 10 Erlang; 80 % within 20 s take 14 agents.
        assert_eq!(fewest(10.0, 20.0 / 180.0, 0.2), 14);
        let miss = |workers: u32| miss_of(wait_probability(workers, 10.0), f64::from(workers) - 10.0, 20.0 / 180.0);
        assert!(miss(14) < 0.2 && miss(13) > 0.2);
    }

    #[test]
    fn large_loads_are_computed_in_numbers_that_stay_finite() {
        assert_eq!(fewest(5_000.0, 0.0, 0.01), 5_170);
        assert!(wait_probability(20_000, 19_800.0) > 0.0);
        let large = fewest(1e6, 0.0, 0.01);
        assert!((1_002_000..1_003_000).contains(&large), "{large}");
        assert_eq!(fewest(1e300, 1.0, 0.01), u32::MAX);
        assert_eq!(fewest(f64::INFINITY, 1.0, 0.01), u32::MAX);
    }

    #[test]
    fn without_a_load_nobody_is_needed() {
        for load in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!((fewest(load, 1.0, 0.01), fewest_by_square_root(load, 1.0, 0.01)), (0, 0));
        }
    }

    #[test]
    fn the_normal_distribution_has_its_known_values() {
        let at = |b: f64| normal(b, (-b * b / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt());
        for (b, value) in [(0.0, 0.5), (1.0, 0.841_344_746), (1.959_963_985, 0.975), (3.0, 0.998_650_102)] {
            assert!((at(b) - value).abs() < 1e-7, "{b}");
        }
    }

    proptest! {
        #[test]
        fn the_fewest_keep_the_share_and_one_fewer_does_not(
            load in 0.001..3_000.0, patience in 0.0..20.0, miss in 0.0001..0.5,
        ) {
            let workers = fewest(load, patience, miss);
            let share = |workers: u32| miss_of(wait_probability(workers, load), f64::from(workers) - load, patience);
            prop_assert!(share(workers) <= miss && f64::from(workers) > load);
            prop_assert!(f64::from(workers - 1) <= load || share(workers - 1) > miss);
        }

        #[test]
        fn the_square_root_rule_is_near_where_loads_are_large(
            load in 100.0..9_000.0, patience in 0.0..2.0, miss in 0.001..0.3,
        ) {
            let (exact, rule) = (fewest(load, patience, miss), fewest_by_square_root(load, patience, miss));
            prop_assert!(exact.abs_diff(rule) <= 1 + exact / 200, "{exact} {rule}");
        }

        #[test]
        fn nothing_makes_it_panic(load: f64, patience: f64, miss: f64) {
            let _ = fewest_by_square_root(load, patience, miss);
            let _ = fewest(load.min(1e5), patience.abs(), miss.clamp(0.0, 1.0));
        }
    }
}
