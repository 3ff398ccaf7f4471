"""Label speech with phones, for the articulator's pretraining.

The speech has three sources, none of which is needed at run time:

- speech of a table of recordings, recognised by PocketSphinx (BSD; ``pip install pocketsphinx``),
- sentences spoken by flite's three recorded voices (English), which says when each phone ends,
- sentences spoken by espeak-ng in any language, which says when each phone begins.

    python tools/label_phones.py MANIFEST.csv TEXTS_DIR OUT.npz

``TEXTS_DIR`` holds ``LANGUAGE.txt`` files, a sentence a line. Writes ``rows`` ``float16 (R, 82)``
(levelled features, 100 a second), ``phones`` ``uint8 (R / 2,)``
(``mien.training.articulator.data.PHONE_CLASSES``) and ``starts`` (first row of every recording).
"""

from __future__ import annotations

import csv
import ctypes
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pocketsphinx import Decoder, get_model_path

from mien.media.audio import read_speech
from mien.speech.articulation import CODES_PER_SECOND, levelled
from mien.speech.features import features
from mien.training.articulator.data import from_arpabet, from_ipa

Spoken = tuple[npt.NDArray[np.float32], list[tuple[float, str]]]
"""Samples at 16 kHz, and (end in seconds, IPA symbol) of every phone."""

_MOST = {"nemo": 1500, "urdu": 200}
"""Recordings used of a corpus, whose sentences repeat."""

_RAVDESS = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}
_FLITE_MINUTES, _ESPEAK_MINUTES = 75.0, 6.0
_VARIANTS = ("", "+m2", "+m4", "+f2", "+f4", "+klatt2", "+m7", "+f5")


