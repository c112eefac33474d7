//! SVG documents: colours, fonts, axes and legends of all charts.

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// Okabe and Ito's colours: told apart by everyone, and the first two also in grey.
pub(crate) const COLOURS: [RGBColor; 6] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];
/// Their sky blue.
pub(crate) const ARRIVALS: RGBColor = RGBColor(86, 180, 233);
pub(crate) const INK: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// A part of a document.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// A chart of numbers.
pub(crate) type Chart<'c, 'a> = ChartContext<'c, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
/// The library has no reason to refuse.
pub(crate) type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws a document of so many pixels.
///
/// # Errors
/// When the drawing library refuses.
pub(crate) fn document(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> anyhow::Result<String> {
    let mut document = String::new();
    let root = SVGBackend::with_string(&mut document, size).into_drawing_area();
    let drawn = root.fill(&WHITE).and_then(|()| draw(&root)).and_then(|()| root.present());
    drawn.map_err(|error| anyhow!("cannot draw: {error}"))?;
    drop(root);
    Ok(document)
}

pub(crate) fn title() -> TextStyle<'static> {
    ("sans-serif", 20).into_font().color(&INK)
}

pub(crate) fn label() -> TextStyle<'static> {
    ("sans-serif", 14).into_font().color(&INK)
}

/// Draws both axes: seconds, and `what` with its values as `shown`. About so many labels go along each.
pub(crate) fn axes(
    chart: &mut Chart<'_, '_>,
    what: &str,
    shown: &dyn Fn(&f64) -> String,
    labels: (usize, usize),
) -> Drawn {
    axes_of(chart, ("time (s)", &|at| format!("{at:.0}")), (what, shown), labels)
}

/// An axis: what is along it, and how its values are shown.
pub(crate) type Axis<'a> = (&'a str, &'a dyn Fn(&f64) -> String);

/// Draws the lower axis and the left one. About so many labels go along each.
pub(crate) fn axes_of(
    chart: &mut Chart<'_, '_>,
    (along, x_shown): Axis<'_>,
    (what, shown): Axis<'_>,
    (x_labels, y_labels): (usize, usize),
) -> Drawn {
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().light_line_style(TRANSPARENT).bold_line_style(GRID).axis_style(INK);
    mesh.x_desc(along).x_label_formatter(x_shown).x_labels(x_labels);
    mesh.y_desc(what).y_label_formatter(shown).y_labels(y_labels);
    mesh.label_style(label()).axis_desc_style(label()).draw()
}

/// Draws the names of all series.
pub(crate) fn legend<'c, 'a: 'c>(chart: &mut Chart<'c, 'a>, position: SeriesLabelPosition) -> Drawn {
    let mut legend = chart.configure_series_labels();
    legend.position(position).background_style(WHITE.mix(0.85)).border_style(GRID).label_font(label()).draw()
}

/// The corners of a line that holds each value for a part of the time.
pub(crate) fn steps(values: &[f64], part: f64) -> impl Iterator<Item = (f64, f64)> {
    let corners =
        move |(index, value): (usize, &f64)| [(index as f64 * part, *value), ((index + 1) as f64 * part, *value)];
    values.iter().enumerate().flat_map(corners)
}
