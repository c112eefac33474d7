//! The simulations as a picture: arrivals, workers of each policy and longest waits, one above the other.

use std::fmt::Write as _;

use anyhow::anyhow;
use plotters::prelude::*;

use super::arrivals::Arrivals;
use super::outcome::{Outcome, PARTS};
use crate::spark::spark;

/// Pixels.
const SIZE: (u32, u32) = (960, 840);
/// Okabe and Ito's colours: told apart by everyone. With more policies than colours they repeat.
const COLOURS: [RGBColor; 6] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];
const ARRIVALS: RGBColor = RGBColor(86, 180, 233);
const INK: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// Values of equal parts of the trace, and what they are drawn as.
struct Line<'a> {
    name: &'a str,
    colour: RGBColor,
    values: Vec<f64>,
}

/// Arrivals per second in each of so many equal parts of the trace.
pub fn rates(arrivals: &Arrivals, parts: usize) -> Vec<f64> {
    let part = arrivals.length() as f64 / parts.max(1) as f64;
    let mut sums = vec![0.0; parts];
    for row in arrivals.rows() {
        let (from, to) = (row.start as f64, row.end() as f64);
        let first = (from / part) as usize;
        let touched = ((to / part).ceil() as usize).saturating_sub(first).max(1);
        for (index, sum) in sums.iter_mut().enumerate().skip(first).take(touched) {
            let begin = index as f64 * part;
            let share = (to.min(begin + part) - from.max(begin)).max(0.0) / (to - from);
            *sum += row.count as f64 * share;
        }
    }
    sums.into_iter().map(|sum| sum / part * 1e9).collect()
}

/// The mean number of workers in each of so many equal parts of the trace.
pub fn workers(outcome: &Outcome, length: u64, parts: usize) -> Vec<f64> {
    let part = length as f64 / parts.max(1) as f64;
    let ends = outcome.workers.iter().skip(1).map(|(at, _)| *at).chain([outcome.end]);
    let mut sums = vec![0.0; parts];
    for ((from, count), to) in outcome.workers.iter().zip(ends) {
        let (from, to) = (*from as f64, to as f64);
        let first = (from / part) as usize;
        let touched = ((to / part).ceil() as usize).saturating_sub(first);
        for (index, sum) in sums.iter_mut().enumerate().skip(first).take(touched) {
            let begin = index as f64 * part;
            *sum += f64::from(*count) * (to.min(begin + part) - from.max(begin)).max(0.0);
        }
    }
    sums.into_iter().map(|sum| sum / part).collect()
}

/// The same in a few lines of text, `width` characters wide: arrivals, and the workers of each policy on one scale.
pub fn lines(arrivals: &Arrivals, outcomes: &[(String, Outcome)], width: usize) -> String {
    let rates = rates(arrivals, width);
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let counts: Vec<(&str, Vec<f64>)> =
        outcomes.iter().map(|(name, outcome)| (name.as_str(), workers(outcome, arrivals.length(), width))).collect();
    let top = counts.iter().map(|(_, counts)| most(counts)).fold(0.0, f64::max);
    let wide = counts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max("arrivals".len());
    let mut text = String::new();
    let mut line = |name: &str, values: &[f64], top: f64, scale: &str| {
        let _ = writeln!(text, "{name:<wide$}  |{}|{scale}", spark(values, width, top));
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
pub fn svg(title: &str, arrivals: &Arrivals, objective: u64, outcomes: &[(String, Outcome)]) -> anyhow::Result<String> {
    let mut document = String::new();
    // The library's errors borrow the backend.
    draw(title, arrivals, objective, outcomes, SVGBackend::with_string(&mut document, SIZE))
        .map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(document)
}

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(
    title: &str,
    arrivals: &Arrivals,
    objective: u64,
    outcomes: &[(String, Outcome)],
    backend: SVGBackend<'a>,
) -> Drawn<'a> {
    let length = arrivals.length();
    let seconds = (length as f64 / 1e9).max(1e-3);
    let line = |values: &dyn Fn(&Outcome) -> Vec<f64>| -> Vec<Line<'_>> {
        let named = outcomes.iter().zip(COLOURS.iter().cycle());
        named.map(|((name, outcome), colour)| Line { name, colour: *colour, values: values(outcome) }).collect()
    };
    let arrived = Line { name: "arrivals", colour: ARRIVALS, values: rates(arrivals, PARTS) };
    let counts = line(&|outcome| workers(outcome, length, PARTS));
    let mut waits = line(&|outcome| outcome.wait_parts.iter().map(|part| part.longest as f64 / 1e9).collect());
    waits.push(Line { name: "wait objective", colour: INK, values: vec![objective as f64 / 1e9; PARTS] });

    let root = backend.into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 20).into_font().color(&INK))?;
    let areas = root.split_evenly((3, 1));
    for (area, (what, lines)) in
        areas.iter().zip([("arrivals (messages/s)", vec![arrived]), ("workers", counts), ("longest wait (s)", waits)])
    {
        panel(area, what, seconds, &lines)?;
    }
    root.present()
}

fn panel<'a>(
    area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    what: &str,
    seconds: f64,
    lines: &[Line<'_>],
) -> Drawn<'a> {
    let top = lines.iter().flat_map(|line| &line.values).copied().fold(0.0, f64::max).max(1e-3) * 1.1;
    let text = || ("sans-serif", 14).into_font().color(&INK);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..seconds, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_desc("time (s)")
        .y_desc(what)
        .x_label_formatter(&|at| format!("{at:.0}"))
        .y_label_formatter(&|value| if top < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") })
        .y_labels(5)
        .label_style(text())
        .axis_desc_style(text())
        .draw()?;
    let part = seconds / PARTS as f64;
    for line in lines {
        let (style, steps) = (line.colour.stroke_width(1), line.values.iter().enumerate());
        let points = steps.flat_map(|(at, value)| [(at as f64 * part, *value), ((at + 1) as f64 * part, *value)]);
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(text())
        .draw()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::time::Duration;

    use super::super::{Model, Service, run};
    use super::*;
    use crate::config::{Scale, SignalSource};
    use crate::simulate::generate::Generator;

    #[test]
    fn the_picture_names_what_it_shows_and_its_parts_add_up() {
        let second = Duration::from_secs(1);
        let model = Model {
            scale: Scale { min: 2, max: 2, interval: second, window: second, source: SignalSource::Info },
            start_delay: 0,
            batch: 1,
            service: Service::Constant(1_000_000),
            retry: None,
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
