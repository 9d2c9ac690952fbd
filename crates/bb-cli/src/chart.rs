//! Accuracy and loss by round, as an SVG drawing.

use std::path::Path;

use plotters::prelude::*;
use thiserror::Error;

use crate::report::RoundReport;

const SIZE: (u32, u32) = (720, 420);
const ACCURACY: RGBColor = RGBColor(0x1b, 0x6c, 0xa8);
const LOSS: RGBColor = RGBColor(0xc2, 0x4d, 0x2c);
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// The drawing could not be made or written.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct ChartError(String);

/// Draws accuracy (left axis, 0 to 1) and loss (right axis) by round.
pub(crate) fn draw(path: &Path, title: &str, rounds: &[RoundReport]) -> Result<(), ChartError> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    let last = rounds.len().max(2) as f64;
    let most = rounds.iter().map(|round| round.loss).filter(|loss| loss.is_finite()).fold(0.0, f64::max);
    let font = |size: u32| ("sans-serif", size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, font(17))
        .margin(14)
        .x_label_area_size(42)
        .y_label_area_size(56)
        .right_y_label_area_size(56)
        .build_cartesian_2d(1.0..last, 0.0..1.0)
        .map_err(failed)?
        .set_secondary_coord(1.0..last, 0.0..(most * 1.05).max(0.1));
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .x_desc("round")
        .y_desc("accuracy")
        .x_labels(last.min(10.0) as usize)
        .x_label_formatter(&|round| format!("{round:.0}"))
        .y_label_formatter(&|accuracy| format!("{accuracy:.1}"))
        .label_style(font(13))
        .axis_desc_style(font(14))
        .draw()
        .map_err(failed)?;
    chart
        .configure_secondary_axes()
        .axis_style(INK)
        .y_desc("loss")
        .y_label_formatter(&|loss| format!("{loss:.1}"))
        .label_style(font(13))
        .axis_desc_style(font(14))
        .draw()
        .map_err(failed)?;
    let points = |value: fn(&RoundReport) -> f64| {
        rounds.iter().map(move |round| (f64::from(round.round), value(round))).filter(|(_, y)| y.is_finite())
    };
    chart
        .draw_secondary_series(LineSeries::new(points(|round| round.loss), LOSS.stroke_width(2)))
        .map_err(failed)?
        .label("loss on the test rows")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], LOSS.stroke_width(2)));
    chart
        .draw_series(LineSeries::new(points(|round| round.accuracy), ACCURACY.stroke_width(2)))
        .map_err(failed)?
        .label("accuracy on the test rows")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], ACCURACY.stroke_width(2)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(font(13))
        .draw()
        .map_err(failed)?;
    area.present().map_err(failed)
}

fn failed(error: impl std::error::Error) -> ChartError {
    ChartError(error.to_string())
}
