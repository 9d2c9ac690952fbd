"""Writes mlp.onnx, cnn.onnx, lstm.onnx and transformer.onnx, classifiers of 8 x 8 digits, with the `onnx` Python package.

    python make_models.py

Each is as an exporter would write it, for use and not for training: batch normalization by running moments, no loss, a
free number of rows. Needs onnx and numpy.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 10
OPSET = 21


class Model:
    """Nodes and initializers as they are added."""

    def __init__(self, name, seed, shape):
        self.name, self.shape = name, shape
        self.random = np.random.default_rng(seed)
        self.nodes, self.initializers = [], []

    def uniform(self, name, shape, inputs):
        """A parameter uniform within the square root of 3 / inputs: variance 1 / inputs."""
        bound = (3 / inputs) ** 0.5
        return self.hold(name, self.random.uniform(-bound, bound, shape).astype(np.float32))

    def full(self, name, shape, value):
        return self.hold(name, np.full(shape, value, np.float32))

    def hold(self, name, values):
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def add(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def dense(self, name, value, inputs, outputs, output=None):
        """x W + b over the last axis."""
        weight = self.uniform(f"{name}.weight", (inputs, outputs), inputs)
        bias = self.full(f"{name}.bias", (outputs,), 0)
        product = self.add("MatMul", [value, weight], f"{name}.product")
        return self.add("Add", [product, bias], output or f"{name}.out")

    def norm(self, name, value, width):
        scale, bias = self.full(f"{name}.scale", (width,), 1), self.full(f"{name}.bias", (width,), 0)
        return self.add("LayerNormalization", [value, scale, bias], f"{name}.out", axis=-1)

    def save(self):
        features = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *self.shape])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])
        graph = helper.make_graph(self.nodes, self.name, [features], [logits], self.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="make_models.py", opset_imports=opsets)
        model.ir_version = 10
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, Path(__file__).parent / f"{self.name}.onnx")


def mlp():
    m = Model("mlp", 1, [64])
    hidden = m.add("Relu", [m.dense("first", "image", 64, 32)], "hidden")
    m.dense("second", hidden, 32, CLASSES, "logits")
    m.save()


def cnn():
    m = Model("cnn", 2, [1, 8, 8])
    value = "image"
    for number, (inputs, outputs) in enumerate([(1, 8), (8, 16)], 1):
        weight = m.uniform(f"conv{number}.weight", (outputs, inputs, 3, 3), inputs * 9)
        value = m.add("Conv", [value, weight], f"conv{number}.out", pads=[1, 1, 1, 1], kernel_shape=[3, 3])
        kept = [m.full(f"norm{number}.{name}", (outputs,), start) for name, start in
                [("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)]]
        value = m.add("BatchNormalization", [value, *kept], f"norm{number}.out", momentum=0.9)
        value = m.add("Relu", [value], f"relu{number}.out")
        if number == 1:
            value = m.add("MaxPool", [value], "pool.out", kernel_shape=[2, 2], strides=[2, 2])
    value = m.add("GlobalAveragePool", [value], "mean.out")
    value = m.add("Flatten", [value], "flat")
    m.dense("head", value, 16, CLASSES, "logits")
    m.save()


def lstm():
    hidden = 32
    m = Model("lstm", 3, [8, 8])
    sequence = m.add("Transpose", ["image"], "sequence", perm=[1, 0, 2])
    weights = [m.uniform("lstm.weight", (1, 4 * hidden, 8), 8),
               m.uniform("lstm.recurrent", (1, 4 * hidden, hidden), hidden),
               m.full("lstm.bias", (1, 8 * hidden), 0)]
    m.nodes.append(helper.make_node("LSTM", [sequence, *weights], ["", "last"], name="lstm", hidden_size=hidden))
    last = m.add("Squeeze", ["last", m.hold("first_axis", np.array([0], np.int64))], "features")
    m.dense("head", last, hidden, CLASSES, "logits")
    m.save()


def transformer():
    width, heads = 16, 2
    m = Model("transformer", 4, [8, 8])
    embedded = m.dense("embed", "image", 8, width)
    x = m.add("Add", [embedded, m.uniform("position", (8, width), width)], "tokens")
    normed = m.norm("norm1", x, width)
    split = m.hold("split", np.array([0, 0, heads, width // heads], np.int64))
    q, k, v = [m.add("Reshape", [m.dense(name, normed, width, width), split], f"{name}.split") for name in "qkv"]
    q, v = [m.add("Transpose", [name], f"{name}.heads", perm=[0, 2, 1, 3]) for name in (q, v)]
    k = m.add("Transpose", [k], f"{k}.heads", perm=[0, 2, 3, 1])
    scores = m.add("MatMul", [q, k], "scores")
    scale = m.hold("scale", np.array((width // heads) ** -0.5, np.float32))
    shares = m.add("Softmax", [m.add("Mul", [scores, scale], "scaled")], "shares", axis=-1)
    mixed = m.add("Transpose", [m.add("MatMul", [shares, v], "mixed")], "mixed.rows", perm=[0, 2, 1, 3])
    joined = m.add("Reshape", [mixed, m.hold("join", np.array([0, 0, width], np.int64))], "joined")
    x = m.add("Add", [x, m.dense("project", joined, width, width)], "attended")
    wide = m.add("Gelu", [m.dense("expand", m.norm("norm2", x, width), width, 32)], "wide")
    x = m.add("Add", [x, m.dense("reduce", wide, 32, width)], "block")
    tokens = m.hold("token_axis", np.array([1], np.int64))
    mean = m.add("ReduceMean", [m.norm("norm3", x, width), tokens], "mean", keepdims=0)
    m.dense("head", mean, width, CLASSES, "logits")
    m.save()


if __name__ == "__main__":
    for make in (mlp, cnn, lstm, transformer):
        make()
