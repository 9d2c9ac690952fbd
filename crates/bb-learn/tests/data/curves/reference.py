"""Trains the four models in JAX, in double precision, and writes losses.json: the loss of each step, and the loss and
accuracy on the test rows afterwards.

    python reference.py

Data, order and numbers: the training rows of fedavg_digits in order, batches of 32 (the last one short), two epochs; mean
softmax cross-entropy; the optimizers of optax (the table at the end). Batch normalization takes a batch's mean and
variance (divided by n) in steps and the running ones (0.9 of the old, 0.1 of the new) in the test. The initial
parameters are those in the .onnx files; the models are written here a second time, by hand. Needs jax, optax, onnx, numpy.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import optax
from onnx import numpy_helper

jax.config.update("jax_enable_x64", True)
HERE = Path(__file__).parent
DIGITS = HERE.parents[2] / "data" / "fedavg_digits"
TRAIN, BATCH, EPOCHS = 1437, 32, 2
STEPS = EPOCHS * -(-TRAIN // BATCH)


def dense(p, name, x):
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def mlp(p, x, moments):
    return dense(p, "second", jax.nn.relu(dense(p, "first", x))), moments


def cnn(p, x, moments):
    """`moments` holds the running ones in use, and is None in a step, which gives the batch's."""
    own = {}
    x = x.reshape(-1, 1, 8, 8)
    for number in (1, 2):
        x = jax.lax.conv_general_dilated(x, p[f"conv{number}.weight"], (1, 1), [(1, 1), (1, 1)],
                                         dimension_numbers=("NCHW", "OIHW", "NCHW"))
        name = f"norm{number}"
        if moments is None:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
            own |= {f"{name}.running_mean": mean, f"{name}.running_var": var}
        else:
            mean, var = moments[f"{name}.running_mean"], moments[f"{name}.running_var"]
        wide = lambda v: v[None, :, None, None]
        x = (x - wide(mean)) / jnp.sqrt(wide(var) + 1e-5) * wide(p[f"{name}.weight"]) + wide(p[f"{name}.bias"])
        x = jax.nn.relu(x)
        if number == 1:
            x = x.reshape(*x.shape[:2], 4, 2, 4, 2).max((3, 5))
    return dense(p, "head", x.mean((2, 3))), own


def lstm(p, x, moments):
    x = x.reshape(-1, 8, 8)
    w, r = p["lstm.weight"][0], p["lstm.recurrent"][0]
    bias = p["lstm.bias"][0, :128] + p["lstm.bias"][0, 128:]
    h = c = jnp.zeros((x.shape[0], 32))
    for t in range(8):
        i, o, f, g = jnp.split(x[:, t] @ w.T + h @ r.T + bias, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return dense(p, "head", h), moments


def transformer(p, x, moments):
    def norm(name, x):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / jnp.sqrt(var + 1e-5) * p[f"{name}.scale"] + p[f"{name}.bias"]

    x = dense(p, "embed", x.reshape(-1, 8, 8)) + p["position"]
    normed = norm("norm1", x)
    q, k, v = (dense(p, name, normed).reshape(-1, 8, 2, 8) for name in "qkv")
    shares = jax.nn.softmax(jnp.einsum("nqhd,nkhd->nhqk", q, k) * 8**-0.5, axis=-1)
    x = x + dense(p, "project", jnp.einsum("nhqk,nkhd->nqhd", shares, v).reshape(-1, 8, 16))
    x = x + dense(p, "reduce", jax.nn.gelu(dense(p, "expand", norm("norm2", x)), approximate=False))
    return dense(p, "head", norm("norm3", x).mean(1)), moments


def train(name, model, optimizer, pixels, labels):
    graph = onnx.load(HERE / f"{name}.onnx").graph
    held = {t.name: jnp.asarray(numpy_helper.to_array(t), jnp.float64) for t in graph.initializer
            if t.data_type == onnx.TensorProto.FLOAT and t.dims}
    moments = {key: value for key, value in held.items() if "running" in key}
    parameters = {key: value for key, value in held.items() if key not in moments}

    def loss(parameters, x, y, moments):
        scores, own = model(parameters, x, moments)
        return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean(), (own, scores)

    @jax.jit
    def step(parameters, state, x, y):
        (value, (own, _)), gradients = jax.value_and_grad(loss, has_aux=True)(parameters, x, y, None)
        updates, state = optimizer.update(gradients, state, parameters)
        return value, optax.apply_updates(parameters, updates), state, own

    state, losses = optimizer.init(parameters), []
    for _ in range(EPOCHS):
        for begin in range(0, TRAIN, BATCH):
            rows = slice(begin, min(begin + BATCH, TRAIN))
            value, parameters, state, own = step(parameters, state, pixels[rows], labels[rows])
            moments = {key: 0.9 * old + 0.1 * own[key] for key, old in moments.items()}
            losses.append(float(value))
    value, (_, scores) = loss(parameters, pixels[TRAIN:], labels[TRAIN:], moments)
    accuracy = float((scores.argmax(1) == labels[TRAIN:]).mean())
    print(f"{name}: {losses[0]:.6f} -> {losses[-1]:.6f}, test {float(value):.6f} {accuracy:.4f}")
    return {"losses": losses, "test_loss": float(value), "test_accuracy": accuracy}


def main():
    pixels = np.fromfile(DIGITS / "pixels.u8", np.uint8).reshape(-1, 64) / 16.0
    labels = np.fromfile(DIGITS / "labels.u8", np.uint8).astype(np.int64)
    warmup = optax.linear_schedule(0.01 / 10, 0.01, 9)
    falling = optax.cosine_decay_schedule(0.01, STEPS - 10, alpha=0.1)
    schedule = optax.join_schedules([warmup, falling], [10])
    runs = {
        "mlp": (mlp, optax.sgd(0.05, momentum=0.9, nesterov=True)),
        "cnn": (cnn, optax.adam(0.01)),
        "lstm": (lstm, optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(0.01, weight_decay=0.01))),
        "transformer": (transformer, optax.adamw(schedule, weight_decay=0.01)),
    }
    result = {name: train(name, model, optimizer, pixels, labels) for name, (model, optimizer) in runs.items()}
    (HERE / "losses.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
