"""What an output says about itself in plain words: who changed what, and the IPTC's source type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from mien.utils.version import __version__
from mien.weights.store import Weights

_TERMS: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"

_SOURCE_TYPE: Final = re.compile(re.escape(_TERMS) + r"(\w+)")
_DESCRIPTION: Final = (
    '<rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
    "<Iptc4xmpExt:DigitalSourceType>{term}</Iptc4xmpExt:DigitalSourceType>"
    "<xmp:CreatorTool>{tool}</xmp:CreatorTool></rdf:Description>"
)
_PACKET: Final = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{description}</rdf:RDF>'
    '</x:xmpmeta><?xpacket end="w"?>'
)
_FORMER: Final = re.compile(
    r"<rdf:Description\b(?:(?!</rdf:Description>).)*?<Iptc4xmpExt:DigitalSourceType>"
    r"(?:(?!</rdf:Description>).)*?</rdf:Description>",
    re.DOTALL,
)


class SourceType(Enum):
    """Where an output comes from; the values are the IPTC's digital source types."""

    EDITED = "compositeWithTrainedAlgorithmicMedia"
    CREATED = "trainedAlgorithmicMedia"

    @property
    def address(self) -> str:
        """The IPTC's address of the term."""
        return _TERMS + self.value

    @property
    def comment(self) -> str:
        """One line for players and people."""
        what = "Made with AI" if self is SourceType.CREATED else "Faces changed with AI"
        return f"{what} (mien {__version__}); digital source type: {self.address}"

    def add_to_comment(self, comment: str) -> str:
        """Return a file's own comment with this one after it; that of a former run is replaced."""
        own = [line for line in comment.splitlines() if not _SOURCE_TYPE.search(line)]
        return "\n".join([*own, self.comment])

    def add_to_xmp(self, packet: bytes) -> bytes:
        """Return an XMP packet with the source type in it; that of a former run is replaced."""
        description = _DESCRIPTION.format(term=self.address, tool=f"mien {__version__}")
        text = _FORMER.sub("", packet.decode("utf-8", "replace"))
        at = text.rfind("</rdf:RDF>")
        if at < 0:
            return _PACKET.format(description=description).encode()
        return (text[:at] + description + text[at:]).encode()


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A file that an output was made from.

    Attributes:
        path: of the file.
        relation: C2PA's ``parentOf`` for what was edited, ``inputTo`` for what was used.
    """

    path: Path
    relation: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said about an output.

    Attributes:
        title: name of the output.
        source: whether it is an edited recording or was made anew.
        engine: name of the engine.
        emotion: the request in plain values; of files, only the names are published.
        weights: nets it was made with.
        ingredients: files it was made from.
        marked: whether faces carry the imperceptible mark.
    """

    title: str
    source: SourceType
    engine: str
    emotion: Mapping[str, Any]
    weights: tuple[Weights, ...]
    ingredients: tuple[Ingredient, ...]
    marked: bool = True


@dataclass(frozen=True, slots=True)
class ProvenanceRecord:
    """What an output carries about its making.

    Attributes:
        wanted: False where the user has turned it off.
        credential: ``"embedded"`` or ``"sidecar"`` for a signed Content Credential, else empty.
        signer: name in the certificate.
        metadata: whether plain metadata name the digital source type.
        mark: whether edited faces carry the imperceptible mark.
        label: the visible label; empty without one.
    """

    wanted: bool = True
    credential: str = ""
    signer: str = ""
    metadata: bool = False
    mark: bool = False
    label: str = ""


def source_types_in(text: str) -> tuple[str, ...]:
    """Return the IPTC's digital source types that a text names, without their address."""
    return tuple(dict.fromkeys(_SOURCE_TYPE.findall(text)))
