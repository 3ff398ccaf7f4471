"""Content Credentials (C2PA) of outputs: written, kept from inputs, and read."""

from __future__ import annotations

import importlib.util
import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mien.errors import OutputError
from mien.media.kinds import image_kind
from mien.media.output import whole_file
from mien.provenance.claim import Claim, SourceType
from mien.provenance.keys import SigningKey
from mien.utils.text import shown
from mien.utils.version import __version__

if TYPE_CHECKING:
    from c2pa import Builder, Context

_EMBEDDED: Final = {
    ".mp4": "video/mp4",
    ".m4v": "video/x-m4v",
    ".mov": "video/quicktime",
    ".avi": "video/x-msvideo",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".flac": "audio/flac",
}
"""Formats that hold a credential."""

_BESIDE: Final = {
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".bmp": "image/bmp",
    ".apng": "image/apng",
}
"""Formats that C2PA cannot write into; FFmpeg takes an animated PNG with one for a picture."""

_BY_CONTENT: Final = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WebP": "image/webp",
    "GIF": "image/gif",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
    "HEIC": "image/heic",
    "BMP": "image/bmp",
}
"""Types of pictures, whatever their names."""

_UNKNOWN: Final = "application/octet-stream"

_SETTINGS: Final = {
    # The thumbnail of an ingredient would show the unedited face.
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}

_OWN_ASSERTION: Final = "io.github.mien.making"


def can_sign() -> bool:
    """Return whether the extra ``provenance`` is installed."""
    return all(importlib.util.find_spec(name) for name in ("c2pa", "cryptography"))


def holds_credential(suffix: str, *, clip: bool = False) -> bool:
    """Return whether files with this suffix hold a credential; others get a sidecar.

    ``clip`` says that it is a video or an animation: a PNG file may be either.
    """
    return suffix.lower() in _EMBEDDED and not (clip and suffix.lower() == ".png")


def sidecar_of(path: Path) -> Path:
    """Return where C2PA's readers look for the credential of a file that cannot hold it."""
    return path.with_suffix(".c2pa")


def seal(source: Path, target: Path, output: Path, claim: Claim, key: SigningKey) -> None:
    """Sign a finished file.

    Args:
        source: the file.
        target: where the signed file is written, with the credential in it where it can be;
            otherwise a copy, with the credential beside ``output``.
        output: the name that the signed file will have.
        claim: what is said about it.
        key: signs.

    Raises:
        OutputError: when signing or writing fails, or a timestamp server does not answer.
    """
    import c2pa

    kind = _type_of(source)
    embedded = kind in _EMBEDDED.values()
    try:
        info = c2pa.C2paSignerInfo(
            key.algorithm.encode(), key.certificates, key.key, key.timestamps.encode() or None
        )
        with (
            ExitStack() as stack,
            _context() as context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(_manifest(claim), context) as builder,
        ):
            _add_ingredients(builder, claim)
            if not embedded:
                builder.set_no_embed()
            file = stack.enter_context(source.open("rb"))
            signed = stack.enter_context(target.open("w+b"))
            manifest = builder.sign(signer, kind, file, signed)
    except c2pa.C2paError as error:
        raise OutputError(f"{shown(output)} could not be signed ({error}).") from error
    if not embedded:
        with whole_file(sidecar_of(output)) as part:
            part.write_bytes(manifest)


@dataclass(frozen=True, slots=True)
class Credential:
    """What a Content Credential says.

    Attributes:
        valid: whether file and credential are as they were signed.
        trusted: whether a certificate authority on C2PA's list vouches for the signer.
        sidecar: whether it was found beside the file.
        signer: name in the certificate.
        issuer: organisation in the certificate.
        time: when it was signed, by a timestamp server; empty without one.
        tool: what claims to have made the file.
        actions: what was done: C2PA's names.
        source_types: IPTC's digital source types of the actions.
        ingredients: titles of the files it was made from.
        earlier: number of credentials that were kept from them.
        problems: C2PA's codes of what is wrong.
    """

    valid: bool
    trusted: bool
    sidecar: bool
    signer: str
    issuer: str
    time: str
    tool: str
    actions: tuple[str, ...]
    source_types: tuple[str, ...]
    ingredients: tuple[str, ...]
    earlier: int
    problems: tuple[str, ...]


