//! The simulations as a picture: arrivals, workers of each policy and longest waits, one above the other.

use std::fmt::Write as _;

use plotters::prelude::*;

use super::arrivals::Arrivals;
use super::outcome::{PARTS, SimulationOutcome};
use crate::chart::svg::{self, ARRIVALS, Area, COLOURS, Drawn, INK};
use crate::chart::{sparkline, spread};

/// Pixels.
const SIZE: (u32, u32) = (960, 840);

/// Values of equal parts of the trace, and what they are drawn as.
struct Series<'a> {
    name: &'a str,
    colour: RGBColor,
    values: Vec<f64>,
}

/// Arrivals per second in each of so many equal parts of the trace.
pub fn rates(arrivals: &Arrivals, parts: usize) -> Vec<f64> {
    let part = arrivals.length() as f64 / parts.max(1) as f64;
    let mut sums = vec![0.0; parts];
    for row in arrivals.rows() {
        spread(&mut sums, part, row.start as f64, row.end() as f64, row.count as f64);
    }
    sums.into_iter().map(|sum| sum / part * 1e9).collect()
}

/// The mean number of workers in each of so many equal parts of the trace.
pub fn workers(outcome: &SimulationOutcome, length: u64, parts: usize) -> Vec<f64> {
    let part = length as f64 / parts.max(1) as f64;
    let ends = outcome.workers.iter().skip(1).map(|(at, _)| *at).chain([outcome.end]);
    let mut sums = vec![0.0; parts];
    // What was left when the trace ended is handled after its last part.
    for ((from, count), to) in
        outcome.workers.iter().zip(ends.map(|to| to.min(length))).filter(|((from, _), to)| from < to)
    {
        let (from, to) = (*from as f64, to as f64);
        spread(&mut sums, part, from, to, f64::from(*count) * (to - from));
    }
    sums.into_iter().map(|sum| sum / part).collect()
}

/// The same in a few lines of text, `width` characters wide: arrivals, and the workers of each policy on one scale.
pub fn lines(arrivals: &Arrivals, outcomes: &[(String, SimulationOutcome)], width: usize) -> String {
    let rates = rates(arrivals, width);
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let counts: Vec<(&str, Vec<f64>)> =
        outcomes.iter().map(|(name, outcome)| (name.as_str(), workers(outcome, arrivals.length(), width))).collect();
    let top = counts.iter().map(|(_, counts)| most(counts)).fold(0.0, f64::max);
    let wide = counts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max("arrivals".len());
    let mut text = String::new();
    let mut line = |name: &str, values: &[f64], top: f64, scale: &str| {
        let _ = writeln!(text, "{name:<wide$}  |{}|{scale}", sparkline(values, width, top));
    };
    line("arrivals", &rates, most(&rates), &format!("  0 to {:.0}/s", most(&rates)));
    for (index, (name, counts)) in counts.iter().enumerate() {
        let scale = if index == 0 { format!("  0 to {top:.0} workers") } else { String::new() };
        line(name, counts, top, &scale);
    }
    text
}

/// Draws an SVG document. `objective` is the longest wait within it, in nanoseconds.
///
/// # Errors
/// When the drawing library refuses, which it has no reason to.
pub fn svg(
    title: &str,
    arrivals: &Arrivals,
    objective: u64,
    outcomes: &[(String, SimulationOutcome)],
) -> anyhow::Result<String> {
    let length = arrivals.length();
    let seconds = (length as f64 / 1e9).max(1e-3);
    // With more policies than colours they repeat.
    let line = |values: &dyn Fn(&SimulationOutcome) -> Vec<f64>| -> Vec<Series<'_>> {
        let named = outcomes.iter().zip(COLOURS.iter().cycle());
        named.map(|((name, outcome), colour)| Series { name, colour: *colour, values: values(outcome) }).collect()
    };
    let arrived = Series { name: "arrivals", colour: ARRIVALS, values: rates(arrivals, PARTS) };
    let counts = line(&|outcome| workers(outcome, length, PARTS));
    let mut waits = line(&|outcome| outcome.wait_parts.iter().map(|part| part.longest as f64 / 1e9).collect());
    waits.push(Series { name: "wait objective", colour: INK, values: vec![objective as f64 / 1e9; PARTS] });
    let panels = [("arrivals (messages/s)", vec![arrived]), ("workers", counts), ("longest wait (s)", waits)];

    svg::document(SIZE, |root| {
        let areas = root.titled(title, svg::title())?.split_evenly((3, 1));
        areas.iter().zip(panels).try_for_each(|(area, (what, lines))| panel(area, what, seconds, &lines))
    })
}

fn panel(area: &Area<'_>, what: &str, seconds: f64, lines: &[Series<'_>]) -> Drawn {
    let top = lines.iter().flat_map(|line| &line.values).copied().fold(0.0, f64::max).max(1e-3) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..seconds, 0.0..top)?;
    let shown = |value: &f64| if top < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    svg::axes(&mut chart, what, &shown, (11, 5))?;
    for line in lines {
        let style = line.colour.stroke_width(1);
        chart
            .draw_series(LineSeries::new(svg::steps(&line.values, seconds / PARTS as f64), style))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    svg::legend(&mut chart, SeriesLabelPosition::UpperLeft)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::time::Duration;

    use super::super::{Model, ServiceTime, run};
    use super::*;
    use crate::simulate::generate::Generator;
    use tidegate_runtime::config::{Scale, SignalSource, StartLimits};

    #[test]
    fn the_picture_names_what_it_shows_and_its_parts_add_up() {
        let second = Duration::from_secs(1);
        let model = Model {
            scale: Scale { min: 2, max: 2, interval: second, window: second, source: SignalSource::Info },
            start_delay: 0,
            batch: 1,
            service: ServiceTime::Constant(1_000_000),
            retry: None,
            outage: None,
            limits: StartLimits::default(),
            keys: None,
            per_key: None,
            seed: 1,
            objective: 1_000_000_000,
        };
        let arrivals = Generator::Constant(30.0).arrivals(70 * second, 1);
        let outcome = run(&model, &arrivals, &mut |_| None, &mut |_| {}).unwrap();
        for parts in [1, 7, 480] {
            assert!(rates(&arrivals, parts).iter().all(|rate| (rate - 30.0).abs() < 1e-6));
            assert!(workers(&outcome, arrivals.length(), parts).iter().all(|count| (count - 2.0).abs() < 1e-6));
        }
        let svg = svg("a title", &arrivals, model.objective, &[("mine".into(), outcome)]).unwrap();
        for text in
            ["a title", "time (s)", "arrivals (messages/s)", "workers", "mine", "longest wait (s)", "wait objective"]
        {
            assert!(svg.contains(text), "{text}");
        }
    }
}
