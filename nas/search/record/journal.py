"""The journal: every evaluation is one JSON line, appended and flushed when it is known. It is the truth of a run.

What a line holds (the fields of an evaluation record)::

    {"number": 12, "id": "ab12…", "architecture": {…}, "objectives": {"ap": 0.41, "latency_ms": 3.2, …},
     "status": "complete" | "raced" | "screened" | "failed", "reason": null | "…", "persons": 400, "cpu_s": 0.21,
     "worker": 0, "time": 1763…}

An architecture that was only looked at (``screened``) has a second record, with ``"promoted": true``, once it is
evaluated in full.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from search_spaces.errors import InputError

__all__ = ["STATUSES", "Journal", "Record", "estimate_kinds", "is_promoted", "latest", "read_journal"]

logger = logging.getLogger(__name__)

Record = dict[str, Any]
STATUSES = ("complete", "raced", "screened", "failed")


class Journal:
    """Appends records to a file; one ``write`` a record, so that a kill leaves a whole line or a torn last one.

    Args:
        path: created with its folder if it is not there; a torn last line is cut off (with a warning).
        sync: wait until each record is on the disk. Without it a killed process loses nothing, a power cut may.

    Raises:
        InputError: the file cannot be opened for writing.
    """

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self.path = path
        self._sync = sync
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from None
        _mend(self._file, path)

    def append(self, record: Record) -> None:
        """Writes one record.

        Raises:
            OSError: the disk is full, for example; the file then ends where it ended before.
            ValueError: the record is not JSON (NaN included); nothing is written.
        """
        line = json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        end = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._sync:
                os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, end)
            error.filename = str(self.path)
            raise

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read_journal(path: Path) -> Iterator[Record]:
    """The records in the order of writing, one at a time (a journal of 100,000 need not fit in memory).

    A last line that was not written to its end is left out with a warning, and so is a second record of an
    architecture that is not a promotion: nothing is counted twice.

    Raises:
        InputError: the file is missing, or another line is not a record; the message has its number.
    """
    seen: set[tuple[str, bool]] = set()
    for number, record in _lines(path):
        key = (record["id"], is_promoted(record))
        if key in seen:
            logger.warning("%s: line %d repeats architecture %s; left out", path, number, record["id"])
            continue
        seen.add(key)
        yield record


def is_promoted(record: Mapping[str, Any]) -> bool:
    """Whether it is the second record of an architecture, which was only looked at before."""
    return record.get("promoted") is True


def estimate_kinds(status: str) -> dict[str, bool]:
    """What ``tell`` of a search is to know of values with this status."""
    return {"raced": status == "raced", "screened": status == "screened"}


def latest(records: Iterable[Record]) -> list[Record]:
    """One record an architecture: of one that was looked at and then evaluated, what the second says.

    It keeps the place, number and time of the first, and has the ``cpu_s`` of both. Where the second evaluation failed,
    the first stands.
    """
    found: dict[Any, Record] = {}
    for record in records:
        key, first = record.get("id"), found.get(record.get("id"))
        if first is None or not is_promoted(record):
            found[key] = record
        elif record.get("status") != "failed":
            kept = {name: first[name] for name in ("number", "time", "elapsed_s") if name in first}
            seconds = [one["cpu_s"] for one in (first, record) if isinstance(one.get("cpu_s"), int | float)]
            merged = record | kept | ({"cpu_s": sum(seconds)} if seconds else {})
            found[key] = {name: value for name, value in merged.items() if name != "promoted"}
    return list(found.values())


def _lines(path: Path) -> Iterator[tuple[int, Record]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: the journal cannot be read: {error.strerror}") from None
    with file:
        fault = None
        for number, line in enumerate(file, 1):
            if fault:
                raise InputError(fault)
            try:
                yield number, _record(line)
            except ValueError as error:
                fault = f"{path}: line {number} is not an evaluation ({error}); repair or remove that line"
    if fault:
        logger.warning("%s: the last line was not written to its end; left out", path)


def _record(line: bytes) -> Record:
    """One parsed line; raises ValueError saying what is wrong with it."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(record, dict):
        raise ValueError("not an object")
    kinds = {"number": int, "id": str, "architecture": dict, "objectives": dict}
    for name, kind in kinds.items():
        if not isinstance(record.get(name), kind):
            raise ValueError(f"{name} is missing or not a {kind.__name__}")
    if record["number"] < 0 or record.get("status") not in STATUSES:
        raise ValueError(f"status must be one of {', '.join(STATUSES)}, number 0 or more")
    return record


def _mend(file: int, path: Path) -> None:
    """Cuts off a last line without its end, so that the next record starts a line of its own."""
    size = os.fstat(file).st_size
    tail, start = b"", size
    while start and b"\n" not in tail:
        start = max(0, start - 65536)
        tail = os.pread(file, size - start, start)
    last = tail[tail.rfind(b"\n") + 1 :]
    if not last:
        return
    try:
        _record(last)
    except ValueError:
        logger.warning("%s: the last line was not written to its end; cut off", path)
        os.ftruncate(file, size - len(last))
    else:
        os.write(file, b"\n")
