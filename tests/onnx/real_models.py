"""Writes cases of two models that packages of Python's index ship, as folders that `bb-onnx-tests --differences` runs.

silero-vad (MIT, voice activity): 40 frames of a sound made of vowels and pauses, its state carried from frame to frame.
magika (Apache-2.0, file types): files of this repository and the frozen archive, cut into its 2,048 numbers as it wants.
The wanted outputs are what onnxruntime gives through its Python interface. `cargo xtask real-models` runs all of it.
"""

import pathlib
import shutil
import sys

import numpy as np
import onnxruntime as ort
from onnx import numpy_helper

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
RATE, FRAME, CONTEXT = 16000, 512, 64
PADDING = 256


def write_set(folder, kind, arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for at, array in enumerate(arrays):
        proto = numpy_helper.from_array(np.asarray(array))
        (folder / f"{kind}_{at}.pb").write_bytes(proto.SerializeToString())


def case(out, name, model, feeds):
    """Writes the case; `feeds` is given what the model put out for the feed before."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [held.name for held in session.get_inputs()]
    folder = out / name
    folder.mkdir(parents=True)
    shutil.copy(model, folder / "model.onnx")
    before, outputs = None, []
    for at, feed in enumerate(feeds):
        values = feed(before)
        before = session.run(None, dict(zip(names, values)))
        outputs.append(before)
        write_set(folder / f"test_data_set_{at}", "input", values)
        write_set(folder / f"test_data_set_{at}", "output", before)
    return outputs


def sound(frames):
    """Vowels by pulses through three resonators, with pauses of faint noise; the same in every run."""
    rng = np.random.default_rng(7)
    count = frames * FRAME
    audio = 0.001 * rng.standard_normal(count)
    vowels = [(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (660, 1720, 2410)]
    for at, formants in enumerate(vowels):
        start, length = (at * 2 + 1) * count // 9, count // 9
        pulses = np.zeros(length)
        pulses[:: RATE // (110 + 12 * at)] = 1.0
        for formant in formants:
            radius, angle = np.exp(-np.pi * 90 / RATE), 2 * np.pi * formant / RATE
            b1, b2 = 2 * radius * np.cos(angle), -radius * radius
            voiced = np.zeros(length)
            for n in range(length):
                voiced[n] = pulses[n] + b1 * voiced[n - 1] + b2 * voiced[n - 2]
            pulses = voiced
        audio[start : start + length] += 0.3 * pulses / np.abs(pulses).max()
    return audio.astype(np.float32)


def silero(packages, out):
    frames = 40
    audio = np.concatenate([np.zeros(CONTEXT, np.float32), sound(frames)])
    rate = np.array(RATE, np.int64)

    def feed(at):
        piece = audio[at * FRAME : at * FRAME + CONTEXT + FRAME][None, :]
        return lambda before: [piece, np.zeros((2, 1, 128), np.float32) if before is None else before[1], rate]

    model = packages / "silero_vad/data/silero_vad.onnx"
    outputs = case(out, "silero_vad", model, [feed(at) for at in range(frames)])
    spoken = [float(held[0][0, 0]) for held in outputs]
    print(f"silero_vad: {frames} frames, probability of speech {min(spoken):.3f} to {max(spoken):.3f}")


def numbers(content):
    begin = list(content[:4096].lstrip()[:1024])
    end = list(content[-4096:].rstrip()[-1024:])
    return begin + [PADDING] * (1024 - len(begin)) + [PADDING] * (1024 - len(end)) + end


def magika(packages, out):
    files = ["README.md", "Cargo.toml", "deny.toml", ".ci/run", "xtask/src/main.rs", "proto/onnx-ml.proto"]
    files += ["tests/onnx/real_models.py", "tests/onnx/data/node.tar.xz"]
    batch = np.array([numbers((ROOT / name).read_bytes()) for name in files], np.int32)
    model = next(packages.glob("magika/models/*/model.onnx"))
    outputs = case(out, "magika", model, [lambda _: [batch], lambda _: [batch[:1]]])
    print(f"magika: {len(files)} files, surest score of each {outputs[0][0].max(axis=1).round(3).tolist()}")


def main():
    packages, out = map(pathlib.Path, sys.argv[1:3])
    shutil.rmtree(out, ignore_errors=True)
    silero(packages, out)
    magika(packages, out)


if __name__ == "__main__":
    main()
