//! Convolutions.
//!
//! A convolution is linear in the image and in the weights; with `g` the gradient of its output, the image's gradient is
//! the transposed convolution of `g` with the weights, and the weights' the convolution of the image with `g`, rows and
//! channels exchanged, strides and dilations exchanged. (Dumoulin & Visin, "A guide to convolution arithmetic for deep
//! learning", 2016, chapter 4.)

use bb_ir::onnx::AttributeProto;

use super::{Rule, Scope};
use crate::AutodiffError;
use crate::attributes::{int, ints};
use crate::builder::Val;
use crate::facts::{Window, is_sensible, kernel, places};

pub(super) const RULES: &[Rule] = &[Rule::all("Conv", convolution), Rule::all("ConvTranspose", transposed)];

/// The known extents of the places of a value.
fn image(s: &Scope<'_>, val: Val) -> Result<Vec<Option<i64>>, AutodiffError> {
    let dims = s.b.fact(val).shape.as_ref().ok_or_else(|| s.b.undetermined(val, "rank"))?;
    Ok(places(dims))
}

/// The extents of the places of a value, all of them known.
fn extents(s: &Scope<'_>, val: Val) -> Result<Vec<i64>, AutodiffError> {
    let image: Option<Vec<i64>> = image(s, val)?.into_iter().collect();
    image.ok_or_else(|| s.b.undetermined(val, "shape, axis 0 aside,"))
}

fn window(s: &Scope<'_>, x: Val, weights: Val) -> Result<Window, AutodiffError> {
    let image = image(s, x)?;
    let dims = s.b.fact(weights).shape.clone();
    let kernel = kernel(s.attributes(), dims.as_deref()).ok_or_else(|| s.b.undetermined(weights, "shape"))?;
    Window::of(s.attributes(), kernel, &image)
        .ok_or_else(|| s.unsupported("pads, strides or dilations do not fit the image, whose extents must be known for automatic padding".to_owned()))
}

fn sliding(window: &Window, group: i64) -> Vec<AttributeProto> {
    vec![
        int("group", group),
        ints("kernel_shape", &window.kernel),
        ints("strides", &window.strides),
        ints("dilations", &window.dilations),
        ints("pads", &window.pads()),
    ]
}

/// `y = x * w + b`.
fn convolution(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, w) = (s.upstream()?, s.input(0)?, s.input(1)?);
    let window = window(s, x, w)?;
    let group = s.attributes().int_or("group", 1);
    if s.wants(0) {
        let mut attributes = sliding(&window, group);
        let (from, to) = (extents(s, g)?, extents(s, x)?);
        if from.len() != window.kernel.len() || to.len() != from.len() {
            return Err(unfit(s));
        }
        let extra: Vec<i64> = (0..from.len())
            .map(|axis| {
                let full = (from[axis] - 1) * window.strides[axis] + window.reach(axis);
                to[axis] - (full - window.before[axis] - window.after[axis])
            })
            .collect();
        if extra.iter().any(|&places| places != 0) {
            attributes.push(ints("output_padding", &extra));
        }
        let gradient = s.b.op("ConvTranspose", &[g, w], attributes);
        s.give(0, gradient);
    }
    if s.wants(1) {
        let gradient = weights_gradient(s, x, g, w, &window, group)?;
        s.give(1, gradient);
    }
    bias(s, g)
}

/// `y = x *ᵀ w + b`: as [`convolution`] with image and output exchanged.
fn transposed(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, w) = (s.upstream()?, s.input(0)?, s.input(1)?);
    if s.b.is_empty(x) {
        return bias(s, g);
    }
    let group = s.attributes().int_or("group", 1);
    let window = transposed_window(s, x, w)?;
    if s.wants(0) {
        let mut gradient = s.b.op("Conv", &[g, w], sliding(&window, group));
        // What the output was padded with beyond a stride makes windows that belong to no element of the image.
        let extra = s.attributes().ints("output_padding").unwrap_or_default();
        let is_wide = extra.iter().zip(&window.strides).any(|(extra, stride)| extra >= stride);
        if (is_wide || s.attributes().has("output_shape")) && !s.b.same_shape(gradient, x) {
            let shape = s.b.shape(x);
            let zeros = s.b.list(&vec![0; window.kernel.len() + 2]);
            gradient = s.b.op("Slice", &[gradient, zeros, shape], vec![]);
        }
        s.give(0, gradient);
    }
    if s.wants(1) {
        let gradient = weights_gradient(s, g, x, w, &window, group)?;
        s.give(1, gradient);
    }
    bias(s, g)
}

