"""Times a training step of the MLP 64-128-10 at batch 32 on bb-cpu and bb-ort against NumPy, one thread each, alternately.

The step is softmax cross-entropy and SGD: by hand in NumPy, and as one ONNX graph that gives the new parameters and the
loss. Both start from the same numbers; the losses of their first steps must agree. Packages, build and the library are
those of against_onnxruntime.py:

    ORT_DYLIB_PATH=…/onnxruntime/capi python3 docs/benchmarks/training_step.py [--repeat 15]

The figures are medians of the rounds, a ratio above 1 means faster than NumPy.
"""

import argparse
import os
import pathlib
import statistics
import tempfile
import time

os.environ.update({name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")})
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    # They make OpenBLAS run another kernel than the one that fits the processor.
    os.environ.pop(name, None)

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from against_onnxruntime import BLOCK, ROOT, Ours, text

BATCH, WIDTH, HIDDEN, CLASSES, RATE = 32, 64, 128, 10, np.float32(0.05)
SHAPES = {"w1": [WIDTH, HIDDEN], "b1": [HIDDEN], "w2": [HIDDEN, CLASSES], "b2": [CLASSES]}


def numbers(shape):
    """What bb-onnx-tests feeds to an input of this shape."""
    return (np.arange(np.prod(shape)) * 7919 % 1000 / 1000).reshape(shape).astype(np.float32)


def step(parameters, x, y):
    """One step by hand, in place; gives the loss."""
    w1, b1, w2, b2 = parameters
    h = x @ w1
    h += b1
    np.maximum(h, 0, out=h)
    d = h @ w2
    d += b2
    d -= d.max(axis=1, keepdims=True)
    np.exp(d, out=d)
    d /= d.sum(axis=1, keepdims=True)
    rows = np.arange(len(y))
    loss = -np.log(d[rows, y]).mean()
    d[rows, y] -= 1
    d *= np.float32(1 / len(y))
    back = d @ w2.T
    back *= h > 0
    w2 -= RATE * (h.T @ d)
    b2 -= RATE * d.sum(axis=0)
    w1 -= RATE * (x.T @ back)
    b1 -= RATE * back.sum(axis=0)
    return loss


def graph(path):
    node = helper.make_node
    nodes = [
        node("Gemm", ["x", "w1", "b1"], ["h"]),
        node("Relu", ["h"], ["a"]),
        node("Gemm", ["a", "w2", "b2"], ["s"]),
        node("SoftmaxCrossEntropyLoss", ["s", "y"], ["loss", "log"]),
        node("Exp", ["log"], ["p"]),
        node("OneHot", ["y", "classes", "off_on"], ["t"]),
        node("Sub", ["p", "t"], ["d0"]),
        node("Mul", ["d0", "scale"], ["d"]),
        node("Gemm", ["a", "d"], ["gw2"], transA=1),
        node("ReduceSum", ["d", "rows"], ["gb2"], keepdims=0),
        node("Gemm", ["d", "w2"], ["da"], transB=1),
        node("Greater", ["h", "zero"], ["on"]),
        node("Where", ["on", "da", "zero"], ["dh"]),
        node("Gemm", ["x", "dh"], ["gw1"], transA=1),
        node("ReduceSum", ["dh", "rows"], ["gb1"], keepdims=0),
    ]
    for name in SHAPES:
        nodes += [node("Mul", [f"g{name}", "rate"], [f"u{name}"]), node("Sub", [name, f"u{name}"], [f"{name}n"])]
    value = helper.make_tensor_value_info
    constants = {
        "classes": np.int64(CLASSES),
        "off_on": np.array([0, 1], np.float32),
        "scale": np.float32(1 / BATCH),
        "rows": np.array([0], np.int64),
        "zero": np.float32(0),
        "rate": RATE,
    }
    made = helper.make_graph(
        nodes,
        "step",
        [
            value("x", TensorProto.FLOAT, [BATCH, WIDTH]),
            value("y", TensorProto.INT64, [BATCH]),
            *(value(name, TensorProto.FLOAT, shape) for name, shape in SHAPES.items()),
        ],
        [
            value("loss", TensorProto.FLOAT, []),
            *(value(f"{name}n", TensorProto.FLOAT, shape) for name, shape in SHAPES.items()),
        ],
        [numpy_helper.from_array(np.asarray(held), name) for name, held in constants.items()],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def main():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--program", default=target / "release/bb-onnx-tests")
    arguments.add_argument("--repeat", type=int, default=15)
    arguments = arguments.parse_args()
    x, y = numbers([BATCH, WIDTH]), np.zeros(BATCH, np.int64)
    parameters = [numbers(shape) for shape in SHAPES.values()]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "step.onnx"
        graph(path)
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        graphs_loss = session.run(["loss"], {"x": x, "y": y, **dict(zip(SHAPES, parameters))})[0]
        loss = step([held.copy() for held in parameters], x, y)
        assert abs(loss - graphs_loss) <= 1e-5 * abs(loss), f"the losses differ: {loss} and {graphs_loss}"

        def by_hand(count):
            begin = time.perf_counter_ns()
            for _ in range(count):
                step(parameters, x, y)
            return (time.perf_counter_ns() - begin) / count

        ours = {name: Ours(arguments.program, name) for name in ("bb-cpu", "bb-ort")}
        blocks = {"NumPy": by_hand} | {
            name: lambda count, held=held: held.block(path, count) for name, held in ours.items()
        }
        counts = {name: max(1, int(BLOCK * 1e9 / min(block(10), block(100)))) for name, block in blocks.items()}
        took = {name: [] for name in blocks}
        for _ in range(arguments.repeat):
            for name, block in blocks.items():
                took[name].append(block(counts[name]))
        median = {name: statistics.median(all) for name, all in took.items()}
        print(f"NumPy {np.__version__}, one thread, medians of {arguments.repeat} rounds, loss of the first step {loss:.4f}")
        for name, nanoseconds in median.items():
            print(f"{name:8} {text(nanoseconds):>9} = {median['NumPy'] / nanoseconds:.2f} ×")


if __name__ == "__main__":
    main()