def read_credential(path: Path) -> Credential | None:
    """Read the Content Credential of a file, or that beside it; None where there is none.

    Needs the extra ``provenance``.
    """
    import c2pa

    kind, beside = _type_of(path), sidecar_of(path)
    sidecar = kind not in _EMBEDDED.values() and path != beside and beside.is_file()
    if not sidecar and kind not in _EMBEDDED.values():
        return None
    manifest = beside.read_bytes() if sidecar else None
    try:
        with (
            path.open("rb") as file,
            _context() as context,
            c2pa.Reader(kind, file, manifest, context=context) as reader,
        ):
            return _credential(json.loads(reader.json()), sidecar=sidecar)
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError as error:
        return Credential(
            False, False, sidecar, "", "", "", "", (), (), (), 0, (f"unreadable: {error}",)
        )


def _credential(store: dict[str, Any], *, sidecar: bool) -> Credential:
    """Return what c2pa's reader found, in short."""
    active = store["manifests"][store["active_manifest"]]
    info = active.get("signature_info") or {}
    actions = [
        action
        for assertion in active.get("assertions", ())
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"].get("actions", ())
    ]
    kinds = [str(action.get("digitalSourceType", "")) for action in actions]
    failures = store.get("validation_results", {}).get("activeManifest", {}).get("failure", ())
    codes = [str(failure["code"]) for failure in failures]
    tools = active.get("claim_generator_info") or [{"name": active.get("claim_generator", "")}]
    return Credential(
        valid=store.get("validation_state") in ("Valid", "Trusted"),
        trusted=store.get("validation_state") == "Trusted",
        sidecar=sidecar,
        signer=str(info.get("common_name", "")),
        issuer=str(info.get("issuer", "")),
        time=str(info.get("time", "")),
        tool=" ".join(str(tools[0].get(name, "")) for name in ("name", "version")).strip(),
        actions=tuple(str(action.get("action", "")) for action in actions),
        source_types=tuple(kind.rsplit("/", 1)[-1] for kind in kinds if kind),
        ingredients=tuple(str(one.get("title", "")) for one in active.get("ingredients", ())),
        earlier=len(store["manifests"]) - 1,
        problems=tuple(code for code in codes if code != "signingCredential.untrusted"),
    )


def _context() -> Context:
    import c2pa

    return c2pa.Context.from_dict(_SETTINGS)


def _manifest(claim: Claim) -> dict[str, Any]:
    """Return the definition of a manifest, without its ingredients."""
    used = [str(i) for i, one in enumerate(claim.ingredients) if one.relation != "parentOf"]
    parents = [str(i) for i, one in enumerate(claim.ingredients) if one.relation == "parentOf"]
    described = {
        "digitalSourceType": claim.source.address,
        "softwareAgent": {"name": "mien", "version": __version__},
        "description": "The emotion of faces was changed."
        if claim.source is SourceType.EDITED
        else "A portrait was made to speak.",
    }
    if used:
        described["parameters"] = {"ingredientIds": used}
    actions = [{"action": "c2pa.opened", "parameters": {"ingredientIds": parents}}]
    if claim.source is SourceType.CREATED or not parents:  # edited in memory: there is no file
        actions = [{"action": "c2pa.created", **described}]
    else:
        actions.append({"action": "c2pa.edited", **described})
    making = {
        "engine": claim.engine,
        "emotion": _without_folders(claim.emotion),
        "weights": [asdict(one) for one in claim.weights],
        "imperceptibleMark": claim.marked,
    }
    return {
        "claim_generator_info": [{"name": "mien", "version": __version__}],
        "title": claim.title,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}},
            {"label": _OWN_ASSERTION, "kind": "Json", "data": making},
        ],
    }


def _without_folders(value: Any) -> Any:  # noqa: ANN401 - plain values, nested
    """Return plain values with the names of files instead of their paths."""
    if isinstance(value, dict):
        return {_without_folders(key): _without_folders(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(one) for one in value]
    if isinstance(value, str | Path):
        return Path(value).name or str(value)
    return value


def _add_ingredients(builder: Builder, claim: Claim) -> None:
    """Add the files an output was made from, with their own credentials."""
    import c2pa

    for number, ingredient in enumerate(claim.ingredients):
        described = {
            "title": ingredient.path.name,
            "relationship": ingredient.relation,
            "label": str(number),
        }
        with ingredient.path.open("rb") as file:
            try:
                builder.add_ingredient(described, _type_of(ingredient.path), file)
            except c2pa.C2paError:  # not what its name says
                file.seek(0)
                builder.add_ingredient(described, _UNKNOWN, file)


def _type_of(path: Path) -> str:
    """Return the type of a file: of pictures by their content, of others by their names."""
    kind, suffix = image_kind(path), path.suffix.lower()
    if kind is not None and kind.name == "PNG" and kind.animated:
        return _BESIDE[".apng"]
    if kind is not None and kind.name in _BY_CONTENT:
        return _BY_CONTENT[kind.name]
    return _EMBEDDED.get(suffix) or _BESIDE.get(suffix, _UNKNOWN)
