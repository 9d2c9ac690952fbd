"""Writes digits_tanh.onnx, a small classifier, with the `onnx` Python package and nothing of this project.

    python make_model.py

It differs from this project's own models where ONNX allows it: other names, an older operator set, MatMul and Add
instead of Gemm, numbers of a formula as initializers, weights as float_data, an integer initializer, a softmax at
the end. Needs onnx and numpy.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

PIXELS, HIDDEN, CLASSES = 64, 32, 10


def weights(name, rng, inputs, outputs):
    bound = (6 / (inputs + outputs)) ** 0.5
    values = rng.uniform(-bound, bound, (inputs, outputs)).astype(np.float32)
    return helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.flatten().tolist())


def zeros(name, count):
    return helper.make_tensor(name, TensorProto.FLOAT, [count], [0.0] * count)


def main():
    rng = np.random.default_rng(5)
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["image", "flat"], ["pixels"]),
            helper.make_node("Sub", ["pixels", "middle"], ["centred"]),
            helper.make_node("Mul", ["centred", "spread"], ["scaled"]),
            helper.make_node("MatMul", ["scaled", "encoder.weight"], ["encoder.product"]),
            helper.make_node("Add", ["encoder.product", "encoder.bias"], ["encoder.sum"]),
            helper.make_node("Tanh", ["encoder.sum"], ["code"]),
            helper.make_node("MatMul", ["code", "head.weight"], ["head.product"]),
            helper.make_node("Add", ["head.product", "head.bias"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1),
        ],
        "digits_tanh",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", PIXELS])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", CLASSES])],
        [
            helper.make_tensor("flat", TensorProto.INT64, [2], [-1, PIXELS]),
            helper.make_tensor("middle", TensorProto.FLOAT, [], [0.5]),
            helper.make_tensor("spread", TensorProto.FLOAT, [], [2.0]),
            weights("encoder.weight", rng, PIXELS, HIDDEN),
            zeros("encoder.bias", HIDDEN),
            weights("head.weight", rng, HIDDEN, CLASSES),
            zeros("head.bias", CLASSES),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, Path(__file__).with_name("digits_tanh.onnx"))


if __name__ == "__main__":
    main()
