//! What the model says, to look at: sizes from left to right by powers of ten.

use plotters::{
    coord::{combinators::LogCoord, ranged1d::ValueFormatter},
    prelude::*,
    style::RGBColor,
};

use super::{Calibration, Outlook};

/// Points of a picture, across and down.
const SIZE: (u32, u32) = (880, 520);
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
const HEADROOM: f64 = 1.25;

/// Why a chart could not be drawn.
pub type DrawError = DrawingAreaErrorKind<std::io::Error>;

/// A picture: its file's name without an ending, and its SVG.
pub type Picture = (&'static str, String);

struct Chart<'a> {
    title: &'a str,
    y: &'a str,
    lines: Vec<(&'a str, Vec<(f64, f64)>)>,
    /// A level that is not to be exceeded, and what it is.
    limit: Option<(&'a str, f64)>,
    /// Where the powers of ten of the upward axis begin; without it, it is even.
    powers_from: Option<f64>,
}

/// Draws hops, bytes and the time to spread over the sizes of `all`.
///
/// # Errors
/// When the library cannot lay one out.
pub fn pictures(all: &[Outlook], given: &Calibration) -> Result<Vec<Picture>, DrawError> {
    let line = |value: &dyn Fn(&Outlook) -> f64| -> Vec<(f64, f64)> {
        all.iter()
            .map(|of| (f64::from(of.nodes), value(of)))
            .collect()
    };
    let hops = Chart {
        title: "A lookup in the DHT",
        y: "hops, requests",
        lines: vec![
            ("hops until the closest is known", line(&|of| of.hops)),
            ("hops, 99 of 100 lookups", line(&|of| of.hops_p99)),
            ("requests / 10", line(&|of| of.messages / 10.0)),
        ],
        limit: None,
        powers_from: None,
    };
    let bytes = Chart {
        title: "What being part of the mesh costs a node",
        y: "bytes received a second",
        lines: vec![
            ("knows every other node", line(&|of| of.full.bytes_per_s)),
            ("of these, adverts", line(&|of| of.full.adverts_bytes_per_s)),
            ("zones of 2,000 and keys", line(&|of| of.zones.bytes_per_s)),
        ],
        limit: Some(("1 Mbit/s", given.budget.bytes_per_s)),
        powers_from: Some(10.0),
    };
    let time = Chart {
        title: "An advert on its way to everybody",
        y: "seconds",
        lines: vec![
            ("half of the nodes", line(&|of| of.spread_p50_s)),
            ("99 of 100", line(&|of| of.spread_p99_s)),
            ("all", line(&|of| of.spread_all_s)),
        ],
        limit: None,
        powers_from: None,
    };
    [("hops", hops), ("bytes", bytes), ("spread", time)]
        .into_iter()
        .map(|(file, chart)| Ok((file, draw(&chart)?)))
        .collect()
}

fn draw(chart: &Chart<'_>) -> Result<String, DrawError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let points = || chart.lines.iter().flat_map(|(_, points)| points);
        let left = points().map(|(x, _)| *x).fold(f64::MAX, f64::min);
        let right = points().map(|(x, _)| *x).fold(left * 10.0, f64::max);
        let limit = chart.limit.map_or(0.0, |(_, at)| at);
        let top = points().map(|(_, y)| *y).fold(limit, f64::max) * HEADROOM;
        let across = (left..right).log_scale();
        let mut builder = ChartBuilder::on(&area);
        builder
            .caption(chart.title, ("sans-serif", 22))
            .margin(18)
            .x_label_area_size(48)
            .y_label_area_size(76);
        match chart.powers_from {
            Some(from) => fill(
                chart,
                &mut builder.build_cartesian_2d(across, (from..top).log_scale())?,
                (left, right),
            )?,
            None => fill(
                chart,
                &mut builder.build_cartesian_2d(across, 0.0..top)?,
                (left, right),
            )?,
        }
        area.present()?;
    }
    Ok(svg)
}

type Plot<'a, 'b, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<LogCoord<f64>, Y>>;

fn fill<'a, 'b: 'a, Y>(
    chart: &Chart<'_>,
    plot: &mut Plot<'a, 'b, Y>,
    (left, right): (f64, f64),
) -> Result<(), DrawError>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    plot.configure_mesh()
        .x_desc("nodes")
        .y_desc(chart.y)
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| short(*y))
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 16))
        .light_line_style(WHITE)
        .draw()?;
    for ((name, points), colour) in chart.lines.iter().zip(COLOURS) {
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        plot.draw_series(line)?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(3)));
    }
    if let Some((name, at)) = chart.limit {
        let line = DashedLineSeries::new([(left, at), (right, at)], 6, 4, LIMIT.stroke_width(2));
        plot.draw_series(line)?
            .label(name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], LIMIT.stroke_width(2)));
    }
    plot.configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(160, 160, 160))
        .label_font(("sans-serif", 15))
        .draw()
}

/// A number as a person would write it on an axis.
fn short(value: f64) -> String {
    let (divided, unit) = match value.abs() {
        least if least >= 1e6 => (value / 1e6, " M"),
        least if least >= 1e3 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let text = format!("{divided:.1}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}
