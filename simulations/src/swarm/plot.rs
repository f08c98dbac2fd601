//! Charts as SVG.

use plotters::{
    coord::Shift,
    prelude::*,
    style::{RGBColor, text_anchor},
};

use super::report::{Chart, Form, Limit};

/// Points of a picture, across and down.
const SIZE: (u32, u32) = (880, 520);
/// Room at the edges.
const MARGIN: u32 = 18;
/// The lines, in order: told apart by those who see no red or green as well.
const COLOURS: [RGBColor; 4] = [
    RGBColor(0, 90, 181),
    RGBColor(220, 110, 20),
    RGBColor(20, 130, 90),
    RGBColor(130, 60, 150),
];
/// What limits are drawn in.
const LIMIT: RGBColor = RGBColor(190, 20, 60);
/// Room above the highest point, as a factor.
const HEADROOM: f64 = 1.08;

/// Why a chart could not be drawn.
pub type DrawError = DrawingAreaErrorKind<std::io::Error>;

/// Draws a chart.
///
/// # Errors
/// When the library cannot lay it out.
pub fn draw(chart: &Chart) -> Result<String, DrawError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        match &chart.form {
            Form::Lines(lines) => draw_lines(&area, chart, lines)?,
            Form::Bars(bars) => draw_bars(&area, chart, bars)?,
        }
        area.present()?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw_lines(
    area: &Area<'_>,
    chart: &Chart,
    lines: &[(String, Vec<(f64, f64)>)],
) -> Result<(), DrawError> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let (upright, level): (Vec<&Limit>, Vec<&Limit>) =
        chart.limits.iter().partition(|limit| limit.upright);
    let right = highest(points().map(|(x, _)| *x), &upright);
    let top = highest(points().map(|(_, y)| *y), &level);
    let mut plot = ChartBuilder::on(area)
        .caption(&chart.title, ("sans-serif", 22))
        .margin(MARGIN)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..right, 0.0..top)?;
    plot.configure_mesh()
        .x_desc(chart.x)
        .y_desc(chart.y)
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 16))
        .light_line_style(WHITE)
        .draw()?;
    for ((name, points), colour) in lines.iter().zip(COLOURS.into_iter().cycle()) {
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        plot.draw_series(line)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(3)));
    }
    for limit in &chart.limits {
        let ends = if limit.upright {
            [(limit.at, 0.0), (limit.at, top)]
        } else {
            [(0.0, limit.at), (right, limit.at)]
        };
        let line = DashedLineSeries::new(ends, 6, 4, LIMIT.stroke_width(2));
        plot.draw_series(line)?
            .label(format!("{}: {}", limit.name, number(limit.at)))
            .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], LIMIT.stroke_width(2)));
    }
    plot.configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(160, 160, 160))
        .label_font(("sans-serif", 15))
        .draw()
}

fn draw_bars(area: &Area<'_>, chart: &Chart, bars: &[(String, f64)]) -> Result<(), DrawError> {
    let level: Vec<&Limit> = chart.limits.iter().filter(|limit| !limit.upright).collect();
    let top = highest(bars.iter().map(|(_, height)| *height), &level);
    let right = bars.len() as f64;
    let mut plot = ChartBuilder::on(area)
        .caption(&chart.title, ("sans-serif", 22))
        .margin(MARGIN)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..right, 0.0..top)?;
    plot.configure_mesh()
        .disable_x_axis()
        .disable_x_mesh()
        .y_desc(chart.y)
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 16))
        .light_line_style(WHITE)
        .draw()?;
    let centred = TextStyle::from(("sans-serif", 17)).pos(text_anchor::Pos::new(
        text_anchor::HPos::Center,
        text_anchor::VPos::Bottom,
    ));
    let places = (0u32..).map(f64::from);
    for (((name, height), left), colour) in bars.iter().zip(places).zip(COLOURS) {
        let corners = [(left + 0.25, 0.0), (left + 0.75, *height)];
        plot.draw_series([Rectangle::new(corners, colour.filled())])?;
        let says = format!("{name}: {}", number(*height));
        let text = Text::new(says, (left + 0.5, height + top * 0.01), centred.clone());
        plot.draw_series([text])?;
    }
    for limit in level {
        let ends = [(0.0, limit.at), (right, limit.at)];
        plot.draw_series(DashedLineSeries::new(ends, 6, 4, LIMIT.stroke_width(2)))?;
        let says = format!("{}: {}", limit.name, number(limit.at));
        let at = (right * 0.02, limit.at + top * 0.01);
        let style = TextStyle::from(("sans-serif", 15)).color(&LIMIT);
        let style = style.pos(text_anchor::Pos::new(
            text_anchor::HPos::Left,
            text_anchor::VPos::Bottom,
        ));
        plot.draw_series([Text::new(says, at, style)])?;
    }
    Ok(())
}

fn highest(values: impl Iterator<Item = f64>, limits: &[&Limit]) -> f64 {
    let limits = limits.iter().map(|limit| limit.at);
    let most = values.chain(limits).fold(0.0, f64::max);
    if most > 0.0 { most * HEADROOM } else { 1.0 }
}

/// A number as a person would write it: two places at most.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
