"""How onnxruntime alone, through its Python interface, does on the frozen node cases: what bb-ort is measured against.

`cargo xtask onnx-suite` runs it. By hand: PYTHONPATH=… python3 tests/onnx/plain_onnxruntime.py [FOLDER …], with the
packages onnxruntime and onnx. Prints one line of totals, and the cases that pass here and not on bb-ort
(expected/bb-ort.txt); then a line of totals for each folder of other cases (those of networks have no inputs, and are
left out).
"""

import collections
import pathlib
import sys
import tarfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, numpy_helper

HERE = pathlib.Path(__file__).parent
# Element types that NumPy has; tensors of others are given and compared as onnxruntime's own values cannot be here.
HELD = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}


class NotHeld(Exception):
    """A value that NumPy cannot hold."""


def value(data, ty):
    kind = ty.WhichOneof("value")
    if kind == "optional_type":
        proto = onnx.OptionalProto.FromString(data)
        if proto.HasField("tensor_value"):
            return array(proto.tensor_value)
        if proto.HasField("sequence_value"):
            return [array(held) for held in proto.sequence_value.tensor_values]
        return None
    if kind == "sequence_type":
        return [array(held) for held in onnx.SequenceProto.FromString(data).tensor_values]
    return array(TensorProto.FromString(data))


def array(proto):
    if proto.data_type not in HELD:
        raise NotHeld
    held = numpy_helper.to_array(proto)
    if proto.data_type == TensorProto.STRING:
        text = [item.decode() if isinstance(item, bytes) else item for item in held.ravel()]
        return np.array(text, dtype=object).reshape(held.shape)
    return held


def same(got, want):
    if want is None or isinstance(want, list):
        both_lists = isinstance(got, list) and isinstance(want, list)
        return got is want or both_lists and len(got) == len(want) and all(map(same, got, want))
    got = np.asarray(got)
    if got.dtype != want.dtype or got.shape != want.shape:
        return False
    if want.dtype.kind != "f":
        return bool((got == want).all())
    got, want = got.astype(np.float64), want.astype(np.float64)
    with np.errstate(invalid="ignore"):
        near = (np.abs(got - want) <= 1e-7 + 1e-3 * np.abs(want)) & (np.isinf(got) == np.isinf(want))
    return bool((near | (got == want) | (np.isnan(got) & np.isnan(want))).all())


def outcome(files):
    model = onnx.ModelProto.FromString(files["model.onnx"])
    try:
        session = ort.InferenceSession(files["model.onnx"], providers=["CPUExecutionProvider"])
    except Exception:
        return "refused"
    try:
        for data_set in sorted({name.split("/")[0] for name in files if "/" in name}):
            feed = {}
            for at, held in enumerate(model.graph.input):
                data = files.get(f"{data_set}/input_{at}.pb")
                if data is not None:
                    feed[held.name] = value(data, held.type)
            got = session.run(None, feed)
            for at, held in enumerate(model.graph.output):
                if not same(got[at], value(files[f"{data_set}/output_{at}.pb"], held.type)):
                    return "wrong"
    except NotHeld:
        return "not held by NumPy"
    except Exception:
        return "wrong"
    return "passed"


def totals(outcomes):
    count = collections.Counter(outcomes.values())
    rest = ", ".join(f"{how} {count[how]}" for how in ("refused", "wrong", "not held by NumPy"))
    return f"passed {count['passed']} of {len(outcomes)}", rest


def report_folder(folder):
    outcomes = {}
    for case in sorted(folder.glob("*/model.onnx")):
        files = {str(path.relative_to(case.parent)): path.read_bytes() for path in case.parent.glob("**/*") if path.is_file()}
        outcomes[f"{folder.name}/{case.parent.name}"] = outcome(files)
    if not outcomes:
        return
    print(f"{folder.name}: onnxruntime (Python): {', '.join(totals(outcomes))}")
    ours = set((HERE / "expected/bb-ort-package.txt").read_text().split())
    missed = [name for name, how in outcomes.items() if how == "passed" and name not in ours]
    print(f"passed by onnxruntime and not by bb-ort: {len(missed)} {' '.join(missed)}".rstrip())


def main():
    ort.set_default_logger_severity(4)
    core = set((HERE / "data/core_cases.txt").read_text().split())
    ours = set((HERE / "expected/bb-ort.txt").read_text().split())
    cases = collections.defaultdict(dict)
    with tarfile.open(HERE / "data/node.tar.xz") as archive:
        for member in archive:
            parts = member.name.removeprefix("./").removeprefix("node/").split("/", 1)
            if member.isfile() and len(parts) == 2:
                cases[parts[0]][parts[1]] = archive.extractfile(member).read()
    outcomes = {name: outcome(files) for name, files in sorted(cases.items())}
    total, rest = totals(outcomes)
    passed = [name for name, how in outcomes.items() if how == "passed"]
    in_core = sum(name in core for name in passed)
    print(
        f"onnxruntime {ort.__version__} (Python): {total}, "
        f"core {in_core} of {len(core)}, {rest}"
    )
    missed = [name for name in passed if name not in ours]
    print(f"passed by onnxruntime and not by bb-ort: {len(missed)} {' '.join(missed)}".rstrip())
    for folder in map(pathlib.Path, sys.argv[1:]):
        report_folder(folder)


if __name__ == "__main__":
    main()
