"""Federated rounds through nodes, envelopes and the aggregator against the plain NumPy loop, in one run.

Runs `bb demo --reference` and numpy_loop.py alternately and compares seconds a round; each has one thread.

    python3 -m venv target/venv && target/venv/bin/pip install numpy
    cargo build --release
    target/venv/bin/python docs/benchmarks/against_numpy.py

`--bb PATH` names the binary where it is not target/release/bb; `--repeat N` (5) how often each is run.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROUNDS = 20
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def run(command):
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=ONE_THREAD).stdout
    rounds = [json.loads(line) for line in text.splitlines()]
    assert len(rounds) == ROUNDS, f"{command} gave {len(rounds)} rounds"
    return rounds


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--bb", default=str(HERE.parents[1] / "target/release/bb"))
    arguments.add_argument("--repeat", type=int, default=5)
    arguments = arguments.parse_args()
    print("model   clients   NumPy round   bb round   ratio   NumPy first   bb first   accuracy NumPy / bb")
    with tempfile.TemporaryDirectory() as out:
        for model in ("logreg", "mlp"):
            for clients in ("10", "100"):
                numpy_loop = [sys.executable, str(HERE / "numpy_loop.py"), "--model", model, "--clients", clients]
                bb = [arguments.bb, "demo", "--reference", model, "--clients", clients, "--json", "--out", out]
                theirs, ours = [], []
                for _ in range(arguments.repeat):
                    theirs.append(run(numpy_loop))
                    ours.append(run(bb))

                def steady(runs):
                    """Median seconds of a round after the first, over all runs."""
                    return statistics.median(r["seconds"] for rounds in runs for r in rounds[1:])

                def first(runs):
                    return statistics.median(rounds[0]["seconds"] for rounds in runs)

                print(
                    f"{model:7} {clients:>7} {steady(theirs) * 1e3:10.2f} ms {steady(ours) * 1e3:7.2f} ms"
                    f" {steady(theirs) / steady(ours):6.2f}x {first(theirs) * 1e3:10.2f} ms {first(ours) * 1e3:7.2f} ms"
                    f"   {theirs[-1][-1]['accuracy']:.4f} / {ours[-1][-1]['accuracy']:.4f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
