"""Download published weights from the Hugging Face hub; interrupted downloads go on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from mien.errors import InputError, MissingExtraError, WeightsError
from mien.weights.manifest import Entry
from mien.weights.store import Store, sha256_of

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def download(
    item: Entry, store: Store, *, offline: bool = False, endpoint: str | None = None
) -> tuple[Path, str]:
    """Get the published file of ``item``; what was downloaded before is not fetched again.

    Args:
        item: what to get.
        store: where downloads are kept.
        offline: use what is here, never the network.
        endpoint: another hub than huggingface.co.

    Returns:
        The file and its SHA-256, which has been checked against the manifest's, or else against the
        hub's.

    Raises:
        InputError: for weights that a user must bring.
        MissingExtraError: without huggingface_hub.
        WeightsError: when it cannot be had, saying why and what to do.
    """
    if not item.repository:
        raise InputError(
            f"{item.name} cannot be fetched: {item.about}. See {item.source}, then: mien weights "
            f"convert {item.name} FOLDER"
        )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingExtraError(
            f"Fetching weights needs more than the core ({error.name}): pip install 'mien[edtalk]'."
        ) from error
    try:
        path = Path(
            hf_hub_download(
                item.repository,
                item.file,
                revision=item.revision,
                cache_dir=store.downloads,
                local_files_only=offline,
                endpoint=endpoint,
            )
        )
    except Exception as error:
        raise _plain(error, item, offline=offline) from error
    return path, _checked(path, item)


def _checked(path: Path, item: Entry) -> str:
    """The file's SHA-256.

    Large files lie in the hub's cache under their SHA-256; it is checked where the manifest knows
    no better.
    """
    promised = item.sha256
    if promised is None and _SHA256.fullmatch(path.resolve().name):
        promised = path.resolve().name
    found = sha256_of(path)
    size = path.stat().st_size
    wrong_size = item.size is not None and size != item.size
    if wrong_size or (promised is not None and found != promised):
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise WeightsError(
            f"The download of {item.name} is damaged: {size} bytes with SHA-256 {found[:12]}…, "
            f"expected {item.size or 'a file'} with {(promised or '')[:12]}…. It was removed; "
            "fetch it again."
        )
    return found


def _plain(error: Exception, item: Entry, *, offline: bool) -> Exception:
    from huggingface_hub import errors

    by_hand = f"Or download {item.page} by hand, then: mien weights convert {item.name} FILE"
    if isinstance(error, errors.GatedRepoError):
        return WeightsError(
            f"{item.repository} is only for those who asked: accept its terms at {item.page}, log "
            "in with `hf auth login` and fetch again."
        )
    if isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError):
        return WeightsError(f"There is no {item.repository} ({item.revision}) any more. {by_hand}")
    if isinstance(error, errors.LocalEntryNotFoundError):
        reason = "it was asked to work offline" if offline else "the hub cannot be reached"
        return WeightsError(
            f"{item.name} is not on this machine and {reason}. Connect and fetch again: what has "
            f"been downloaded is kept. {by_hand}"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return WeightsError(f"{item.repository} has no file {item.file} any more. {by_hand}")
    if isinstance(error, OSError | errors.HfHubHTTPError) or "httpx" in type(error).__module__:
        return WeightsError(
            f"The download of {item.name} broke off ({_first_line(error)}). Fetch again: it goes "
            f"on where it stopped. {by_hand}"
        )
    return error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
