//! The ops that are fused, and what their operands are taken for.

use bb_runtime::DataType;
use bb_runtime::onnx::NodeProto;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Abs,
    Add,
    And,
    CastToF32,
    Div,
    Equal,
    Exp,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Log,
    Max,
    Min,
    Mul,
    Neg,
    Not,
    Or,
    Reciprocal,
    Relu,
    Sigmoid,
    Sqrt,
    Sub,
    Tanh,
    Where,
}

/// What an operand is taken for; booleans are 0 and 1 in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    F32,
}

impl Op {
    pub(super) fn of(node: &NodeProto, opset: i64) -> Option<Self> {
        if !node.domain().is_empty() && node.domain() != "ai.onnx" || opset < 8 || node.output.len() != 1 {
            return None;
        }
        Some(match (node.op_type(), node.input.len()) {
            ("Abs", 1) => Self::Abs,
            ("Add" | "Sum", 2) => Self::Add,
            ("And", 2) => Self::And,
            ("Cast", 1) => {
                let to = node.attribute.iter().find(|attribute| attribute.name() == "to")?;
                if to.i() != i64::from(DataType::F32.to_onnx()) {
                    return None;
                }
                Self::CastToF32
            }
            ("Div", 2) => Self::Div,
            ("Equal", 2) => Self::Equal,
            ("Exp", 1) => Self::Exp,
            ("Greater", 2) => Self::Greater,
            ("GreaterOrEqual", 2) => Self::GreaterOrEqual,
            ("Less", 2) => Self::Less,
            ("LessOrEqual", 2) => Self::LessOrEqual,
            ("Log", 1) => Self::Log,
            ("Max", 2) => Self::Max,
            ("Min", 2) => Self::Min,
            ("Mul", 2) => Self::Mul,
            ("Neg", 1) => Self::Neg,
            ("Not", 1) => Self::Not,
            ("Or", 2) => Self::Or,
            ("Reciprocal", 1) => Self::Reciprocal,
            ("Relu", 1) => Self::Relu,
            ("Sigmoid", 1) => Self::Sigmoid,
            ("Sqrt", 1) => Self::Sqrt,
            ("Sub", 2) => Self::Sub,
            ("Tanh", 1) => Self::Tanh,
            ("Where", 3) => Self::Where,
            _ => return None,
        })
    }

    pub(super) fn result(self) -> Kind {
        match self {
            Self::And
            | Self::Equal
            | Self::Greater
            | Self::GreaterOrEqual
            | Self::Less
            | Self::LessOrEqual
            | Self::Not
            | Self::Or => Kind::Bool,
            _ => Kind::F32,
        }
    }

    pub(super) fn operand(self, place: usize) -> Kind {
        match self {
            Self::And | Self::CastToF32 | Self::Not | Self::Or => Kind::Bool,
            Self::Where if place == 0 => Kind::Bool,
            _ => Kind::F32,
        }
    }
}
