//! The chart as a picture: arrivals as an area on the left scale, workers as a step line on the right one.

use plotters::prelude::*;

use super::chart::ceiling;
use super::summary::thousands;
use super::timeline::Timeline;
use crate::chart::svg::{self, ARRIVALS, Area, COLOURS, Drawn, INK};

/// Pixels.
const SIZE: (u32, u32) = (960, 480);
/// Points of the area, each the mean of its part of the time line.
const POINTS: usize = 160;
const WORKERS: RGBColor = COLOURS[0];

/// Draws a time line as an SVG document.
///
/// # Errors
/// When the drawing library refuses, which it has no reason to.
pub fn svg(timeline: &Timeline, title: &str) -> anyhow::Result<String> {
    svg::document(SIZE, |root| draw(timeline, title, root))
}

fn draw(timeline: &Timeline, title: &str, root: &Area<'_>) -> Drawn {
    let length = timeline.length().as_secs_f64().max(1e-3);
    let rates = timeline.rates(POINTS);
    let top_rate = ceiling(rates.iter().copied().fold(1.0, f64::max) * 1.05);
    let top_workers = f64::from(timeline.peak_workers().max(1)) * 1.15;

    let mut chart = ChartBuilder::on(root)
        .caption(title, svg::title())
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .right_y_label_area_size(60)
        .build_cartesian_2d(0.0..length, 0.0..top_rate)?
        .set_secondary_coord(0.0..length, 0.0..top_workers);
    svg::axes(&mut chart, "arrivals (messages/s)", &|rate| thousands(rate.round() as u64), (12, 6))?;
    chart
        .configure_secondary_axes()
        .y_desc("workers")
        .y_label_formatter(&|count| whole(*count))
        .y_labels(usize::try_from(timeline.peak_workers()).unwrap_or(8).saturating_add(2).min(10))
        .axis_style(INK)
        .label_style(svg::label())
        .axis_desc_style(svg::label())
        .draw()?;
    let filled = ARRIVALS.mix(0.6);
    chart
        .draw_series(AreaSeries::new(svg::steps(&rates, length / POINTS as f64), 0.0, filled))?
        .label("arrivals")
        .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 20, y + 5)], filled.filled()));
    let steps = timeline.worker_steps().into_iter().map(|(at, count)| (at, f64::from(count)));
    chart
        .draw_secondary_series(LineSeries::new(steps, WORKERS.stroke_width(2)))?
        .label("workers")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], WORKERS.stroke_width(2)));
    svg::legend(&mut chart, SeriesLabelPosition::UpperRight)
}

/// There is no half worker, so only whole numbers stand at the scale.
fn whole(count: f64) -> String {
    if (count - count.round()).abs() < 1e-6 { format!("{count:.0}") } else { String::new() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_picture_names_both_lines_and_their_units() {
        let mut timeline = Timeline::default();
        timeline.arrived(Duration::from_millis(5));
        timeline.workers(Duration::from_millis(6), 2);
        timeline.end(Duration::from_secs(3));
        let svg = svg(&timeline, "a title").unwrap();
        assert!(svg.starts_with("<svg"), "{svg}");
        for text in ["a title", "time (s)", "arrivals (messages/s)", "workers", "arrivals"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn an_empty_run_can_be_drawn() {
        assert!(svg(&Timeline::default(), "").unwrap().ends_with("</svg>\n"));
    }
}
