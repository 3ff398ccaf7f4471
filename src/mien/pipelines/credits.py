"""What the output of a job says about its making."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mien.media.output import Finish
from mien.pipelines.report import Maker
from mien.provenance.claim import Claim, Ingredient, ProvenanceRecord, SourceType
from mien.provenance.credential import can_sign, seal, sidecar_of
from mien.provenance.keys import SigningKey, signing_key, wants_own_key
from mien.provenance.label import Label, label_text

if TYPE_CHECKING:
    from mien.pipelines.job import Job


def source_type_of(job: Job) -> SourceType:
    """Return whether the output is an edited recording or was made anew."""
    made = job.speech is not None and job.still
    return SourceType.CREATED if made else SourceType.EDITED


def signing_key_of(job: Job) -> SigningKey | None:
    """Return the key to sign with; None where nothing is signed."""
    if job.provenance and (can_sign() or wants_own_key()):
        return signing_key()
    return None


def label_of(job: Job, width: int, height: int) -> Label | None:
    """Return the visible label of pictures of a size; None where none is wanted.

    Raises:
        InputError: for a language without a label.
    """
    if job.label is None:
        return None
    text = label_text(job.label, created=source_type_of(job) is SourceType.CREATED)
    return Label.of(text, width, height)


def sealing(job: Job, output: Path, maker: Maker, key: SigningKey) -> Finish:
    """Return what signs the finished file, which will be called ``output``."""

    def finish(written: Path, kept: Path) -> None:
        seal(written, kept, output, _claim(job, output, maker), key)

    return finish


def sidecar_warning(job: Job, record: ProvenanceRecord) -> tuple[str, ...]:
    """Return a warning where the credential lies beside the output."""
    if job.output is None or record.credential != "sidecar":
        return ()
    return (
        f"{job.output.suffix[1:].upper()} cannot hold a Content Credential: it is in "
        f"{sidecar_of(job.output).name}, which belongs to the output.",
    )


def _claim(job: Job, output: Path, maker: Maker) -> Claim:
    """Return what is said about the output; complete when the work is done."""
    edited = source_type_of(job) is SourceType.EDITED
    ingredients = []
    if job.given is None:
        ingredients.append(Ingredient(job.source, "parentOf" if edited else "inputTo"))
    if job.speech is not None and not job.own_voice:
        ingredients.append(Ingredient(job.speech, "inputTo"))
    if job.follow is not None:
        ingredients.append(Ingredient(job.follow, "inputTo"))
    return Claim(
        output.name,
        source_type_of(job),
        maker.engine,
        maker.resolver.describe(),
        maker.weights(),
        tuple(ingredients),
    )
