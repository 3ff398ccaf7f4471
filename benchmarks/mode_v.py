"""Mode V on the mesh: what voice and face say together, and how much of the person is left in it.

    python benchmarks/mode_v.py DATA runs/dice-face

First recordings of RAVDESS (voices and OpenFace's action units of the same moment, actors held
out), with the net of the run; then films of people who speak, with mien's tracker and what ships.
Films are labelled by their names where these name an emotion, and else by eye, without their
sound. Nothing is trained on these labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from record import ROOT, table, write_section

from mien.cmet.mesh import CHOICE
from mien.dicetalk.prior_sampling import emotion_gaussians
from mien.dicetalk.speaking_face import (
    FACE_EMOTIONS,
    SAME_FACE,
    SpeakingFaceReader,
    typical_units,
    with_face,
)
from mien.emotion.references import faces_of
from mien.media.audio import has_sound
from mien.speech.analysis import analyse_file
from mien.speech.listener import VOICE_EMOTIONS, Listener
from mien.training.emotion_prior.face import (
    SpeakingFaceConfig,
    changes_of,
    load_net,
    load_speaking_faces,
)
from mien.training.emotion_prior.probes import style_probe
from mien.training.voice_faces import load_voice_faces

NEUTRAL: Final = (
    "GRID_", "id2_vcd_swwp2s", "W009_038", "_s18", "_s20", "Obama", "reagan", "andrew", "feifeili",
    "KristiNoem", "pose_source2", "mouth_source", "RD_Radio1_000_5", "May_5s", "Source_00473",
    "731200067", "741400163", "741400104", "796100172", "Input_00010", "Input_00098",
    "Source_00373", "517600055",
)  # fmt: skip
CLIPS: Final = {
    "neutral": NEUTRAL,
    "happy": ("_s29", "furious_talk2_clip6", "happyenglish", "vscodehappy"),
    "sad": ("sadfather", "sadgirl", "furious_talk2_clip5"),
    "angry": ("furious_talk1", "furious_talk2_clip1", "spata"),
    "surprised": ("surprisegirl",),
}
"""Parts of the clips' names by emotion."""


def main() -> None:  # noqa: D103
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    pairs = table(
        ["neutral face", "voice", "face", "both", "speakers trained on by style", "held out"],
        recordings(args.data, args.run),
    )
    films = table(
        ["emotion", "clips", "face", "with sound", "voice", "both"],
        films_read(args.data / "talking"),
    )
    write_section(
        "Voice and face of a clip",
        "Recordings of RAVDESS actors 17-20, whose faces OpenFace read: share of eight emotions "
        "(calm and neutral have one face) named rightly from the voice alone, the face alone and "
        "both, as `--like CLIP` takes them. The embedding is the mean of the emotions' priors, "
        "weighted by their probabilities as the faces of `--like` are. Speakers by style: how often a linear probe recognises them "
        f"from it without the emotions' means (chance 0.06 and 0.25).\n\n{pairs}\n\n"
        "Films of people who speak, read by mien's tracker: share named rightly. The labels are "
        f"names of the clips, or given by eye without the sound.\n\n{films}",
    )


def recordings(data: Path, run: Path) -> Iterator[list[str | float]]:
    """Yield a row per kind of neutral face."""
    config = SpeakingFaceConfig.load(ROOT / "configs" / "dice_face.toml", data=data)
    found = load_voice_faces(config, run)
    net = load_net(run / "speaking_face.pt")
    size = load_speaking_faces(config, found).size
    priors = emotion_gaussians()
    columns = [VOICE_EMOTIONS.index(name) for name in priors.names]
    rows = np.flatnonzero(found.seen & np.isin(found.emotion, priors.names))
    labels = np.array([priors.names.index(name) for name in found.emotion[rows]])
    people, train = np.unique(found.speaker[rows], return_inverse=True)[1], found.train[rows]
    voice = Listener().classify(np.ascontiguousarray(found.voices[rows, 0, :-3]))[0]
    for name, change in zip(("own", "average"), changes_of(found, rows), strict=True):
        with torch.no_grad():
            face = net(torch.from_numpy(change / size) * net.scale).numpy()
        both = with_face(voice, face)[:, columns]
        weights = both**CHOICE
        embedding = weights / weights.sum(1, keepdims=True) @ priors.mean
        seen = [FACE_EMOTIONS[i] for i in face[~train].argmax(1)]
        wanted = [SAME_FACE.get(n, n) for n in found.emotion[rows][~train]]
        right = [voice[:, columns].argmax(1) == labels, both.argmax(1) == labels]
        yield [
            name,
            float(right[0][~train].mean()),
            float(np.mean(np.array(seen) == np.array(wanted))),
            float(right[1][~train].mean()),
            style_probe(embedding[train], labels[train], people[train]),
            style_probe(embedding[~train], labels[~train], people[~train]),
        ]


def films_read(folder: Path) -> Iterator[list[str | int]]:
    """Yield a row per emotion; print every film."""
    reader = SpeakingFaceReader()
    rows = []
    for emotion, path in clips(folder / "video"):
        units = typical_units(face for _, face in faces_of(path))
        if units is None:
            continue
        face = reader.odds(units)
        sound = folder / "audio" / f"{path.stem}.ogg"
        voice = both = None
        if sound.exists() and has_sound(sound):
            odds = analyse_file(sound).emotion
            voice = VOICE_EMOTIONS[int(odds.argmax())]
            both = VOICE_EMOTIONS[int(with_face(odds, face).argmax())]
        rows.append((emotion, FACE_EMOTIONS[int(face.argmax())], voice, both))
        print(f"{path.stem:60} {emotion:10}", *map(str, rows[-1][1:]))
    for emotion in CLIPS:
        own = [row for row in rows if row[0] == emotion]
        sounding = [row for row in own if row[2] is not None]
        shares = share(own, 1), len(sounding), share(sounding, 2), share(sounding, 3)
        yield [emotion, len(own), *shares]


def clips(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield emotions and clips that exist."""
    for path in sorted(folder.glob("*.mp4")):
        for emotion, parts in CLIPS.items():
            if any(part in path.stem for part in parts):
                yield emotion, path


def share(rows: list[tuple[str, str, str | None, str | None]], column: int) -> str:
    """Return which share of the rows is named rightly (calm counts as neutral)."""
    right = [SAME_FACE.get(str(row[column]), row[column]) == row[0] for row in rows]
    return f"{np.mean(right):.2f}" if rows else "–"


if __name__ == "__main__":
    main()
