//! Boxes in images: which of them stay, and what stands in them.

use bb_runtime::{Shape, Tensor};

use super::wide::{numbers, of_numbers};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;
use crate::shape;

pub(super) const OPS: &[Entry] =
    &[op("NonMaxSuppression", 10, non_max_suppression), op("RoiAlign", 10, roi_align)];

/// Samples that a cell may have on an axis.
const MAX_SAMPLES: usize = 256;

/// A box by its corners.
#[derive(Clone, Copy, Debug)]
struct Corners {
    least: [f64; 2],
    most: [f64; 2],
}

impl Corners {
    fn new(of: [f64; 4], centred: bool) -> Self {
        let [a, b, c, d] = of;
        if centred {
            return Self { least: [a - c / 2.0, b - d / 2.0], most: [a + c / 2.0, b + d / 2.0] };
        }
        Self { least: [a.min(c), b.min(d)], most: [a.max(c), b.max(d)] }
    }

    fn area(&self) -> f64 {
        (self.most[0] - self.least[0]) * (self.most[1] - self.least[1])
    }

    /// The area that both have over the area that either has.
    fn overlap(&self, other: &Self) -> f64 {
        let side = |axis: usize| {
            (self.most[axis].min(other.most[axis]) - self.least[axis].max(other.least[axis])).max(0.0)
        };
        let both = side(0) * side(1);
        let either = self.area() + other.area() - both;
        if both > 0.0 && either > 0.0 { both / either } else { 0.0 }
    }
}

/// Takes boxes by falling score, as far as they overlap little enough with those of their class taken before.
fn non_max_suppression(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let centred = node.flag("center_point_box");
    Ok(Kernel::new(move |io| {
        let (boxes, scores) = (io.input(0)?, io.input(1)?);
        let first = |numbers: &[f32]| numbers.first().copied();
        let threshold = |at: usize| -> Outcome<Option<f32>> {
            Ok(io.optional(at).map(Tensor::as_slice::<f32>).transpose()?.and_then(first))
        };
        let limit = io.optional_ints(2)?.and_then(|limit| limit.first().copied()).unwrap_or(0);
        let limit = usize::try_from(limit).unwrap_or(0);
        let (overlap, least) = (f64::from(threshold(3)?.unwrap_or(0.0)), threshold(4)?);
        let (&[batches, count, 4], &[score_batches, classes, score_count]) =
            (&**boxes.shape(), &**scores.shape())
        else {
            return Err(Fault::shape(
                "boxes of shape [batch, boxes, 4] and scores of [batch, classes, boxes] are expected",
            ));
        };
        if (batches, count) != (score_batches, score_count) {
            return Err(Fault::shape("boxes and scores differ in batch or count"));
        }
        let (boxes, scores) = (boxes.as_slice::<f32>()?, scores.as_slice::<f32>()?);
        let mut selected: Vec<i64> = Vec::new();
        io.reserve(count, 2 * size_of::<usize>() + size_of::<Corners>())?;
        io.charge([batches, classes, count, 2 * (count.checked_ilog2().unwrap_or(0) as usize + 1)])?;
        for (line, scores) in scores.chunks_exact(count.max(1)).enumerate().take(batches * classes) {
            let (batch, class) = (line / classes, line % classes);
            let corners = |at: usize| {
                let from = &boxes[(batch * count + at) * 4..][..4];
                Corners::new([from[0], from[1], from[2], from[3]].map(f64::from), centred)
            };
            let mut order: Vec<usize> =
                (0..count).filter(|&at| least.is_none_or(|least| scores[at] > least)).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let mut taken: Vec<Corners> = Vec::new();
            for at in order {
                if taken.len() >= limit {
                    break;
                }
                let own = corners(at);
                io.charge([taken.len(), 4])?;
                if taken.iter().all(|other| own.overlap(other) <= overlap) {
                    taken.push(own);
                    io.reserve(3, size_of::<i64>())?;
                    selected.extend([batch as i64, class as i64, at as i64]);
                }
            }
        }
        io.emit_slice(0, &Shape::from([selected.len() / 3, 3]), &selected)
    }))
}