/// The window of a transposed convolution, its padding settled.
fn transposed_window(s: &Scope<'_>, x: Val, w: Val) -> Result<Window, AutodiffError> {
    let automatic = s.attributes().text("auto_pad").unwrap_or("NOTSET");
    if !s.attributes().has("output_shape") && !automatic.starts_with("SAME") {
        return window(s, x, w);
    }
    let dims = s.b.fact(w).shape.clone();
    let kernel = kernel(s.attributes(), dims.as_deref()).ok_or_else(|| s.b.undetermined(w, "shape"))?;
    let axes = kernel.len();
    let list = |name: &str, default: i64| {
        s.attributes().ints(name).map_or_else(|| vec![default; axes], <[i64]>::to_vec)
    };
    let (strides, dilations, extra) = (list("strides", 1), list("dilations", 1), list("output_padding", 0));
    let (from, to) = (extents(s, x)?, extents(s, s.output(0)?)?);
    let lists = [&kernel, &strides, &dilations, &extra, &from, &to];
    if lists.iter().any(|list| list.len() != axes || !list.iter().all(is_sensible)) {
        return Err(unfit(s));
    }
    let mut window = Window { kernel, strides, dilations, before: vec![0; axes], after: vec![0; axes] };
    for axis in 0..axes {
        let full = (from[axis] - 1) * window.strides[axis] + window.reach(axis) + extra[axis];
        let total = (full - to[axis]).max(0);
        let front = if automatic == "SAME_UPPER" { total / 2 } else { total - total / 2 };
        window.before[axis] = front;
        window.after[axis] = total - front;
    }
    Ok(window)
}

fn unfit(s: &Scope<'_>) -> AutodiffError {
    s.unsupported("pads, strides or dilations do not fit the image".to_owned())
}

/// The sum of `g` over all but the channels.
fn bias(s: &mut Scope<'_>, g: Val) -> Result<(), AutodiffError> {
    if s.wants(2) {
        let rank = s.b.rank(g)? as i64;
        let axes: Vec<i64> = (0..rank).filter(|&axis| axis != 1).collect();
        let gradient = s.b.reduce_sum(g, &axes, false);
        s.give(2, gradient);
    }
    Ok(())
}

/// The gradient of the weights of a convolution from `image` to `out`, one of the two being a gradient.
///
/// The rows become the channels that are summed over: `image` as `[channels of a group, groups · rows, …]`, `out` as
/// weights `[channels, rows, …]`, in as many groups as before.
fn weights_gradient(
    s: &mut Scope<'_>,
    image: Val,
    out: Val,
    w: Val,
    window: &Window,
    group: i64,
) -> Result<Val, AutodiffError> {
    let axes = window.kernel.len();
    let swap: Vec<usize> = [1, 0].into_iter().chain(2..2 + axes).collect();
    let kernels = s.b.transpose(out, &swap);
    let rows = if group == 1 {
        s.b.transpose(image, &swap)
    } else {
        let places = extents(s, image)?;
        let split: Vec<i64> = [0, group, -1].iter().chain(&places).copied().collect();
        let split = s.b.list(&split);
        let apart = s.b.reshape(image, split);
        let perm: Vec<i64> = [2, 1, 0].into_iter().chain(3..3 + axes as i64).collect();
        let turned = s.b.op("Transpose", &[apart], vec![ints("perm", &perm)]);
        let joined: Vec<i64> = [0, -1].iter().chain(&places).copied().collect();
        let joined = s.b.list(&joined);
        s.b.reshape(turned, joined)
    };
    let attributes = vec![
        int("group", group),
        ints("strides", &window.dilations),
        ints("dilations", &window.strides),
        ints("pads", &window.pads()),
    ];
    let product = s.b.op("Conv", &[rows, kernels], attributes);
    let gradient = s.b.transpose(product, &swap);
    // Places that no window reached leave more than the window's extents behind.
    let exact = extents(s, image).ok().zip(extents(s, out).ok()).is_some_and(|(image, out)| {
        (image.len(), out.len()) == (axes, axes)
            && (0..axes).all(|axis| {
                let reached = (out[axis] - 1) * window.strides[axis] + window.reach(axis);
                let padded = image[axis] + window.before[axis] + window.after[axis];
                padded - reached < window.dilations[axis]
            })
    });
    if exact {
        return Ok(gradient);
    }
    let (starts, ends) = (s.b.list(&vec![0; axes]), s.b.list(&window.kernel));
    let axes: Vec<i64> = (2..2 + axes as i64).collect();
    let axes = s.b.list(&axes);
    let part = s.b.op("Slice", &[gradient, starts, ends, axes], vec![]);
    if let Some(dims) = s.b.fact(w).shape.clone() {
        s.b.refine(part, &dims);
    }
    Ok(part)
}
