"""Fetch published checkpoints and convert them for this project's nets.

Each engine says in its own ``FORMATS`` how its checkpoints are laid out.
"""

from __future__ import annotations

from pathlib import Path

from mien.engines.edtalk.settings import EDTalkConfig
from mien.weights.convert import Config, convert
from mien.weights.fetch import download
from mien.weights.manifest import LABELS, PRIORS, Entry
from mien.weights.store import Store, StoredWeights, sha256_of
from mien.weights.vectors import convert_labels, convert_priors


def fetch(
    item: Entry, store: Store, *, offline: bool = False, endpoint: str | None = None
) -> StoredWeights:
    """Download, check and convert a published checkpoint.

    ``offline``, what was converted before is taken as it is, whether or not its download was kept.

    Raises:
        InputError, MissingExtraError, WeightsError: see :func:`mien.weights.fetch.download` and
            :func:`convert_file`.
    """
    if offline and store.has(item.name) and store.damage(item.name) is None:
        return store.records()[item.name]
    path, sha256 = download(item, store, offline=offline, endpoint=endpoint)
    return _convert(item, path, store, item.origin, sha256, None)


def convert_file(
    item: Entry, path: Path, store: Store, config: Config | None = None
) -> StoredWeights:
    """Convert a published file (or a folder of arrays) on this machine.

    Args:
        item: what it is.
        path: the file or folder.
        store: where the converted weights go.
        config: sizes that differ from the published ones; None: those that the file carries.

    Raises:
        InputError: when it does not exist.
        WeightsError: when it is another checkpoint.
    """
    sha256 = sha256_of(path) if path.is_file() else ""
    return _convert(item, path, store, str(path), sha256, config)


def _convert(
    item: Entry, path: Path, store: Store, origin: str, sha256: str, config: Config | None
) -> StoredWeights:
    target = store.path_for(item)
    about = {"name": item.name, "origin": origin, "sha256": sha256, "licence": item.licence}
    if item.name == PRIORS:
        convert_priors(path, target, about)
    elif item.name == LABELS:
        convert_labels(path, target, EDTalkConfig().expression, about)
    elif item.group == "svd":
        from mien.engines.svd import networks

        convert(path, target, networks.FORMATS[item.name], about, config)
    else:
        from mien.engines.edtalk import checkpoints

        convert(path, target, checkpoints.FORMATS[item.name], about, config)
    return store.record(item, target, origin, sha256)
