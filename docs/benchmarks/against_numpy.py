"""Federated rounds through nodes, envelopes and the aggregator against the plain NumPy loop, in one run.

Runs `bb demo --reference` and numpy_loop.py alternately and compares seconds a round; each has one thread. Prints too what
bb's rounds take together and the most memory that its process held. OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE, where they are
set, are taken from NumPy's environment, so that it picks the kernel that fits the processor; that is said.

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
# What makes OpenBLAS run another kernel than the one that fits the processor.
FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
for name in FORCED:
    ONE_THREAD.pop(name, None)


def run(command):
    """The rounds of a command, and the most memory in MiB that its process held."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ONE_THREAD) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    rounds = [json.loads(line) for line in text.splitlines()]
    assert len(rounds) == ROUNDS, f"{command} gave {len(rounds)} rounds"
    kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return rounds, kilobytes / 1024


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--bb", default=str(HERE.parents[1] / "target/release/bb"))
    arguments.add_argument("--repeat", type=int, default=5)
    arguments = arguments.parse_args()
    for name in FORCED:
        if name in os.environ:
            print(f"{name}={os.environ[name]} is not passed on: NumPy picks its kernel itself")
    print(
        "model   clients   NumPy round   bb round   ratio   NumPy first   bb first   bb total   bb memory"
        "   accuracy NumPy / bb"
    )
    with tempfile.TemporaryDirectory() as out:
        for model in ("logreg", "mlp"):
            for clients in ("10", "100"):
                numpy_loop = [sys.executable, str(HERE / "numpy_loop.py"), "--model", model, "--clients", clients]
                bb = [arguments.bb, "demo", "--reference", model, "--clients", clients, "--json", "--out", out]
                theirs, ours, memory = [], [], 0
                for _ in range(arguments.repeat):
                    theirs.append(run(numpy_loop)[0])
                    rounds, held = run(bb)
                    ours.append(rounds)
                    memory = max(memory, held)

                def steady(runs):
                    """Median seconds of a round after the first, over all runs."""
                    return statistics.median(r["seconds"] for rounds in runs for r in rounds[1:])

                def first(runs):
                    return statistics.median(rounds[0]["seconds"] for rounds in runs)

                total = statistics.median(sum(r["seconds"] for r in rounds) for rounds in ours)
                print(
                    f"{model:7} {clients:>7} {steady(theirs) * 1e3:10.2f} ms {steady(ours) * 1e3:7.2f} ms"
                    f" {steady(theirs) / steady(ours):6.2f}x {first(theirs) * 1e3:10.2f} ms {first(ours) * 1e3:7.2f} ms"
                    f" {total:8.3f} s {memory:7.1f} MiB   {theirs[-1][-1]['accuracy']:.4f} / {ours[-1][-1]['accuracy']:.4f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
