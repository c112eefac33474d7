//! A curve as a picture: what each message and the process take, by native code and by components.

use plotters::prelude::*;

use super::super::load::LoadCost;
use super::report::{Curve, Point};
use crate::chart::svg::{self, Area, COLOURS, Drawn, INK};

/// Pixels.
const SIZE: (u32, u32) = (960, 900);

/// What a panel shows: its title, and the number.
type Panel = (&'static str, fn(&LoadCost) -> f64);

const PANELS: [Panel; 5] = [
    ("messages/s", |cost| cost.per_second),
    ("CPU a message, host (us)", |cost| cost.cpu_us),
    ("CPU a message, server (us)", |cost| cost.server_cpu_us),
    ("resident memory (MiB)", |cost| cost.rss_mib),
    ("mappings", |cost| cost.mappings),
];

impl Curve {
    /// Draws it as an SVG document. Its points have the same distance from each other, whatever they are.
    ///
    /// # Errors
    /// When the drawing library refuses, which it has no reason to.
    pub fn svg(&self) -> anyhow::Result<String> {
        svg::document(SIZE, |root| {
            let areas = root.titled(self.of.title(), svg::title())?.split_evenly((PANELS.len(), 1));
            areas.iter().zip(PANELS).try_for_each(|(area, panel)| self.panel(area, panel))
        })
    }

    fn panel(&self, area: &Area<'_>, (what, number): Panel) -> Drawn {
        let series = |of: fn(&Point) -> &LoadCost| -> Vec<(f64, f64)> {
            let numbers = self.points.iter().map(|point| number(of(point)));
            numbers.enumerate().map(|(index, value)| (index as f64, value)).collect()
        };
        let lines = [("native code", series(|point| &point.native)), ("component", series(|point| &point.component))];
        let top = lines.iter().flat_map(|(_, line)| line).map(|(_, value)| *value).fold(0.0, f64::max).max(1e-3) * 1.1;
        let last = self.points.len().saturating_sub(1).max(1) as f64;
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(24)
            .y_label_area_size(84)
            .build_cartesian_2d(0.0..last, 0.0..top)?;
        // Labels stand where points are.
        let at = |index: &f64| {
            let point = self.points.get(index.round() as usize).filter(|_| (index - index.round()).abs() < 1e-6);
            point.map(|point| shown(f64::from(point.size(self.of)))).unwrap_or_default()
        };
        svg::axes_of(&mut chart, ("", &at), (what, &|value| shown(*value)), (self.points.len(), 4))?;
        for ((name, line), colour) in lines.into_iter().zip([INK, COLOURS[0]]) {
            let style = colour.stroke_width(2);
            chart.draw_series(line.iter().map(|at| Circle::new(*at, 3, colour.filled())))?;
            chart
                .draw_series(LineSeries::new(line, style))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
        svg::legend(&mut chart, SeriesLabelPosition::UpperLeft)
    }
}

/// A number as short as its size allows.
fn shown(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1}M", value / 1e6),
        value if value >= 1e4 => format!("{:.0}k", value / 1e3),
        value if value >= 10.0 || value == value.trunc() => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::axis::Axis;
    use super::super::report::tests::curve;
    use super::*;

    #[test]
    fn the_picture_names_what_it_shows() {
        let curve = curve(Axis::Payload, &[(0, 3.0), (128, 3.0), (1 << 20, 300.0)]);
        let svg = curve.svg().unwrap();
        for text in ["bytes of a message", "native code", "component", "128", "1.0M", "messages/s", "mappings"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.25, 7.0, 99.6, 1_000.0, 20_000.0, 2.5e6].map(shown).join(" "), "0 0.2 7 100 1000 20k 2.5M");
    }
}
