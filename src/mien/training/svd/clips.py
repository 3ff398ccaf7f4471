"""Which cached clips are trained on, which are measured on, and which show the same person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from mien.datasets.corpora import film_speaker
from mien.datasets.mead import NEUTRAL, read_place
from mien.datasets.svd_clips import CachedClip, find_clips
from mien.errors import InputError

Reference = Literal["neutral", "other", "same"]
"""Where reference pictures come from, see :class:`mien.training.svd.data.DiffusionConfig`."""


class ClipPool:
    """Cached clips, split by person and corpus (:mod:`mien.datasets.splits`).

    Args:
        labelled: folder of clips in MEAD's folders.
        unlabelled: folder of other clips, drawn as often; or None.
        test: people who are held out, too.

    Attributes:
        held_out: whether there is anybody who is only measured.
        emotions: names of all labels.

    Raises:
        InputError: when no labelled clip is left to train on.
    """

    def __init__(self, labelled: Path, unlabelled: Path | None, test: tuple[str, ...]) -> None:
        self._people: dict[tuple[str, ...], list[CachedClip]] = defaultdict(list)
        self._person: dict[Path, tuple[str, ...]] = {}
        trained: list[list[CachedClip]] = []
        measured: list[list[CachedClip]] = []
        for folder in (labelled, unlabelled):
            found = [] if folder is None else find_clips(folder)
            if folder == labelled:
                found = [one for one in found if one.emotion]
            sides: dict[bool, list[CachedClip]] = {True: [], False: []}
            for one in found:
                split = self._add(one, folder or labelled)
                names = {one.person, one.person.partition("-")[0], self._person[one.path][1]}
                sides[split == "train" and names.isdisjoint(test)].append(one)
            trained.append(sides[True])
            measured.append(sides[False])
        if not trained[0]:
            raise InputError(
                f"{labelled} holds no clip in MEAD's layout of a person to train on; those of "
                "MEAD's test people and of the setting test are only measured."
            )
        self._train = [clips for clips in trained if clips]
        self._test = [clips for clips in measured if clips]
        self.held_out = bool(self._test)
        self.emotions = {
            one.emotion for clips in self._people.values() for one in clips if one.emotion
        }

    def _add(self, one: CachedClip, folder: Path) -> str:
        """Remember who is in a clip, and from where; return the split."""
        speaker, split = film_speaker(one.path, folder)
        place = read_place(one.path, folder)
        take = () if place is None else (place.person, place.view)
        self._person[one.path] = (str(folder), speaker, *take)
        self._people[self._person[one.path]].append(one)
        return split

    def check(self, widths: Mapping[str, int]) -> None:
        """Refuse clips that were made with other nets.

        Args:
            widths: numbers of a row of an array, by the array's name.

        Raises:
            InputError: naming the first such clip.
        """
        for one in chain.from_iterable(self._people.values()):
            for name, width in widths.items():
                stored = one.arrays[name].shape[-1]
                if stored != width:
                    raise InputError(
                        f"The clip {one.path} was cached with other nets: a row of {name} has "
                        f"{stored} numbers; the nets of this training take {width}. Make the cache "
                        "again with mien features --engine svd."
                    )

    def draw(self, rng: np.random.Generator, *, held_out: bool = False) -> CachedClip:
        """Draw a clip of those trained on or held out; of all where nobody is held out."""
        groups = self._test if held_out and self.held_out else self._train
        clips = groups[int(rng.random() < 0.5)] if len(groups) > 1 else groups[0]
        return clips[int(rng.integers(len(clips)))]

    def reference(self, one: CachedClip, kind: Reference, rng: np.random.Generator) -> CachedClip:
        """Draw the clip that shows the person of ``one``: the same view and take, if MEAD's."""
        if kind == "same":
            return one
        others = [clip for clip in self._people[self._person[one.path]] if clip is not one]
        neutral = [clip for clip in others if clip.emotion == NEUTRAL]
        found = neutral if neutral and kind == "neutral" else others
        return found[int(rng.integers(len(found)))] if found else one
