//! The vocabulary rules are written in: arithmetic on values, shapes, broadcasting and its inverse.
//!
//! Every helper emits the form of the op that the graph's operator set has, and nothing where the answer
//! is known: a product with one, a sum over no axes, a reshape to the same shape.

use bb_ir::onnx::AttributeProto;
use bb_ir::{DataType, Dim};

use crate::AutodiffError;
use crate::attributes::{i64_tensor, int, ints, small_tensor, tensor};
use crate::builder::{Builder, Val};
use crate::facts::{Fact, broadcast_dims, same_dim};

/// From it on, axes of reductions and of `Squeeze` and `Unsqueeze` are inputs (`ReduceSum` and these two).
const AXES_AS_INPUT: i64 = 13;

impl Builder {
    /// The one output of a node.
    pub(crate) fn op(&mut self, op: &str, inputs: &[Val], attributes: Vec<AttributeProto>) -> Val {
        let inputs: Vec<Option<Val>> = inputs.iter().copied().map(Some).collect();
        self.emit(op, &inputs, attributes, 1)[0]
    }

    pub(crate) fn add(&mut self, a: Val, b: Val) -> Val {
        self.op("Add", &[a, b], vec![])
    }

    pub(crate) fn sub(&mut self, a: Val, b: Val) -> Val {
        self.op("Sub", &[a, b], vec![])
    }

    /// `a · b`; the other factor where one is the number 1 and does not widen the product.
    pub(crate) fn mul(&mut self, a: Val, b: Val) -> Val {
        if self.is_neutral(a, 1.0, b) {
            b
        } else if self.is_neutral(b, 1.0, a) {
            a
        } else {
            self.op("Mul", &[a, b], vec![])
        }
    }

    pub(crate) fn div(&mut self, a: Val, b: Val) -> Val {
        if self.is_neutral(b, 1.0, a) { a } else { self.op("Div", &[a, b], vec![]) }
    }

    pub(crate) fn neg(&mut self, a: Val) -> Val {
        self.op("Neg", &[a], vec![])
    }

    /// `a · number`.
    pub(crate) fn scale(&mut self, a: Val, number: f64) -> Result<Val, AutodiffError> {
        if number == 1.0 {
            return Ok(a);
        }
        let factor = self.scalar_like(a, number)?;
        Ok(self.mul(a, factor))
    }

    /// Whether `a` is everywhere `number` and broadcasting it with `b` gives `b`'s shape.
    fn is_neutral(&self, a: Val, number: f64, b: Val) -> bool {
        if self.fact(a).uniform != Some(number) {
            return false;
        }
        let (Some(narrow), wide) = (&self.fact(a).shape, &self.fact(b).shape) else { return false };
        let Some(wide) = wide else { return narrow.is_empty() };
        let offset = wide.len().checked_sub(narrow.len());
        offset.is_some_and(|offset| {
            narrow.iter().zip(&wide[offset..]).all(|(a, b)| *a == Dim::Known(1) || same_dim(a, b))
        })
    }

    /// A list of integers.
    pub(crate) fn list(&mut self, values: &[i64]) -> Val {
        self.op("Constant", &[], vec![tensor("value", i64_tensor(values))])
    }

    /// A number of rank 0 and type `dtype`.
    pub(crate) fn scalar(&mut self, dtype: DataType, number: f64) -> Val {
        self.filled(dtype, &[], &[number])
    }

    /// A number of rank 0 and of the element type of `like`.
    pub(crate) fn scalar_like(&mut self, like: Val, number: f64) -> Result<Val, AutodiffError> {
        let dtype = self.dtype(like)?;
        Ok(self.scalar(dtype, number))
    }

    /// A small constant.
    pub(crate) fn filled(&mut self, dtype: DataType, dims: &[i64], values: &[f64]) -> Val {
        if let Some(value) = small_tensor(dtype, dims, values) {
            return self.op("Constant", &[], vec![tensor("value", value)]);
        }
        let wide = small_tensor(DataType::F32, dims, values).unwrap_or_default();
        let wide = self.op("Constant", &[], vec![tensor("value", wide)]);
        self.cast(wide, dtype)
    }

    /// `a` as elements of type `dtype`.
    pub(crate) fn cast(&mut self, a: Val, dtype: DataType) -> Val {
        if self.fact(a).dtype == Some(dtype) {
            return a;
        }
        self.op("Cast", &[a], vec![int("to", i64::from(dtype.to_onnx()))])
    }

    /// The element type of a value.
    pub(crate) fn dtype(&self, val: Val) -> Result<DataType, AutodiffError> {
        self.fact(val).dtype.ok_or_else(|| self.undetermined(val, "element type"))
    }

