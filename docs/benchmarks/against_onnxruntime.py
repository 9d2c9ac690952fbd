"""Times prepared graphs on bb-cpu and bb-ort against onnxruntime, one thread each, in alternation.

Needs the Python packages onnxruntime and onnx, and a release build:

    cargo build --release -p bb-onnx-tests
    ORT_DYLIB_PATH=…/onnxruntime/capi python3 docs/benchmarks/against_onnxruntime.py [--repeat 15]

Each round times a block of runs in this process and in one process a backend, about 0.1 s each; the figures are medians
of the rounds, a ratio above 1 means faster than onnxruntime through its Python interface. That interface costs about
ten microseconds a run, which says much about one `Add` and nothing about a network; the column in brackets is
onnxruntime through its I/O binding, which costs less.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = 0.1


def model(path, nodes, inputs, output, constants=()):
    rng = np.random.default_rng(0)
    held = [
        numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32), name)
        for name, shape in constants
    ]
    graph = helper.make_graph(
        nodes,
        "benchmark",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        held,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def models(folder):
    node = helper.make_node
    yield "one 1-element Add", model(
        folder / "add.onnx", [node("Add", ["a", "b"], ["y"])], [("a", [1]), ("b", [1])], ("y", [1])
    )
    chain = [node("Add", [f"v{at}", "b"], [f"v{at + 1}"]) for at in range(100)]
    yield "chain of 100", model(folder / "chain.onnx", chain, [("v0", [1]), ("b", [1])], ("v100", [1]))
    yield "MLP 64-128-10, batch 32", model(
        folder / "mlp.onnx",
        [
            node("Gemm", ["x", "w1", "b1"], ["h"]),
            node("Relu", ["h"], ["r"]),
            node("Gemm", ["r", "w2", "b2"], ["y"]),
        ],
        [("x", [32, 64])],
        ("y", [32, 10]),
        [("w1", [64, 128]), ("b1", [128]), ("w2", [128, 10]), ("b2", [10])],
    )
    yield "conv 3x3, 64 ch, 56x56", model(
        folder / "conv.onnx",
        [node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        [("x", [1, 64, 56, 56])],
        ("y", [1, 64, 56, 56]),
        [("w", [64, 64, 3, 3])],
    )
    light = pathlib.Path(onnx.__file__).parent / "backend/test/data/light"
    for name in ("squeezenet", "resnet50"):
        yield name, light / f"light_{name}.onnx"


class Theirs:
    def __init__(self, path, bound):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = {
            held.name: (np.arange(np.prod(held.shape)) * 7919 % 1000 / 1000).reshape(held.shape).astype(np.float32)
            for held in self.session.get_inputs()
        }
        if bound:
            binding = self.session.io_binding()
            for name, array in feed.items():
                binding.bind_cpu_input(name, array)
            for held in self.session.get_outputs():
                binding.bind_output(held.name)
            self.run = lambda: self.session.run_with_iobinding(binding)
        else:
            self.run = lambda: self.session.run(None, feed)
        self.run()

    def block(self, count):
        begin = time.perf_counter_ns()
        for _ in range(count):
            self.run()
        return (time.perf_counter_ns() - begin) / count


class Ours:
    def __init__(self, program, backend):
        self.child = subprocess.Popen(
            [program, "--time", backend], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def block(self, path, count):
        self.child.stdin.write(f"{count} {path}\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        return float(line) if line else None


def text(nanoseconds):
    if nanoseconds is None:
        return "—"
    for unit, size in (("ns", 1), ("µs", 1e3), ("ms", 1e6)):
        if nanoseconds < 1000 * size or unit == "ms":
            return f"{nanoseconds / size:.3g} {unit}"


def main():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--program", default=target / "release/bb-onnx-tests")
    arguments.add_argument("--repeat", type=int, default=15)
    arguments = arguments.parse_args()
    ort.set_default_logger_severity(4)
    ours = {name: Ours(arguments.program, name) for name in ("bb-cpu", "bb-ort")}
    print(f"onnxruntime {ort.__version__}, one thread, medians of {arguments.repeat} rounds")
    with tempfile.TemporaryDirectory() as folder:
        for name, path in models(pathlib.Path(folder)):
            theirs = {"plain": Theirs(path, False), "bound": Theirs(path, True)}
            once = {who: held.block(1) for who, held in theirs.items()}
            once |= {who: held.block(path, 1) for who, held in ours.items()}
            count = {who: max(1, int(BLOCK * 1e9 / (took or 1e9))) for who, took in once.items()}
            took = {who: [] for who in once}
            for _ in range(arguments.repeat):
                for who, held in theirs.items():
                    took[who].append(held.block(count[who]))
                for who, held in ours.items():
                    if once[who] is not None:
                        took[who].append(held.block(path, count[who]))
            median = {who: statistics.median(all) if all else None for who, all in took.items()}
            line = f"{name:24} onnxruntime {text(median['plain']):>9} (bound {text(median['bound']):>9})"
            for who in ours:
                ratio = f"{median['plain'] / median[who]:.2f}" if median[who] else "—"
                line += f"   {who} {text(median[who]):>9} = {ratio} ×"
            print(line, flush=True)


if __name__ == "__main__":
    main()
