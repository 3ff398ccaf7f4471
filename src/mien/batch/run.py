"""Run the rows of a batch on several workers; what is finished is not done again."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from mien.batch.rows import Row, arguments, is_address
from mien.errors import MienError, OutputError, needs_extra
from mien.media.output import whole_file
from mien.provenance.credential import sidecar_of
from mien.utils.workers import run_tasks

_BEGUN: Final = ".begun"


@dataclass(frozen=True, slots=True)
class RowResult:
    """How a row ended.

    Attributes:
        number: of the row.
        output: file of the row.
        error: why it failed; empty where it is done.
        exit_code: what ``mien edit`` would have ended with.
        warnings: of the job.
        kept: whether an earlier run had done it.
    """

    number: int
    output: str
    error: str = ""
    exit_code: int = 0
    warnings: tuple[str, ...] = ()
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """How a batch ended.

    Attributes:
        done: rows finished now.
        kept: rows that an earlier run had finished.
        failed: results of the rows that failed.
        reports: folder with a report for every row.
    """

    done: int
    kept: int
    failed: tuple[RowResult, ...]
    reports: Path

    @property
    def exit_code(self) -> int:
        """0 when every row is done; the rows' own code where all failed alike; else 1."""
        codes = {result.exit_code for result in self.failed}
        if not codes:
            return 0
        return codes.pop() if len(codes) == 1 and not self.done + self.kept else 1

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values, ready for JSON."""
        failed = [
            {
                "row": one.number,
                "output": one.output,
                "error": one.error,
                "exit_code": one.exit_code,
            }
            for one in self.failed
        ]
        return {
            "rows": self.done + self.kept + len(self.failed),
            "done": self.done,
            "kept": self.kept,
            "failed": failed,
            "reports": str(self.reports),
        }


def run_rows(
    rows: Sequence[Row],
    reports: Path,
    *,
    workers: int = 1,
    ray: str | None = None,
    show: Callable[[RowResult], None] | None = None,
) -> Summary:
    """Make the output of every row once.

    Every row gets a report, ``<row>-<key>.json``. A row whose report says that it is done, with the
    same options, is not done again while its output is there: a killed run goes on where it was.

    Args:
        rows: of :func:`mien.batch.rows.read_rows`.
        reports: folder for the reports, made where it is missing; of a cluster, a shared one.
        workers: processes; every one loads the nets once.
        ray: address of a Ray cluster, or ``"local"``; None for plain processes.
        show: called with the result of every row as it ends.

    Raises:
        InputError: for a number of workers below 1 or a cluster that is not there.
        MissingExtraError: when Ray is asked for and not installed.
        OutputError: when the reports cannot be written.
    """
    try:
        reports.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{reports} cannot be made ({error.strerror}).") from error
    kept = [row for row in rows if _is_done(row, reports)]
    finished = {row.number for row in kept}
    if show is not None:
        for row in kept:
            show(RowResult(row.number, row.output, kept=True))
    open_rows = [row for row in rows if row.number not in finished]
    failed: list[RowResult] = []
    work = partial(do_row, reports.absolute())
    for outcome in run_tasks(work, open_rows, workers=workers, ray=ray):
        row = outcome.task
        if outcome.error is not None or outcome.value is None:
            why = outcome.error or MienError("The row gave no result.")
            result = RowResult(row.number, row.output, str(why), why.exit_code)
            _report(row, reports, {"error": str(why), "exit_code": why.exit_code})
            failed.append(result)
        else:
            result = RowResult(row.number, row.output, warnings=outcome.value)
        if show is not None:
            show(result)
    failed.sort(key=lambda result: result.number)
    return Summary(len(open_rows) - len(failed), len(kept), tuple(failed), reports)


def do_row(reports: Path, row: Row) -> tuple[str, ...]:
    """Make the output of a row and write its report; return the warnings of the job.

    An output that a killed run has left without a report is made again.
    """
    from mien import api

    begun = reports / f"{_name(row)}{_BEGUN}"
    again = begun.exists()
    with ExitStack() as stack:
        stack.callback(begun.unlink, missing_ok=True)
        given = arguments(row)
        target = str(given["output"])
        given = _local(given, stack)
        if again or (is_address(target) and given.get("overwrite")):
            given["overwrite"] = True
        if not is_address(target) and not Path(target).exists():
            begun.touch()
        made = getattr(api, row.verb)(**given)
        if is_address(target):
            begun.touch()
            _upload(Path(given["output"]), target)
        _report(row, reports, {"report": {**made.to_dict(), "output": target}})
    return tuple(made.warnings)


def _name(row: Row) -> str:
    return f"{row.number:06d}-{row.key}"


def _report(row: Row, reports: Path, content: Mapping[str, Any]) -> None:
    said = {"row": row.number, "verb": row.verb, "options": dict(row.options), **content}
    with whole_file(reports / f"{_name(row)}.json") as part:
        part.write_text(json.dumps(said, indent=1, default=str), encoding="utf-8")


def _is_done(row: Row, reports: Path) -> bool:
    path = reports / f"{_name(row)}.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and "report" in said and _is_there(row.output)


def _is_there(output: str) -> bool:
    if not is_address(output):
        return Path(output).is_file()
    system, path = _file_system(output)
    return bool(system.exists(path))


def _local(given: dict[str, Any], stack: ExitStack) -> dict[str, Any]:
    """Return arguments whose addresses are local files: fetched, or to be sent when done."""
    if not any(is_address(one) for value in given.values() for one in _flat(value)):
        return given
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mien-batch-")))

    def fetched(address: object) -> object:
        if not is_address(address):
            return address
        system, path = _file_system(str(address))
        place = folder / f"{len(list(folder.iterdir()))}-{Path(path).name}"
        try:
            system.get(path, str(place))
        except (OSError, ValueError) as error:
            raise MienError(f"{address} cannot be fetched ({error}).") from error
        return place

    out: dict[str, Any] = {}
    for name, value in given.items():
        if name == "output":
            out[name] = folder / Path(str(value)).name if is_address(value) else value
        elif isinstance(value, list):
            out[name] = [fetched(one) for one in value]
        else:
            out[name] = fetched(value)
    target = str(given["output"])
    if is_address(target) and not given.get("overwrite") and _is_there(target):
        raise OutputError(f"{target} exists already; use overwrite to replace it.")
    return out


def _flat(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else [value]


def _upload(path: Path, address: str) -> None:
    """Send a finished file, and a credential beside it, under another name, and rename them."""
    system, target = _file_system(address)
    sidecar = sidecar_of(path)
    files = [(sidecar, str(Path(target).with_suffix(".c2pa")))] if sidecar.is_file() else []
    try:
        for file, place in (*files, (path, target)):
            system.makedirs(str(Path(place).parent), exist_ok=True)
            part = f"{place}.mien-part"
            system.put(str(file), part)
            system.mv(part, place)
    except (OSError, ValueError) as error:
        raise OutputError(f"{address} could not be written ({error}).") from error


def _file_system(address: str) -> tuple[Any, str]:
    with needs_extra("remote", f"The address {address}"):
        import fsspec
    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError, OSError) as error:
        raise MienError(f"{address} cannot be opened ({error}).") from error
    return system, str(path)