def main(manifest: Path, texts: Path, out: Path) -> None:
    """Label everything and write one file."""
    rng = np.random.default_rng(0)
    rows, phones, starts, count = [], [], [], 0
    for source in (_recordings(manifest, rng), _flite(texts / "en.txt", rng), _espeak(texts, rng)):
        for samples, ends in source:
            heard = levelled(features(samples))
            heard = heard[: len(heard) // 2 * 2]
            times = (np.arange(len(heard) // 2) + 0.5) / CODES_PER_SECOND
            index = np.searchsorted([end for end, _ in ends], times)
            said = np.array([from_ipa(symbol) for _, symbol in ends] + [0], np.uint8)
            rows.append(heard.astype(np.float16))
            phones.append(said[index])
            starts.append(count)
            count += len(heard)
        print(f"{count / 6000:.0f} minutes", flush=True)
    part = out.with_suffix(".part.npz")
    np.savez(part, rows=np.concatenate(rows), phones=np.concatenate(phones), starts=starts)
    part.replace(out)


def _recordings(manifest: Path, rng: np.random.Generator) -> Iterator[Spoken]:
    decoder = Decoder(
        hmm=get_model_path("en-us/en-us"),
        allphone=get_model_path("en-us/en-us-phone.lm.bin"),
        dict=get_model_path("en-us/cmudict-en-us.dict"),
        lw=2.0, beam=1e-20, pbeam=1e-20, loglevel="FATAL",
    )  # fmt: skip
    aligner = Decoder(
        hmm=get_model_path("en-us/en-us"),
        dict=get_model_path("en-us/cmudict-en-us.dict"),
        lm=None, beam=1e-60, wbeam=1e-60, pbeam=1e-60, loglevel="FATAL",
    )  # fmt: skip
    with manifest.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    for corpus in dict.fromkeys(row["corpus"] for row in table):
        mine = [row for row in table if row["corpus"] == corpus and row["split"] == "train"]
        rng.shuffle(mine)
        for row in mine[: _MOST.get(corpus, len(mine))]:
            samples = read_speech(manifest.parent / row["file"])
            loud = samples / (np.abs(samples).max() + 1e-6) * 0.7
            text = _RAVDESS.get(row["sentence"], "") if corpus == "ravdess" else ""
            ends = _aligned(aligner, loud, text) if text else []
            yield samples, ends or _heard(decoder, loud)


def _heard(decoder: Decoder, samples: npt.NDArray[np.float32]) -> list[tuple[float, str]]:
    _listen(decoder, samples)
    return [((s.end_frame + 1) / 100, from_arpabet(s.word)) for s in decoder.seg()]


def _aligned(
    decoder: Decoder, samples: npt.NDArray[np.float32], text: str
) -> list[tuple[float, str]]:
    """Align text with sound; empty where the text is not found."""
    decoder.set_align_text(text)
    try:
        _listen(decoder, samples)
        decoder.set_alignment()
        _listen(decoder, samples)
    except RuntimeError:
        return []
    return [
        ((phone.start + phone.duration) / 100, from_arpabet(phone.name))
        for word in decoder.get_alignment()
        for phone in word
    ]


def _listen(decoder: Decoder, samples: npt.NDArray[np.float32]) -> None:
    decoder.start_utt()
    decoder.process_raw((samples * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()


def _flite(text: Path, rng: np.random.Generator) -> Iterator[Spoken]:
    lines = text.read_text("utf-8").splitlines()
    rng.shuffle(lines)
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        wave = Path(folder) / "said.wav"
        for number, line in enumerate(lines):
            if seconds > 60 * _FLITE_MINUTES:
                return
            command = ["flite", "-voice", ("slt", "rms", "awb")[number % 3], "-t", line, "-psdur"]
            command += ["--setf", f"duration_stretch={rng.uniform(0.75, 1.2):.2f}", "-o", str(wave)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            pairs = [item.rsplit(":", 1) for item in printed.split()]
            samples = read_speech(wave)
            seconds += len(samples) / 16000
            yield samples, [(float(end), from_arpabet(name.upper())) for name, end in pairs]


class _Event(ctypes.Structure):
    """``espeak_EVENT`` of espeak-ng's public header."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("string", ctypes.c_char * 8),
    ]


def _espeak(texts: Path, rng: np.random.Generator) -> Iterator[Spoken]:
    import soxr

    library = ctypes.CDLL("libespeak-ng.so.1")
    rate = library.espeak_Initialize(2, 0, None, 3)  # synchronous; phone events, in IPA
    pieces: list[npt.NDArray[np.float32]] = []
    begun: list[tuple[float, str]] = []

    @ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
    )
    def hear(wave: object, count: int, events: object) -> int:
        if count > 0:
            pieces.append(np.ctypeslib.as_array(wave, (count,)).astype(np.float32) / 32768)
        i = 0
        while events[i].type != 0:
            if events[i].type == 7:
                name = ctypes.string_at(ctypes.addressof(events[i]) + _Event.string.offset, 8)
                symbol = name.split(b"\0")[0].decode("utf-8", "ignore")
                begun.append((events[i].sample / rate, symbol))
            i += 1
        return 0

    library.espeak_SetSynthCallback(hear)
    for text in sorted(texts.glob("*.txt")):
        lines = text.read_text("utf-8").splitlines()
        rng.shuffle(lines)
        seconds = 0.0
        for number, line in enumerate(lines):
            if seconds > 60 * _ESPEAK_MINUTES:
                break
            pieces.clear()
            begun.clear()
            library.espeak_SetVoiceByName((text.stem + _VARIANTS[number % len(_VARIANTS)]).encode())
            library.espeak_SetParameter(1, int(rng.integers(120, 220)), 0)
            library.espeak_SetParameter(3, int(rng.integers(25, 80)), 0)
            said = re.sub(r"[<>&]", " ", line).encode()
            library.espeak_Synth(said, len(said) + 1, 0, 1, 0, 1, None, None)
            if not pieces or not begun:
                continue
            samples = soxr.resample(np.concatenate(pieces), rate, 16000)
            ends = [(begun[0][0], "")]
            ends += [(later[0], now[1]) for now, later in pairwise(begun)]
            seconds += len(samples) / 16000
            yield samples.astype(np.float32), [*ends, (len(samples) / 16000, begun[-1][1])]


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