/// Where a sample lies: four pixels and their weights; `None` outside.
fn corners_of(y: f64, x: f64, (height, width): (usize, usize)) -> Option<[(usize, f64); 4]> {
    if y < -1.0 || y > height as f64 || x < -1.0 || x > width as f64 || height == 0 || width == 0 {
        return None;
    }
    let along = |at: f64, extent: usize| {
        let at = at.max(0.0);
        let low = (at as usize).min(extent - 1);
        let high = (low + 1).min(extent - 1);
        (low, high, if low == high { 0.0 } else { at - low as f64 })
    };
    let ((y0, y1, dy), (x0, x1, dx)) = (along(y, height), along(x, width));
    Some([
        (y0 * width + x0, (1.0 - dy) * (1.0 - dx)),
        (y0 * width + x1, (1.0 - dy) * dx),
        (y1 * width + x0, dy * (1.0 - dx)),
        (y1 * width + x1, dy * dx),
    ])
}

/// The mean or the maximum of samples in each cell of each region (He et al., *Mask R-CNN*, 2017).
fn roi_align(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let default = if node.opset >= 16 { "half_pixel" } else { "output_half_pixel" };
    let half = match node.string_or("coordinate_transformation_mode", default)? {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => return Err(Fault::attribute("coordinate_transformation_mode", format!("is `{other}`"))),
    };
    let takes_most = match node.string_or("mode", "avg")? {
        "avg" => false,
        "max" => true,
        other => return Err(Fault::attribute("mode", format!("is `{other}`"))),
    };
    let (rows, columns) =
        (shape::extent(node.int_or("output_height", 1))?, shape::extent(node.int_or("output_width", 1))?);
    let ratio = shape::extent(node.int_or("sampling_ratio", 0))?;
    if ratio > MAX_SAMPLES {
        return Err(Fault::attribute(
            "sampling_ratio",
            format!("is {ratio}; at most {MAX_SAMPLES} are taken"),
        ));
    }
    let scale = f64::from(node.float_or("spatial_scale", 1.0));
    Ok(Kernel::new(move |io| {
        let (input, regions, batches) = (io.input(0)?, io.input(1)?, io.ints(2)?);
        let (&[batch, channels, height, width], &[count, 4]) = (&**input.shape(), &**regions.shape()) else {
            return Err(Fault::shape("an image of rank 4 and regions of shape [count, 4] are expected"));
        };
        if batches.len() != count || batches.iter().any(|at| !(0..batch as i64).contains(at)) {
            return Err(Fault::shape("each region needs the index of its image"));
        }
        let extents = Shape::from([count, channels, rows, columns]);
        let cells = shape::count(&extents)?;
        io.reserve(cells, size_of::<f64>())?;
        let (pixels, corners) = (numbers(io, input)?, numbers(io, regions)?);
        let mut all = vec![0.0; cells];
        let shift = if half { 0.5 } else { 0.0 };
        for region in 0..if cells == 0 { 0 } else { count } {
            let at = |side: usize| corners[region * 4 + side] * scale - shift;
            let least = if half { f64::NEG_INFINITY } else { 1.0 };
            let (wide, high) = ((at(2) - at(0)).max(least), (at(3) - at(1)).max(least));
            let (cell_high, cell_wide) = (high / rows as f64, wide / columns as f64);
            let samples = |cell: f64| {
                if ratio > 0 { ratio } else { cell.ceil().clamp(0.0, MAX_SAMPLES as f64) as usize }
            };
            let (down, across) = (samples(cell_high), samples(cell_wide));
            io.charge([rows, columns, channels, down.saturating_mul(across).saturating_add(1), 16])?;
            let size = height * width;
            for cell in 0..rows * columns {
                let (row, column) = (cell / columns, cell % columns);
                for channel in 0..channels {
                    let plane = &pixels[(batches[region] as usize * channels + channel) * size..][..size];
                    let mut sum = if takes_most { f64::NEG_INFINITY } else { 0.0 };
                    for sample in 0..down * across {
                        let (dy, dx) = ((sample / across) as f64 + 0.5, (sample % across) as f64 + 0.5);
                        let y = at(1) + row as f64 * cell_high + dy * cell_high / down as f64;
                        let x = at(0) + column as f64 * cell_wide + dx * cell_wide / across as f64;
                        let met = corners_of(y, x, (height, width));
                        let parts = met
                            .unwrap_or([(0, 0.0); 4])
                            .map(|(at, weight)| weight * plane.get(at).copied().unwrap_or(0.0));
                        if takes_most {
                            sum = parts.into_iter().fold(sum, f64::max);
                        } else {
                            sum += parts.iter().sum::<f64>();
                        }
                    }
                    let result = match (takes_most, down * across) {
                        (true, 0) => 0.0,
                        (true, _) => sum,
                        (false, samples) => sum / samples.max(1) as f64,
                    };
                    all[(region * channels + channel) * rows * columns + cell] = result;
                }
            }
        }
        let result = of_numbers(io, input.dtype(), &extents, &all)?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}
