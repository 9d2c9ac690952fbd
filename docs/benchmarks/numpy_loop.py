"""Federated averaging over the digits as a plain NumPy loop: what a federated round costs without a framework.

The workload is defined in crates/bb-learn/data/fedavg_digits/README.md. One JSON object a round on standard output:
round, accuracy, seconds (training, averaging and evaluation of that round).

    python3 docs/benchmarks/numpy_loop.py --model mlp --clients 10 --rounds 20
"""

import argparse
import json
import pathlib
import time

import numpy as np

DATA = pathlib.Path(__file__).resolve().parents[2] / "crates/bb-learn/data/fedavg_digits"
TRAIN_ROWS, BATCH, RATE = 1437, 32, np.float32(0.1)


def load():
    pixels = np.fromfile(DATA / "pixels.u8", dtype=np.uint8).reshape(-1, 64)
    x = pixels.astype(np.float32) / np.float32(16)
    y = np.fromfile(DATA / "labels.u8", dtype=np.uint8).astype(np.int64)
    return x, y


def initial(model):
    if model == "logreg":
        return [np.zeros((64, 10), np.float32), np.zeros(10, np.float32)]
    flat = np.fromfile(DATA / "mlp_init.f32le", dtype="<f4")
    w1, b1, w2, b2 = np.split(flat, np.cumsum([64 * 64, 64, 64 * 10]))
    return [w1.reshape(64, 64), b1, w2.reshape(64, 10), b2]


def loss_gradient(logits, y):
    """The gradient of the mean cross-entropy with respect to the logits."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    p /= np.float32(len(y))
    return p


def step(parameters, x, y):
    """One step of SGD, in place."""
    if len(parameters) == 2:
        w, b = parameters
        d = loss_gradient(x @ w + b, y)
        w -= RATE * (x.T @ d)
        b -= RATE * d.sum(axis=0)
        return
    w1, b1, w2, b2 = parameters
    h = np.maximum(x @ w1 + b1, 0)
    d = loss_gradient(h @ w2 + b2, y)
    back = (d @ w2.T) * (h > 0)
    w2 -= RATE * (h.T @ d)
    b2 -= RATE * d.sum(axis=0)
    w1 -= RATE * (x.T @ back)
    b1 -= RATE * back.sum(axis=0)


def accuracy(parameters, x, y):
    if len(parameters) == 2:
        logits = x @ parameters[0] + parameters[1]
    else:
        logits = np.maximum(x @ parameters[0] + parameters[1], 0) @ parameters[2] + parameters[3]
    return float((logits.argmax(axis=1) == y).mean())


def parts(rows, clients):
    """Consecutive parts as equal as possible, the longer ones first."""
    size, longer = divmod(rows, clients)
    ends = np.cumsum([size + (index < longer) for index in range(clients)])
    return list(zip([0, *ends[:-1]], ends))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--model", choices=["logreg", "mlp"], default="mlp")
    arguments.add_argument("--clients", type=int, default=10)
    arguments.add_argument("--rounds", type=int, default=20)
    arguments = arguments.parse_args()
    x, y = load()
    test_x, test_y = x[TRAIN_ROWS:], y[TRAIN_ROWS:]
    cut = parts(TRAIN_ROWS, arguments.clients)
    parameters = initial(arguments.model)
    for number in range(1, arguments.rounds + 1):
        began = time.perf_counter()
        total = [np.zeros_like(tensor) for tensor in parameters]
        for begin, end in cut:
            local = [tensor.copy() for tensor in parameters]
            for at in range(begin, end, BATCH):
                step(local, x[at : min(at + BATCH, end)], y[at : min(at + BATCH, end)])
            weight = np.float32((end - begin) / TRAIN_ROWS)
            for held, tensor in zip(total, local):
                held += weight * tensor
        parameters = total
        reached = accuracy(parameters, test_x, test_y)
        seconds = time.perf_counter() - began
        print(json.dumps({"round": number, "accuracy": reached, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