    /// The rank of a value.
    pub(crate) fn rank(&self, val: Val) -> Result<usize, AutodiffError> {
        self.fact(val).rank().ok_or_else(|| self.undetermined(val, "rank"))
    }

    /// The error that something must be known of `val`; the node is filled in by the rule's caller.
    pub(crate) fn undetermined(&self, val: Val, what: &'static str) -> AutodiffError {
        let value = self.name(val).to_owned();
        AutodiffError::Undetermined { node: String::new(), op: String::new(), value, what }
    }

    /// The extents of a value: a constant where they are known.
    pub(crate) fn shape(&mut self, val: Val) -> Val {
        match self.fact(val).extents() {
            Some(extents) => {
                let extents: Vec<i64> = extents.iter().map(|&extent| extent as i64).collect();
                self.list(&extents)
            }
            None => self.op("Shape", &[val], vec![]),
        }
    }

    /// The extent of one axis (which may count from the end) of a value, as a list of one.
    pub(crate) fn extent(&mut self, val: Val, axis: i64) -> Val {
        let known = self.fact(val).shape.as_ref().and_then(|dims| {
            let axis = crate::facts::axis_within(axis, dims.len())?;
            if let Dim::Known(extent) = dims[axis] { Some(extent as i64) } else { None }
        });
        match known {
            Some(extent) => self.list(&[extent]),
            None => {
                let shape = self.shape(val);
                let index = self.list(&[axis]);
                self.op("Gather", &[shape, index], vec![int("axis", 0)])
            }
        }
    }

    /// The extent of one axis of a value, as an `i64` of rank 0.
    pub(crate) fn extent_number(&mut self, val: Val, axis: i64) -> Val {
        let extent = self.extent(val, axis);
        match self.fact(extent).integers().as_deref() {
            Some([known]) => self.scalar(DataType::I64, *known as f64),
            _ => self.squeeze(extent, &[0]),
        }
    }

    /// How many elements `val` has, as a number of type `dtype`.
    pub(crate) fn size(&mut self, val: Val, dtype: DataType) -> Val {
        match self.fact(val).element_count() {
            Some(count) => self.scalar(dtype, count as f64),
            None => {
                let size = self.op("Size", &[val], vec![]);
                self.cast(size, dtype)
            }
        }
    }

