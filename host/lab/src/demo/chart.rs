//! The chart in the terminal: arrivals above workers, along one axis of time.

use super::summary::thousands;
use super::timeline::Timeline;
use crate::chart::block;

/// Rows of the upper chart.
const RATE_ROWS: usize = 8;
/// The most rows of the lower chart; up to there each worker has a row.
const WORKER_ROWS: usize = 6;
/// Columns for the numbers at the left.
const LABEL: usize = 9;
/// The least and the most columns of a whole line.
const WIDTH: std::ops::RangeInclusive<usize> = 40..=120;

/// Draws a time line with Unicode blocks in lines of at most `width` columns (at least 40, at most 120).
pub fn chart(timeline: &Timeline, width: usize) -> String {
    let columns = width.clamp(*WIDTH.start(), *WIDTH.end()).saturating_sub(LABEL + 2);
    let rates = timeline.rates(columns);
    let workers: Vec<f64> = timeline.worker_counts(columns).into_iter().map(f64::from).collect();
    let peak = timeline.peak_workers().max(1);
    let worker_rows = usize::try_from(peak).unwrap_or(WORKER_ROWS).min(WORKER_ROWS);
    let mut lines = vec![format!("{:>LABEL$} arrivals per second", "")];
    lines.extend(area(&rates, ceiling(rates.iter().copied().fold(1.0, f64::max)), RATE_ROWS));
    lines.push(format!("{:>LABEL$} workers", ""));
    lines.extend(area(&workers, f64::from(peak), worker_rows));
    lines.push(time_axis(timeline.length().as_secs_f64(), columns));
    lines.push(String::new());
    lines.join("\n")
}

/// Rows from the top of the scale down to zero. A value above zero always shows.
fn area(values: &[f64], top: f64, rows: usize) -> Vec<String> {
    let eighths: Vec<usize> = values
        .iter()
        .map(|value| {
            let height = (value / top * rows as f64 * 8.0).round() as usize;
            if *value > 0.0 { height.max(1) } else { 0 }
        })
        .collect();
    let row = |row: usize| -> String {
        let base = row.saturating_mul(8);
        // Half of a scale of many rows has a number too, for it is a whole one.
        let label = match row.saturating_add(1) {
            upper if upper == rows => thousands(top.round() as u64),
            middle if middle * 2 == rows && rows > WORKER_ROWS => thousands((top / 2.0).round() as u64),
            _ => String::new(),
        };
        let cells = eighths.iter().map(|height| block(height.saturating_sub(base)));
        format!("{label:>LABEL$} │{}", cells.collect::<String>()).trim_end().to_owned()
    };
    let zero = format!("{:>LABEL$} └{}", 0, "─".repeat(values.len()));
    (0..rows).rev().map(row).chain([zero]).collect()
}

/// Seconds under the columns they belong to, as many as fit.
fn time_axis(length: f64, columns: usize) -> String {
    let step = nice(length / (columns as f64 / 10.0).max(1.0)).max(1e-3);
    let mut line = " ".repeat(LABEL + 2);
    for tick in 0_u32.. {
        let at = f64::from(tick) * step;
        let column = (at / length.max(1e-9) * columns as f64).round() as usize;
        let label = if step < 1.0 { format!("{at:.1} s") } else { format!("{at:.0} s") };
        if at > length || column.saturating_add(label.len()) > columns {
            return line;
        }
        let target = column.saturating_add(LABEL + 2);
        line.extend(std::iter::repeat_n(' ', target.saturating_sub(line.len())));
        line.push_str(&label);
    }
    line
}

/// The next number up of the form 1, 2 or 5 times a power of ten: a distance between ticks.
fn nice(value: f64) -> f64 {
    round_up(value, &[1.0, 2.0, 5.0])
}

/// The next number up that looks well at the end of a scale and leaves little room above the value.
pub(super) fn ceiling(value: f64) -> f64 {
    round_up(value, &[1.0, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0, 5.0, 6.0, 8.0])
}

/// The smallest of `steps` times a power of ten that is not below `value`. Steps ascend from 1 to below 10.
fn round_up(value: f64, steps: &[f64]) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    // A little slack, for the logarithm of 1000 may come out below 3.
    steps.iter().map(|step| step * power).find(|step| value <= step * (1.0 + 1e-9)).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn two_bursts() -> Timeline {
        let mut timeline = Timeline::default();
        for at in (0..2000).chain(5000..7000) {
            (0..5).for_each(|_| timeline.arrived(ms(at)));
        }
        for (at, count) in [(1, 1), (1000, 2), (4000, 1), (5000, 2), (6000, 3), (8000, 2), (9000, 1), (9900, 0)] {
            timeline.workers(ms(at), count);
        }
        timeline.end(ms(10_000));
        timeline
    }

    #[test]
    fn two_bursts_are_two_blocks_over_the_steps_of_the_workers() {
        let chart = chart(&two_bursts(), 51);
        assert_eq!(
            chart.split('\n').collect::<Vec<_>>(),
            [
                "          arrivals per second",
                "    5,000 │████████            ████████",
                "          │████████            ████████",
                "          │████████            ████████",
                "          │████████            ████████",
                "    2,500 │████████            ████████",
                "          │████████            ████████",
                "          │████████            ████████",
                "          │████████            ████████",
                "        0 └────────────────────────────────────────",
                "          workers",
                "        3 │                        ████████",
                "          │    ████████████    ████████████████",
                "          │████████████████████████████████████████",
                "        0 └────────────────────────────────────────",
                "           0 s                 5 s",
                "",
            ]
        );
    }

    #[test]
    fn a_single_arrival_among_thousands_is_seen() {
        let rows = area(&[10_000.0, 0.0, 1.0], 10_000.0, 2);
        assert_eq!(rows, ["   10,000 │█", "          │█ ▁", "        0 └───"]);
    }

    #[test]
    fn scales_and_ticks_are_round_numbers() {
        let tops = [0.0, 1.0, 1.1, 2.2, 999.0, 1000.0, 4321.0, 8001.0, f64::NAN].map(ceiling);
        assert_eq!(tops, [1.0, 1.0, 1.2, 2.4, 1000.0, 1000.0, 5000.0, 10_000.0, 1.0]);
        let tops = [0.0, 0.03, 1.0, 1.1, 3.0, 7.0, 999.0, 1000.0, 4321.0, f64::NAN].map(nice);
        assert_eq!(tops, [1.0, 0.05, 1.0, 2.0, 5.0, 10.0, 1000.0, 1000.0, 5000.0, 1.0]);
    }

    #[test]
    fn an_empty_run_can_be_drawn() {
        assert!(chart(&Timeline::default(), 80).contains("workers"));
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            width in 40_usize..200,
            length in 1_u64..100_000,
            arrivals in prop::collection::vec(0_u64..100_000, 0..100),
            peak in 0_u32..2000,
        ) {
            let mut timeline = Timeline::default();
            arrivals.iter().for_each(|at| timeline.arrived(ms(*at)));
            timeline.workers(ms(length / 2), peak);
            timeline.end(ms(length));
            for line in chart(&timeline, width).lines() {
                prop_assert!(line.chars().count() <= width, "{line}");
            }
        }
    }
}
