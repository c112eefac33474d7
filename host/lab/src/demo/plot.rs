//! The chart as a picture: arrivals as an area on the left scale, workers as a step line on the right one.

use anyhow::anyhow;
use plotters::prelude::*;

use super::chart::ceiling;
use super::summary::thousands;
use super::timeline::Timeline;

/// Pixels.
const SIZE: (u32, u32) = (960, 480);
/// Points of the area, each the mean of its part of the time line.
const POINTS: usize = 160;
/// Okabe and Ito's sky blue and vermilion: told apart by everyone, and in grey.
const ARRIVALS: RGBColor = RGBColor(86, 180, 233);
const WORKERS: RGBColor = RGBColor(213, 94, 0);
const INK: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// Draws a time line as an SVG document.
///
/// # Errors
/// When the drawing library refuses, which it has no reason to.
pub fn svg(timeline: &Timeline, title: &str) -> anyhow::Result<String> {
    let mut document = String::new();
    // The library's errors borrow the backend.
    draw(timeline, title, SVGBackend::with_string(&mut document, SIZE))
        .map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(document)
}

fn draw<'a>(
    timeline: &Timeline,
    title: &str,
    backend: SVGBackend<'a>,
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
    let length = timeline.length().as_secs_f64().max(1e-3);
    let rates = timeline.rates(POINTS);
    let top_rate = ceiling(rates.iter().copied().fold(1.0, f64::max) * 1.05);
    let top_workers = f64::from(timeline.peak_workers().max(1)) * 1.15;
    let part = length / POINTS as f64;
    let at = |index: usize| index as f64 * part;

    let root = backend.into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20).into_font().color(&INK))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .right_y_label_area_size(60)
        .build_cartesian_2d(0.0..length, 0.0..top_rate)?
        .set_secondary_coord(0.0..length, 0.0..top_workers);
    let text = || ("sans-serif", 14).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_desc("time (s)")
        .y_desc("arrivals (messages/s)")
        .x_label_formatter(&|at| format!("{at:.0}"))
        .y_label_formatter(&|rate| thousands(rate.round() as u64))
        .x_labels(12)
        .y_labels(6)
        .label_style(text())
        .axis_desc_style(text())
        .draw()?;
    chart
        .configure_secondary_axes()
        .y_desc("workers")
        .y_label_formatter(&|count| whole(*count))
        .y_labels(usize::try_from(timeline.peak_workers()).unwrap_or(8).saturating_add(2).min(10))
        .axis_style(INK)
        .label_style(text())
        .axis_desc_style(text())
        .draw()?;
    let points = rates.iter().enumerate().flat_map(|(index, rate)| [(at(index), *rate), (at(index) + part, *rate)]);
    chart
        .draw_series(AreaSeries::new(points, 0.0, ARRIVALS.mix(0.6)))?
        .label("arrivals")
        .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 20, y + 5)], ARRIVALS.mix(0.6).filled()));
    let steps = timeline.worker_steps().into_iter().map(|(at, count)| (at, f64::from(count)));
    chart
        .draw_secondary_series(LineSeries::new(steps, WORKERS.stroke_width(2)))?
        .label("workers")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], WORKERS.stroke_width(2)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(text())
        .draw()?;
    root.present()
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
