"""Deterministic reference tensors, made from names alone (numpy only).

Every tensor is a pure function of (seed, name, shape), so weights and inputs of the golden files need not be stored:
load the same weights into an implementation, feed the same inputs, compare with ``golden/*.npz``.

    from reference_weights import state_dict, fill, image, waveform
    weights = state_dict("spec/edtalk_generator.json", seed=0)      # {published key: float32 array}
    source = image("source", 256, 256, seed=0)                      # (3, 256, 256), values in (-1, 1), smooth

Random numbers: Philox-4x64 counter generator, key = first 16 bytes (two little-endian uint64) of
sha256(f"{seed}:{name}"), counter 0.  Its raw 64-bit words are turned into normals by Box-Muller here, so the
result does not depend on numpy's own distribution code.  All arithmetic is float64, the result is rounded to float32.

A specification file maps each published key to {"shape", "dtype", "fill"}; "fill" is one of
    ["normal", scale, shift]     shift + scale * N(0, 1)
    ["positive"]                 0.5 + U(0, 1)                       (running variances)
    ["zero"]                     0                                   (BatchNorm counters, int64)
    ["fir", gain]                outer([1,3,3,1],[1,3,3,1]) / 64 * gain     constant of the architecture
    ["sinusoid"]                 sine/cosine position table, base 10000     constant of the architecture
    ["value", v]                 v everywhere
and carries "constant": true when the architecture fixes the value (such keys must load, but are not learned).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np


def _words(name: str, count: int, seed: int) -> np.ndarray:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
    return np.random.Philox(key=key).random_raw(count)


def uniform(name: str, shape, seed: int) -> np.ndarray:
    """U[0, 1) in float64 (53 bits)."""
    count = int(np.prod(shape, dtype=np.int64))
    return ((_words(name, count, seed) >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(
        shape
    )


def fill(name: str, shape, seed: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """shift + scale * N(0, 1), float32, determined by (seed, name, shape)."""
    count = int(np.prod(shape, dtype=np.int64))
    half = (count + 1) // 2
    u = (_words(name, 2 * half, seed) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log1p(-u[:half]))
    angle = 2.0 * np.pi * u[half:]
    out = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
    return (shift + scale * out).astype(np.float32).reshape(shape)


def image(name: str, height: int, width: int, seed: int, waves: int = 10) -> np.ndarray:
    """Smooth colour picture (3, H, W) in (-1, 1), float32: tanh of a sum of cosine waves of at most 4 periods."""
    par = uniform("image:" + name, (3, waves, 4), seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    y, x = (y + 0.5) / height, (x + 0.5) / width
    out = np.zeros((3, height, width))
    for c in range(3):
        for fx, fy, phase, amp in par[c]:
            out[c] += (0.2 + 0.5 * amp) * np.cos(
                2 * np.pi * ((8 * fx - 4) * x + (8 * fy - 4) * y + phase)
            )
    return np.tanh(out / 1.5).astype(np.float32)


def waveform(name: str, samples: int, seed: int, rate: int = 16000) -> np.ndarray:
    """Chirp (from 100 Hz, rising 400 Hz per second) with 3 Hz loudness changes plus noise, float32 (samples,)."""
    t = np.arange(samples, dtype=np.float64) / rate
    tone = (
        0.4 * np.sin(2 * np.pi * (100 * t + 200 * t * t)) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))
    )
    return (tone + 0.03 * fill("waveform:" + name, (samples,), seed).astype(np.float64)).astype(
        np.float32
    )


def make(name: str, entry: dict, seed: int) -> np.ndarray:
    """One tensor of a specification."""
    kind, *args = entry["fill"]
    shape = tuple(entry["shape"])
    if kind == "normal":
        return fill(name, shape, seed, *args)
    if kind == "positive":
        return (0.5 + uniform(name, shape, seed)).astype(np.float32)
    if kind == "zero":
        return np.zeros(shape, np.int64 if entry["dtype"] == "int64" else np.float32)
    if kind == "value":
        return np.full(shape, args[0], np.float32)
    if kind == "fir":
        k = np.outer([1.0, 3, 3, 1], [1.0, 3, 3, 1]) / 64.0 * args[0]
        return k.astype(np.float32).reshape(shape)
    if kind == "sinusoid":
        rows, dim = shape[-2], shape[-1]
        angle = np.arange(rows)[:, None] * np.exp(np.arange(0, dim, 2) * (-np.log(10000.0) / dim))
        table = np.zeros((rows, dim))
        table[:, 0::2], table[:, 1::2] = np.sin(angle), np.cos(angle)
        return table.astype(np.float32).reshape(shape)
    raise ValueError(f"{name}: unknown fill {kind!r}")


def state_dict(spec, seed: int, prefix: str = "") -> dict[str, np.ndarray]:
    """All tensors of a specification (path or loaded mapping) whose key starts with ``prefix``."""
    if not isinstance(spec, dict):
        spec = json.loads(Path(spec).read_text())
    return {
        k: make(k, v, seed)
        for k, v in spec.items()
        if not k.startswith("_") and k.startswith(prefix)
    }


def sample(array, limit: int = 2048):
    """What the golden files store of a large array: every ``step``-th value of the flattened array, and the step."""
    flat = np.asarray(array).reshape(-1)
    step = max(1, -(-flat.size // limit))
    if step > 1 and step % 2 == 0:
        step += 1
    return flat[::step], step


if __name__ == "__main__":
    a = fill("check", (5,), 0)
    print("fill('check', (5,), 0) =", [float(v) for v in a])
