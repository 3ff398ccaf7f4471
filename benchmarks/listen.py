"""Evaluate the bundled listener on held-out speakers, beside a linear model; measure speed.

python benchmarks/listen.py --data DATA --features FOLDER

DATA is the folder of the training data (see configs/listener.toml); FOLDER is where a training kept
its features, or a new one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from record import ROOT, table, write_section

from mien.media.audio import SAMPLE_RATE_HZ
from mien.speech.features import FEATURES_PER_SECOND, MELS
from mien.speech.listener import VOICE_EMOTIONS, Listener
from mien.training.listener import ListenerConfig
from mien.training.listener.data import SPEEDS, SpeechData, load_data
from mien.training.listener.sampling import Excerpts
from mien.training.listener.task import recall

CEPSTRA = 30
VIEWS = [SPEEDS.index(speed) for speed in (1.0, 0.92, 1.09)]
DRAWS = 4


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
    weights = torch.zeros(x.shape[1], len(VOICE_EMOTIONS), requires_grad=True)
    bias = torch.zeros(len(VOICE_EMOTIONS), requires_grad=True)
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
    train = np.isin(some, data.train)
    centre, spread = values[train].mean(0), values[train].std(0) + 1e-6
    out = []
    for beside in (False, True):
        x = (values - centre) / spread
        for person in np.unique(speaker) if beside else []:
            own = speaker == person
            x[own] -= x[own & (truth == 0)].mean(0) if (own & (truth == 0)).any() else 0
        out.append(recall(linear(x[train], truth[train], x[~train]), truth[~train]))
    return out[0], out[1]


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
    plain = np.abs(data.teacher).sum(1) == 0
    held = [i for i in data.held_out if plain[i] and data.emotion[i] >= 0]
    embedding = {i: listener.embed([excerpts.get(i).astype(np.float32)])[0] for i in held}
    views = {
        i: np.stack([listener.embed([excerpts.get(i, s).astype(np.float32)])[0] for s in VIEWS])
        for i in held
    }
    rows = []
    for corpus in ("ravdess", "nemo", "urdu", "emodb"):
        here = [i for i in held if data.utterances[i].corpus == corpus]
        truth, speaker = data.emotion[here], data.speaker[here]
        bias = np.isin(np.arange(len(VOICE_EMOTIONS)), truth)
        alone = [(listener.classify(embedding[i][None])[0][0] * bias).argmax() for i in here]
        beside = []
        for _ in range(DRAWS):
            guess = []
            for i in here:
                own = [j for j in here if j != i and data.speaker[j] == data.speaker[i]]
                neutral = [j for j in own if data.emotion[j] == 0]
                if neutral:
                    said = listener.classify_views(views[i], views[int(rng.choice(neutral))])
                else:
                    said = listener.classify(embedding[i][None])[0][0]
                guess.append((said * bias).argmax())
            beside.append(recall(np.array(guess), truth))
        simple = baseline(data, excerpts, corpus)
        rows.append([corpus, len(np.unique(speaker)), len(here), int(bias.sum()),
                     recall(np.array(alone), truth), float(np.mean(beside)), *simple])  # fmt: skip
        print(rows[-1], flush=True)
    head = ["corpus", "held-out speakers", "clips", "classes", "listener alone",
            "beside one neutral clip", "linear alone", "linear, minus neutral"]  # fmt: skip
    single = Listener(threads=1)
    sound = np.tile(np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ * 10) * 0.05, 6)
    single.analyse(sound.astype(np.float32))
    start = perf_counter()
    single.analyse(sound.astype(np.float32))
    speed = 60 / (perf_counter() - start)
    text = (
        "Unweighted accuracy on speakers held out from all training, among the labels the corpus "
        f"has.\n\n{table(head, rows)}\n\nSpeed on one core, features and curve included: {speed:.0f} "
        "times real time."
    )
    write_section("Listener", text)


if __name__ == "__main__":
    main()