    /// Whether both values certainly have the same shape.
    pub(crate) fn same_shape(&self, a: Val, b: Val) -> bool {
        if a == b {
            return true;
        }
        let (Some(a), Some(b)) = (&self.fact(a).shape, &self.fact(b).shape) else { return false };
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_dim(a, b))
    }

    /// Whether `val` certainly has no elements, so that no gradient is to be computed of it.
    pub(crate) fn is_empty(&self, val: Val) -> bool {
        self.fact(val).shape.as_ref().is_some_and(|dims| dims.contains(&Dim::Known(0)))
    }

    /// Whether `wide` certainly has the shape that it and `narrow` broadcast to.
    pub(crate) fn covers(&self, wide: Val, narrow: Val) -> bool {
        let (Some(wide), Some(narrow)) = (&self.fact(wide).shape, &self.fact(narrow).shape) else {
            return false;
        };
        let both = broadcast_dims(wide, narrow);
        both.len() == wide.len() && both.iter().zip(wide).all(|(a, b)| same_dim(a, b))
    }

    /// The elements of `a` in the shape of `like`, which has as many.
    pub(crate) fn reshape_like(&mut self, a: Val, like: Val) -> Val {
        if self.same_shape(a, like) {
            return a;
        }
        let Some(dims) = self.fact(like).shape.clone() else {
            let shape = self.shape(like);
            return self.reshape_to(a, shape);
        };
        let free = dims.iter().filter(|dim| !matches!(dim, Dim::Known(_))).count();
        if free > 1 || dims.contains(&Dim::Known(0)) {
            let shape = self.shape(like);
            return self.reshape_to(a, shape);
        }
        let extents: Vec<i64> =
            dims.iter().map(|dim| if let Dim::Known(extent) = dim { *extent as i64 } else { -1 }).collect();
        let shape = self.list(&extents);
        let reshaped = self.reshape(a, shape);
        self.refine(reshaped, &dims);
        reshaped
    }

    /// The elements of `a` in the shape that `shape` lists, in which zero is an extent.
    pub(crate) fn reshape_to(&mut self, a: Val, shape: Val) -> Val {
        let has_elements = self.fact(shape).integers().is_some_and(|extents| !extents.contains(&0));
        if has_elements || self.opset() < 14 {
            return self.reshape(a, shape);
        }
        self.op("Reshape", &[a, shape], vec![int("allowzero", 1)])
    }

    /// The elements of `a` in the shape that `shape` lists, in which zero is the extent of `a`'s own axis.
    pub(crate) fn reshape(&mut self, a: Val, shape: Val) -> Val {
        self.op("Reshape", &[a, shape], vec![])
    }

    /// Notes that `val` has these extents where less is known.
    pub(crate) fn refine(&mut self, val: Val, dims: &[Dim]) {
        let dtype = self.fact(val).dtype;
        let declared = Fact::new(dtype, Some(dims.to_vec()));
        self.learn(val, &declared);
    }

    /// `a` with axes of extent 1 at `axes` (ascending, from the front) of the result.
    pub(crate) fn unsqueeze(&mut self, a: Val, axes: &[i64]) -> Val {
        self.with_axes("Unsqueeze", a, axes, vec![])
    }

    /// `a` without its `axes`, which have extent 1.
    pub(crate) fn squeeze(&mut self, a: Val, axes: &[i64]) -> Val {
        self.with_axes("Squeeze", a, axes, vec![])
    }

    /// The sum of `a` over `axes`.
    pub(crate) fn reduce_sum(&mut self, a: Val, axes: &[i64], keep: bool) -> Val {
        if axes.is_empty() {
            return a;
        }
        self.with_axes("ReduceSum", a, axes, vec![int("keepdims", i64::from(keep))])
    }

    /// The sum of all elements of `a`: rank 0.
    pub(crate) fn reduce_sum_all(&mut self, a: Val) -> Val {
        if self.fact(a).rank() == Some(0) {
            return a;
        }
        self.op("ReduceSum", &[a], vec![int("keepdims", 0)])
    }

    fn with_axes(&mut self, op: &str, a: Val, axes: &[i64], mut attributes: Vec<AttributeProto>) -> Val {
        if axes.is_empty() {
            return a;
        }
        if self.opset() >= AXES_AS_INPUT {
            let axes = self.list(axes);
            self.op(op, &[a, axes], attributes)
        } else {
            attributes.push(ints("axes", axes));
            self.op(op, &[a], attributes)
        }
    }

    /// `a` with its axes in the order `perm`.
    pub(crate) fn transpose(&mut self, a: Val, perm: &[usize]) -> Val {
        if perm.iter().enumerate().all(|(axis, &from)| axis == from) {
            return a;
        }
        let perm: Vec<i64> = perm.iter().map(|&axis| axis as i64).collect();
        self.op("Transpose", &[a], vec![ints("perm", &perm)])
    }

    /// `a` with its last two axes exchanged; it has at least two.
    pub(crate) fn transpose_last(&mut self, a: Val) -> Result<Val, AutodiffError> {
        let rank = self.rank(a)?;
        if rank < 2 {
            return Err(self.undetermined(a, "rank of two or more"));
        }
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 1, rank - 2);
        Ok(self.transpose(a, &perm))
    }

    /// The places `start` to `end` (which may count from the end) of one axis of `a`.
    pub(crate) fn slice(&mut self, a: Val, axis: i64, start: i64, end: i64) -> Val {
        if self.opset() < 10 {
            let attributes = vec![ints("axes", &[axis]), ints("starts", &[start]), ints("ends", &[end])];
            return self.op("Slice", &[a], attributes);
        }
        let bounds = [start, end, axis].map(|number| self.list(&[number]));
        self.op("Slice", &[a, bounds[0], bounds[1], bounds[2]], vec![])
    }

    /// `a` with zeros around it, those at the front of all axes first; negative numbers take places away.
    pub(crate) fn pad(&mut self, a: Val, pads: &[i64]) -> Val {
        if self.opset() < 11 {
            return self.op("Pad", &[a], vec![ints("pads", pads)]);
        }
        let pads = self.list(pads);
        self.op("Pad", &[a, pads], vec![])
    }

    /// The parts of `a` along an axis, of these extents.
    pub(crate) fn split(&mut self, a: Val, axis: i64, extents: &[i64]) -> Vec<Val> {
        if extents.len() == 1 {
            return vec![a];
        }
        let attribute = int("axis", axis);
        if self.opset() < AXES_AS_INPUT {
            return self.emit("Split", &[Some(a)], vec![attribute, ints("split", extents)], extents.len());
        }
        let list = self.list(extents);
        self.emit("Split", &[Some(a), Some(list)], vec![attribute], extents.len())
    }

    /// The product of two matrices, either of them transposed or not.
    pub(crate) fn gemm(
        &mut self,
        a: Val,
        b: Val,
        trans_a: bool,
        trans_b: bool,
    ) -> Result<Val, AutodiffError> {
        if !trans_a && !trans_b {
            return Ok(self.op("MatMul", &[a, b], vec![]));
        }
        let mut inputs = vec![a, b];
        let mut attributes = vec![int("transA", i64::from(trans_a)), int("transB", i64::from(trans_b))];
        if self.opset() < 11 {
            inputs.push(self.scalar_like(a, 0.0)?);
            attributes.push(crate::attributes::float("beta", 0.0));
        }
        Ok(self.op("Gemm", &inputs, attributes))
    }

    /// `a` broadcast to the shape of `like`.
    pub(crate) fn expand_like(&mut self, a: Val, like: Val) -> Val {
        if self.same_shape(a, like) {
            return a;
        }
        let shape = self.shape(like);
        let expanded = self.op("Expand", &[a, shape], vec![]);
        if let Some(dims) = self.fact(like).shape.clone() {
            self.refine(expanded, &dims);
        }
        expanded
    }

    /// The number `number` in the shape and of the type of `like`.
    pub(crate) fn full_like(&mut self, like: Val, number: f64) -> Result<Val, AutodiffError> {
        let dtype = self.dtype(like)?;
        if self.fact(like).rank() == Some(0) {
            return Ok(self.scalar(dtype, number));
        }
        let shape = self.shape(like);
        let full = match small_tensor(dtype, &[1], &[number]) {
            Some(value) => self.op("ConstantOfShape", &[shape], vec![tensor("value", value)]),
            None => {
                let value = self.scalar(dtype, number);
                self.op("Expand", &[value, shape], vec![])
            }
        };
        if let Some(dims) = self.fact(like).shape.clone() {
            self.refine(full, &dims);
        }
        Ok(full)
    }

    /// The sum of `wide` over the axes along which `like` was broadcast to get `wide`'s shape.
    pub(crate) fn unbroadcast(&mut self, wide: Val, like: Val) -> Result<Val, AutodiffError> {
        if self.same_shape(wide, like) {
            return Ok(wide);
        }
        let (from, to) = (self.fact(wide).shape.clone(), self.fact(like).shape.clone());
        if to.as_ref().is_some_and(Vec::is_empty) {
            return Ok(self.reduce_sum_all(wide));
        }
        let (Some(from), Some(to)) = (from, to) else { return self.unbroadcast_unknown(wide, like) };
        let Some(offset) = from.len().checked_sub(to.len()) else { return Ok(self.reshape_like(wide, like)) };
        let mut summed: Vec<i64> = (0..offset as i64).collect();
        for (axis, (wide_dim, dim)) in from[offset..].iter().zip(&to).enumerate() {
            match (wide_dim, dim) {
                (Dim::Known(1), _) => {}
                (_, Dim::Known(1)) => summed.push((offset + axis) as i64),
                (_, Dim::Known(_)) => {}
                (a, b) if same_dim(a, b) => {}
                _ => return self.unbroadcast_unknown(wide, like),
            }
        }
        let kept = summed.len() > offset;
        let narrow = self.reduce_sum(wide, &summed, kept);
        Ok(if kept && offset > 0 { self.reshape_like(narrow, like) } else { narrow })
    }

    /// [`Builder::unbroadcast`] where only the running graph knows the axes: those whose extents differ.
    fn unbroadcast_unknown(&mut self, wide: Val, like: Val) -> Result<Val, AutodiffError> {
        if self.opset() < AXES_AS_INPUT {
            return Err(self.undetermined(like, "shape (before operator set 13)"));
        }
        let from = self.op("Shape", &[wide], vec![]);
        let to = self.op("Shape", &[like], vec![]);
        let ranks = [from, to].map(|shape| self.op("Shape", &[shape], vec![]));
        let missing = self.sub(ranks[0], ranks[1]);
        let one = tensor("value", i64_tensor(&[1]));
        let ones = self.op("ConstantOfShape", &[missing], vec![one]);
        let padded = self.op("Concat", &[ones, to], vec![int("axis", 0)]);
        let equal = self.op("Equal", &[from, padded], vec![]);
        let differs = self.op("Not", &[equal], vec![]);
        let differs = self.cast(differs, DataType::I64);
        let axes = self.op("NonZero", &[differs], vec![]);
        let flat = self.list(&[-1]);
        let axes = self.reshape(axes, flat);
        let attributes = vec![int("keepdims", 1), int("noop_with_empty_axes", 1)];
        let narrow = self.op("ReduceSum", &[wide, axes], attributes);
        let narrow = self.reshape_to(narrow, to);
        if let Some(dims) = self.fact(like).shape.clone() {
            self.refine(narrow, &dims);
        }
        Ok(narrow)
    }
}
