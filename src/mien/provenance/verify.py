"""Say what a file is: its Content Credential, its metadata, and the mark in its faces."""

from __future__ import annotations

import mmap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mien.errors import InputError
from mien.media.container import existing_file, open_container
from mien.media.output import SOUND_SUFFIXES
from mien.media.still import is_still, open_still
from mien.provenance.claim import source_types_in
from mien.provenance.credential import Credential, can_sign, read_credential
from mien.provenance.detection import MarkReading, read_mark

_MEANINGS: Final = {
    "trainedAlgorithmicMedia": "made by AI",
    "compositeWithTrainedAlgorithmicMedia": "a recording changed with AI",
    "algorithmicallyEnhanced": "enhanced by an algorithm",
    "algorithmicMedia": "made by an algorithm",
    "compositeSynthetic": "composed with synthetic parts",
    "digitalCapture": "taken with a camera",
    "computationalCapture": "taken with a camera that computes",
    "humanEdits": "edited by people",
    "digitalCreation": "made by people with a program",
}
"""IPTC's digital source types in words."""

_ACTIONS: Final = {
    "c2pa.opened": "opened",
    "c2pa.edited": "edited",
    "c2pa.created": "made",
    "c2pa.placed": "parts placed",
    "c2pa.converted": "converted",
    "c2pa.transcoded": "re-encoded",
    "c2pa.cropped": "cropped",
    "c2pa.resized": "scaled",
}


@dataclass(frozen=True, slots=True)
class Findings:
    """What a file says about its making.

    Attributes:
        path: the file.
        credential: its Content Credential; None without one.
        unread: whether there is one that cannot be read here, because the extra ``provenance`` is
            not installed.
        metadata: IPTC's digital source types that its metadata name.
        mark: what was found of mien's mark; None in a file without pictures.
    """

    path: Path
    credential: Credential | None
    unread: bool
    metadata: tuple[str, ...]
    mark: MarkReading | None

    @property
    def broken(self) -> bool:
        """Whether the file or its credential was changed after signing."""
        return self.credential is not None and not self.credential.valid

    @property
    def says_ai(self) -> bool:
        """Whether anything says that AI made or changed it."""
        kinds = (*self.metadata, *(self.credential.source_types if self.credential else ()))
        made = any("trainedAlgorithmicMedia".lower() in kind.lower() for kind in kinds)
        return made or (self.mark is not None and self.mark.present)

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as plain values, ready for JSON."""
        out = {**asdict(self), "path": str(self.path), "broken": self.broken}
        out["says_ai"] = self.says_ai
        if self.mark is not None:
            out["mark"]["present"] = self.mark.present
        return out

    def in_words(self) -> list[str]:
        """Return the findings as sentences."""
        kinds = " and ".join(_MEANINGS.get(kind, kind) for kind in self.metadata)
        return [
            *self._credential_in_words(),
            f"Metadata: {kinds}." if kinds else "Metadata: nothing about its making.",
            f"Mark of mien: {self._mark_in_words()}.",
        ]

    def _credential_in_words(self) -> list[str]:
        found = self.credential
        if self.unread:
            return ["Content Credential: there is one; to read it: pip install 'mien[provenance]'."]
        if found is None:
            return ["Content Credential: none."]
        place = " (in a file beside it)" if found.sidecar else ""
        if not found.valid:
            why = ", ".join(found.problems) or "no reason given"
            return [
                f"Content Credential{place}: BROKEN: changed after signing, or damaged ({why})."
            ]
        vouched = "" if found.trusted else "; no authority known here vouches for the signer"
        when = f" on {found.time}" if found.time else ""
        made = ", ".join(_ACTIONS.get(action, action) for action in found.actions)
        kinds = " and ".join(_MEANINGS.get(kind, kind) for kind in found.source_types)
        lines = [
            f"Content Credential{place}: intact, signed by {found.signer or found.issuer}{when}"
            f"{vouched}.",
            f"  {found.tool or 'Unknown program'}: {made or 'no actions'}"
            + (f"; {kinds}." if kinds else "."),
        ]
        if found.ingredients:
            lines.append(f"  Made from: {', '.join(found.ingredients)}.")
        if found.earlier:
            lines.append(f"  Earlier credentials kept: {found.earlier}.")
        return lines

    def _mark_in_words(self) -> str:
        if self.mark is None:
            return "not looked for; there are no pictures"
        if not self.mark.faces:
            return "not looked for; no face was found"
        score = f"score {self.mark.score:.2f}, 1 is the threshold"
        return f"{'found' if self.mark.present else 'not found'} ({score})"


def verify(path: str | Path) -> Findings:
    """Say what a file is, of mien or of others.

    Raises:
        InputError: when there is no such file or it cannot be decoded.
    """
    path = existing_file(path)
    readable = can_sign()
    return Findings(
        path=path,
        credential=read_credential(path) if readable else None,
        unread=not readable and _holds_credential(path),
        metadata=_metadata(path),
        mark=read_mark(path) if _has_pictures(path) else None,
    )


def _has_pictures(path: Path) -> bool:
    if path.suffix.lower() in SOUND_SUFFIXES:
        return False
    if is_still(path):
        return True
    with open_container(path) as container:
        return bool(container.streams.video)


def _metadata(path: Path) -> tuple[str, ...]:
    """Return the source types in the XMP packet of a picture, or in the tags of another file."""
    try:
        if is_still(path):
            return source_types_in(open_still(path).metadata.xmp.decode("utf-8", "replace"))
        with open_container(path) as container:
            return source_types_in("\n".join(container.metadata.values()))
    except InputError:  # said when its pictures are read
        return ()


def _holds_credential(path: Path) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(b"jumb")
        return at >= 0 and data.find(b"c2pa", at, at + 64) >= 0
