"""Evaluate the bundled listener on held-out speakers, beside a linear model; measure speed.

python benchmarks/listen.py --data DATA --features FOLDER

DATA is the folder of the training data (see configs/listener.toml); FOLDER is where a training kept
its features, or a new one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import process_time

import numpy as np
import torch
from record import ROOT, table, write_section

from mien.media.audio import SAMPLE_RATE_HZ
from mien.speech.features import FEATURES_PER_SECOND, MELS
from mien.speech.listener import LEARNED_EMOTIONS, Listener
from mien.training.listener import ListenerConfig
from mien.training.listener.data import SpeechData, load_data
from mien.training.listener.sampling import Excerpts
from mien.training.listener.task import recall

CEPSTRA = 30
DRAWS = 4
RESAMPLES = 2000
BINS = 10
NEMO = 4
"""One in so many of its recordings is measured; the speaker has 539."""


def statistics(rows: np.ndarray) -> np.ndarray:
    """Return means, spreads and quantiles of cepstra and pitch for the linear model."""
    rows = rows.astype(np.float32)
    band = np.arange(MELS)[:, None] + 0.5
    cosines = np.cos(np.pi * band * np.arange(CEPSTRA)[None] / MELS) * np.sqrt(2 / MELS)
    cepstra = rows[:, :MELS] @ cosines
    voiced = rows[:, MELS + 1] > 0.5
    pitch = rows[voiced, MELS] if voiced.sum() > 3 else np.zeros(3)
    return np.concatenate(
        [
            cepstra.mean(0), cepstra.std(0), *np.percentile(cepstra, [10, 90], axis=0),
            np.diff(cepstra, axis=0).std(0), (cepstra[5:] - cepstra[:-5]).std(0),
            [pitch.mean(), pitch.std(), *np.percentile(pitch, [5, 50, 95]), voiced.mean(),
             np.abs(np.diff(pitch)).mean(), len(rows) / FEATURES_PER_SECOND],
        ]
    )  # fmt: skip


def linear(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Predict the labels of ``test`` by multinomial logistic regression."""
    x, y = torch.tensor(train, dtype=torch.float32), torch.tensor(labels)
    weights = torch.zeros(x.shape[1], len(LEARNED_EMOTIONS), requires_grad=True)
    bias = torch.zeros(len(LEARNED_EMOTIONS), requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=300)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weights + bias, y)
        loss = loss + 0.01 * (weights**2).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return (torch.tensor(test, dtype=torch.float32) @ weights + bias).detach().numpy().argmax(1)


def baseline(data: SpeechData, excerpts: Excerpts, corpus: str) -> tuple[float, float]:
    """Return the linear model's accuracy, alone and minus the speaker's neutral statistics."""
    some = [i for i, u in enumerate(data.utterances) if u.corpus == corpus and data.emotion[i] >= 0]
    values = np.stack([statistics(excerpts.get(i)) for i in some])
    truth, speaker = data.emotion[some], data.speaker[some]
    train, held = np.isin(some, data.train), np.isin(some, [*data.held_out, *data.test])
    centre, spread = values[train].mean(0), values[train].std(0) + 1e-6
    out = []
    for beside in (False, True):
        x = (values - centre) / spread
        for person in np.unique(speaker) if beside else []:
            own = speaker == person
            x[own] -= x[own & (truth == 0)].mean(0) if (own & (truth == 0)).any() else 0
        out.append(recall(linear(x[train], truth[train], x[held]), truth[held]))
    return out[0], out[1]


def interval(right: np.ndarray, truth: np.ndarray) -> str:
    """Return the mean over labels of how often clips are ``right (N,)``, with its 95 % interval.

    The interval comes from resampling the clips of every label.
    """
    rng = np.random.default_rng(0)
    groups = [right[truth == c] for c in np.unique(truth)]
    draws = [[rng.choice(g, len(g)).mean() for g in groups] for _ in range(RESAMPLES)]
    low, high = np.percentile(np.mean(draws, 1), [2.5, 97.5])
    return f"{np.mean([g.mean() for g in groups]):.2f} ({low:.2f}-{high:.2f})"


def calibration_error(odds: np.ndarray, truth: np.ndarray) -> float:
    """Return the expected calibration error (Guo et al. 2017) of probabilities ``(N, labels)``."""
    sure, right = odds.max(1), odds.argmax(1) == truth
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [
        (place == b).mean() * abs(sure[place == b].mean() - right[place == b].mean())
        for b in np.unique(place)
    ]
    return float(np.sum(gaps))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    args = parser.parse_args()
    config = ListenerConfig.load(ROOT / "configs" / "listener.toml", data=args.data)
    data = load_data(config, args.features)
    excerpts = Excerpts(data.cache)
    listener = Listener()
    rng = np.random.default_rng(0)
    held = [i for i in (*data.held_out, *data.test) if data.emotion[i] >= 0]
    held = [i for k, i in enumerate(held) if data.utterances[i].corpus != "nemo" or k % NEMO == 0]
    embedding = {i: listener.embed([excerpts.get(i).astype(np.float32)])[0] for i in held}
    rows = []
    for corpus in ("ravdess", "mead", "nemo", "urdu", "emodb"):
        here = [i for i in held if data.utterances[i].corpus == corpus]
        truth, speaker = data.emotion[here], data.speaker[here]
        bias = np.isin(np.arange(len(LEARNED_EMOTIONS)), truth)
        whole = np.stack([listener.classify(embedding[i][None])[0][0] for i in here])
        odds = whole[:, : len(bias)] * bias
        beside = []
        for _ in range(DRAWS):
            guess = odds.argmax(1)
            for place, i in enumerate(here):
                own = [j for j in here if j != i and data.speaker[j] == data.speaker[i]]
                neutral = [j for j in own if data.emotion[j] == 0]
                if neutral:
                    plain = embedding[rng.choice(neutral)]
                    said = listener.classify(embedding[i][None], plain)[0][0]
                    guess[place] = (said[: len(bias)] * bias).argmax()
            beside.append(guess)
        simple = baseline(data, excerpts, corpus) if corpus != "mead" else ("", "")
        rows.append([corpus, len(np.unique(speaker)), len(here), int(bias.sum()),
                     interval(odds.argmax(1) == truth, truth),
                     interval((np.stack(beside) == truth).mean(0), truth),
                     calibration_error(whole, truth), *simple])  # fmt: skip
        print(rows[-1], flush=True)
    head = ["corpus", "held-out speakers", "clips", "classes", "listener alone",
            "beside one neutral clip", "calibration error", "linear alone",
            "linear, minus neutral"]  # fmt: skip
    single = Listener(threads=1)
    sound = np.tile(np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ * 10) * 0.05, 6)
    single.analyse(sound.astype(np.float32))
    start = process_time()
    single.analyse(sound.astype(np.float32))
    speed = 60 / (process_time() - start)
    text = (
        "Unweighted accuracy on speakers held out from all training, among the labels the corpus "
        "has, with 95 % intervals over clips. The listener was not trained on MEAD. The neutral "
        "clip is analysed once; `feel --neutral` analyses it at three speeds.\n\n"
        f"{table(head, rows)}\n\nSpeed, features and curve included: {speed:.0f} seconds of sound "
        "per second of one core."
    )
    write_section("Listener", text)


if __name__ == "__main__":
    main()
