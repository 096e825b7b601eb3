"""Bringing a fresh search to where a journal ends.

The journal is the truth and is enough: told again from the first line to the last it gives the population, the front
and what was asked. A snapshot, if there is one that goes with the journal, spares most of that and knows which
architectures were in flight.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from nas.search.algorithms.ask_tell import AskTellSearch
from nas.search.algorithms.protocols import A
from nas.search.record.journal import Record, estimate_kinds, is_promoted, read_journal
from search_spaces.errors import InputError

__all__ = [
    "check_identity", "read_snapshot", "recorded_identity", "recorded_objectives", "replay", "settings_of", "signed",
]  # fmt: skip

logger = logging.getLogger(__name__)

FORMAT = "vipnas-search/1"
MOST_IN_FLIGHT = 100_000
"""So many questions can at most be without an answer; a journal that says more is damaged."""


def settings_of(search: AskTellSearch[Any]) -> dict[str, Any]:
    """What a snapshot's search has to have in common with this one for its memory to be taken over."""
    space = json.dumps(search.space.to_json(), sort_keys=True)
    return {
        "space": hashlib.sha256(space.encode()).hexdigest()[:10],
        "objectives": [str(objective) for objective in search.problem.objectives],
        "constraints": [str(constraint) for constraint in search.problem.constraints],
        **search.settings(),
    }


def recorded_identity(folder: Path) -> dict[str, Any] | None:
    """The identity of the search in a run's folder; None where neither its snapshot nor its front tells."""
    for name, key in (("search_state.json", "identity"), ("pareto.json", "fingerprint")):
        try:
            identity = json.loads((folder / name).read_text(encoding="utf-8"))[key]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if isinstance(identity, dict):
            return identity
    return None


def recorded_objectives(folder: Path) -> tuple[str, ...] | None:
    """The objectives of the search in a run's folder; None where neither its snapshot nor its front tells."""
    for name, path in (("search_state.json", ("settings", "objectives")), ("pareto.json", ("objectives",))):
        try:
            value = json.loads((folder / name).read_text(encoding="utf-8"))
            for key in path:
                value = value[key]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if isinstance(value, dict):
            return tuple(f"{key}:{direction}" for key, direction in value.items())
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return tuple(value)
    return None


def check_identity(folder: Path, identity: Mapping[str, Any], names: Collection[str] | None = None) -> None:
    """Before the evaluations of a run's folder are used.

    Args:
        names: what of the identity is looked at; None looks at all.

    Raises:
        InputError: they belong to a search of another identity and cannot be compared.
    """
    known = recorded_identity(folder)
    if known is None:
        return
    for name in sorted({*known, *identity} if names is None else names):
        if known.get(name) != identity.get(name):
            raise InputError(
                f"{folder}: its evaluations were made with {name}={known.get(name)}, now it is "
                f"{identity.get(name)}: they cannot be compared; choose another run folder"
            )


def signed(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """The snapshot with its digest: one that was changed by a hair could lead a search astray without a word."""
    return {**snapshot, "digest": _digest(snapshot)}


def _digest(snapshot: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(snapshot).encode()).hexdigest()[:16]


def read_snapshot(path: Path) -> dict[str, Any] | None:
    """The snapshot, or None where there is none or it was damaged or changed (it is written again)."""
    if not path.is_file():
        return None
    try:
        snapshot = json.loads(path.read_text(encoding="utf-8"))
        if snapshot["format"] != FORMAT or snapshot.pop("digest") != _digest(snapshot):
            raise ValueError("format")
        _ = (int(snapshot["records"]), int(snapshot["bytes"]), dict(snapshot["settings"]), dict(snapshot["search"]))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        logger.warning("%s: damaged; the journal is used alone", path)
        return None
    return dict(snapshot)


def replay(
    journal: Path, search: AskTellSearch[A], snapshot: Mapping[str, Any] | None, note: Callable[[Record], None]
) -> None:
    """Tells the journal's records to the search, and each to ``note``; what was in flight will be asked again.

    Raises:
        InputError: the journal is damaged, or belongs to another space or other objectives.
    """
    known = _take_over(journal, search, snapshot) if snapshot else 0
    numbers: list[int] = []
    for index, record in enumerate(read_journal(journal)):
        _check_values(journal, search, record)
        if index < known:
            search.mark_told(record["id"], record["number"])
        else:
            _tell_again(journal, search, record)
        numbers.append(record["number"])
        note(record)
    missing = max(numbers, default=-1) + 1 - len(numbers)
    if missing > MOST_IN_FLIGHT:
        last = max(numbers)
        raise InputError(f"{journal}: evaluation {last} of {len(numbers)}: that number cannot be; repair that line")
    search.ask_again(numbers)


def _take_over(journal: Path, search: AskTellSearch[A], snapshot: Mapping[str, Any]) -> int:
    """Restores the snapshot's search if it can be used; how many records of the journal it has seen."""
    if snapshot["settings"] != settings_of(search):
        logger.info("%s: the settings have changed; the whole journal is told again", journal)
        return 0
    if not _goes_with(journal, snapshot):
        logger.warning("%s: not what the snapshot was made of; the whole journal is told again", journal)
        return 0
    try:
        search.restore(snapshot["search"])
    except InputError as error:
        logger.warning("%s; the whole journal is told again", error)
        return 0
    return int(snapshot["records"])


def _goes_with(journal: Path, snapshot: Mapping[str, Any]) -> bool:
    """Whether the journal has, where it ended when the snapshot was made, the record that was its last.

    After a power cut it may not: the snapshot is always synced to the disk, the journal only on demand.
    """
    end = int(snapshot["bytes"])
    if end == 0:
        return int(snapshot["records"]) == 0
    with journal.open("rb") as file:
        start = max(0, end - (1 << 20))
        file.seek(start)
        head = file.read(end - start)
    lines = head.splitlines()
    try:
        return len(head) == end - start and bool(json.loads(lines[-1])["id"] == snapshot["last_id"])
    except (ValueError, KeyError, TypeError, IndexError):
        return False


def _check_values(journal: Path, search: AskTellSearch[A], record: Record) -> None:
    fault = None if record["status"] == "failed" else search.problem.fault(record["objectives"])
    if fault:
        raise InputError(
            f"{journal}: evaluation {record['number']} ({record['id']}) does not fit this search: {fault}; "
            "choose another run folder"
        )


def _tell_again(journal: Path, search: AskTellSearch[A], record: Record) -> None:
    where = f"{journal}: evaluation {record['number']} ({record['id']})"
    try:
        architecture = search.architecture(record["architecture"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: not an architecture: {error}") from None
    if architecture.id != record["id"] or not search.space.contains(architecture):
        raise InputError(f"{where} is not a member of this search space; choose another run folder")
    values = None if record["status"] == "failed" else record["objectives"]
    kinds = estimate_kinds(record["status"])
    search.tell(architecture, values, **kinds, promoted=is_promoted(record), number=record["number"])
