"""Writes cases of the nine networks of the PyPI package `onnx`, as folders that `bb-onnx-tests --differences` runs.

The package has them without their weights: each weight is one number repeated, so that a network that ends in a softmax
gives the same number for every class, whatever it computes. So each is written twice: as it is, and with other weights
(`…_varied`): a table of normal numbers from a fixed seed, tiled by ops of ONNX to each weight's shape so that the file
stays small, with the standard deviation √(2 / fan-in); gives what the softmax takes, divided by its largest number.
The input is the package's own, the numbers 0 to n − 1 divided by n. The wanted outputs are what onnxruntime gives through
its Python interface. `cargo xtask onnx-suite --all` runs all of it.
"""

import pathlib
import shutil
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from real_models import case

# A prime, so that no row of a matrix is like the one above it.
TABLE = 9973


def feed(graph):
    """The numbers 0 to n − 1 divided by n, in the shape of the input that is not an initializer."""
    held = {tensor.name for tensor in graph.initializer}
    (given,) = (value for value in graph.input if value.name not in held)
    shape = [extent.dim_value or 1 for extent in given.type.tensor_type.shape.dim]
    count = int(np.prod(shape))
    return (np.arange(count) / count).astype(np.float32).reshape(shape)


def roles(graph):
    """For each value, the op that takes it and the place there; `Unsqueeze` is looked through."""
    found = {}
    for node in reversed(graph.node):
        for place, name in enumerate(node.input):
            looked_through = node.op_type == "Unsqueeze" and node.output[0] in found
            found[name] = found[node.output[0]] if looked_through else (node.op_type, place)
    return found


def varied(model):
    """The model with weights that differ, and without its last op where that is a softmax."""
    graph = model.graph
    taken, shapes = roles(graph), {held.name: numpy_helper.to_array(held) for held in graph.initializer}
    table = np.random.default_rng(7).standard_normal(TABLE).astype(np.float32)
    nodes, constants = [], {"table": table, "largest": np.float32(1)}
    for at, node in enumerate(graph.node):
        if node.op_type != "ConstantOfShape":
            nodes.append(node)
            continue
        name, shape = node.output[0], shapes[node.input[0]]
        count, begin = int(np.prod(shape)), at * 101 % TABLE
        op, place = taken[name]
        if op == "Mul" or op == "BatchNormalization" and place in (1, 4):
            # Scales and variances: positive, around 1.
            scale, shift = 0.1, 1.0
        else:
            fan_in = count / shape[0] if len(shape) > 1 else 100.0
            scale, shift = np.sqrt(2 / fan_in), 0.0
        constants[f"{name}/repeats"] = np.array([(begin + count) // TABLE + 1], np.int64)
        constants[f"{name}/scale"] = np.float32(scale)
        constants[f"{name}/shift"] = np.float32(shift)
        nodes += [
            helper.make_node("Tile", ["table", f"{name}/repeats"], [f"{name}/tiled"]),
            helper.make_node("Slice", [f"{name}/tiled"], [f"{name}/cut"], axes=[0], starts=[begin], ends=[begin + count]),
            helper.make_node("Mul", [f"{name}/cut", f"{name}/scale"], [f"{name}/scaled"]),
            helper.make_node("Add", [f"{name}/scaled", f"{name}/shift"], [f"{name}/flat"]),
            helper.make_node("Reshape", [f"{name}/flat", node.input[0]], [name]),
        ]
    output = graph.output[0].name
    if nodes[-1].op_type == "Softmax":
        scores = nodes.pop().input[0]
    else:
        scores = nodes[-1].output[0] = f"{output}/scores"
    nodes.append(helper.make_node("Div", [scores, "largest"], [output]))
    del graph.node[:]
    graph.node.extend(nodes)
    for name, held in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(held), name))
        graph.input.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(held.dtype), held.shape))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (scored,) = session.run(None, {session.get_inputs()[0].name: feed(graph)})
    (largest,) = (tensor for tensor in graph.initializer if tensor.name == "largest")
    largest.CopyFrom(numpy_helper.from_array(np.abs(scored).max(), "largest"))
    return model


def main():
    data, out = map(pathlib.Path, sys.argv[1:3])
    ort.set_default_logger_severity(4)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for path in sorted(data.glob("light_*.onnx")):
        model = onnx.load(path)
        inputs = [feed(model.graph)]
        case(out, path.stem, path, [lambda _: inputs])
        other = out / f"{path.stem}_varied.onnx"
        onnx.save(varied(model), other)
        ((scored,),) = case(out, other.stem, other, [lambda _: inputs])
        other.unlink()
        print(f"{other.stem}: {scored.size} numbers, standard deviation {scored.std():.3f} of the largest")


if __name__ == "__main__":
    main()
