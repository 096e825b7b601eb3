"""What a search leaves in its run folder.

``evaluations.jsonl`` (the journal) is the truth. ``search_state.json`` is a snapshot that saves time on resume.
``pareto.json`` is the front.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic

from nas.run.files import atomic_write_json, remove_partial
from nas.run.folder import RunFolder, is_measure
from nas.search.algorithms.ask_tell import AskTellSearch
from nas.search.algorithms.front import ParetoFront
from nas.search.algorithms.history import History
from nas.search.algorithms.hypervolume import hypervolume
from nas.search.algorithms.protocols import A
from nas.search.record.journal import Journal, Record, estimate_kinds, is_promoted
from nas.search.record.resume import FORMAT, check_identity, read_snapshot, replay, settings_of, signed
from nas.search.verdict import front_warning, oks_warning
from nas.search.workers.executor import Outcome
from search_spaces.errors import InputError

__all__ = ["RunLog"]


class RunLog(Generic[A]):
    """Ties a search to a run folder: each outcome is written to the journal first, then told to the search.

    Args:
        folder: the run folder; the caller holds its lock.
        search: freshly made. With ``resume`` it is brought to where the journal ends.
        resume: go on with what the folder has (which may be nothing yet).
        identity: what must be the same for evaluations to be comparable (a checkpoint's digest, the validation set,
            the machine that latency is measured on). Written with the snapshot and the front, checked on resume.
        sync: see :class:`~nas.search.record.journal.Journal`.

    Raises:
        InputError: the folder has a search and ``resume`` is not set; the journal is damaged or belongs to another
            space, other objectives or another identity; the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        search: AskTellSearch[A],
        *,
        resume: bool = False,
        identity: Mapping[str, Any] | None = None,
        sync: bool = False,
    ) -> None:
        self.folder = folder
        self.search = search
        self.front: ParetoFront[Record] = ParetoFront(len(search.problem.objectives))
        self.history = History(search.problem)
        self.counts: Counter[str] = Counter()
        self._files = RunFolder(folder)
        self._snapshot = folder / "search_state.json"
        self._identity = json.loads(json.dumps(dict(identity or {})))
        self._measured: dict[str, dict[str, Any]] = {}
        self._records = 0
        self._last_id: str | None = None
        self._last_elapsed_s = 0.0
        self._elapsed_before_s = 0.0
        self._started = time.monotonic()
        self._stopped: float | None = None
        self._written: tuple[int, str | None] | None = None
        journal = self._files.journal
        begun = journal.is_file() and journal.stat().st_size > 0
        if begun and not resume:
            raise InputError(f"{folder}: has a search already: go on with --resume, or choose another run folder")
        snapshot = None
        if begun:
            check_identity(folder, self._identity)
            snapshot = read_snapshot(self._snapshot)
            self._measured = _measured(self._files.front)
        for path in (self._snapshot, self._files.front):
            remove_partial(path)
        self._journal = Journal(journal, sync=sync)
        try:
            replay(journal, search, snapshot, self._note)
            self._elapsed_before_s = max(self._last_elapsed_s, float((snapshot or {}).get("elapsed_s", 0.0)))
            self._evaluations_before = self.evaluations
            self.save()
        except BaseException:
            self._journal.close()
            raise

    @property
    def evaluations(self) -> int:
        """Candidates that are answered, failed ones included; each once, however often it was evaluated."""
        return sum(self.counts.values())

    @property
    def elapsed_s(self) -> float:
        """Seconds of searching, those before an interruption included."""
        return self._elapsed_before_s + self._session_s

    @property
    def _session_s(self) -> float:
        return (time.monotonic() if self._stopped is None else self._stopped) - self._started

    @property
    def candidates_a_minute(self) -> float:
        """Of this session."""
        return 60 * (self.evaluations - self._evaluations_before) / max(self._session_s, 1e-9)

    def start_clock(self) -> None:
        """Searching begins now, or goes on: the workers' start does not count."""
        self._started = time.monotonic() - (0.0 if self._stopped is None else self._session_s)
        self._stopped = None

    def stop_clock(self) -> None:
        """Searching has ended: what follows does not count."""
        self._stopped = time.monotonic()

    # Evaluations ----------------------------------------------------------------------------------------------------

    def add(self, outcome: Outcome) -> Record:
        """Journals an outcome and tells it to the search.

        Raises:
            OSError: the journal cannot be written (a full disk); nothing was told.
        """
        record = self._record(outcome)
        self._journal.append(record)
        values = None if record["status"] == "failed" else record["objectives"]
        self.search.tell(outcome.architecture, values, **estimate_kinds(record["status"]))
        self._note(record)
        return record

    def _record(self, outcome: Outcome) -> Record:
        fields = dict(outcome.fields)
        values, status = fields.pop("objectives", {}), fields.pop("status", "complete")
        reason = outcome.reason
        possible = ["complete", "raced"]
        if self.search.promotes and not outcome.promoted:
            possible.append("screened")
        if reason is None and (status not in possible or not isinstance(values, dict)):
            reason = f"the evaluator returned status {status!r} and objectives {values!r}"
        reason = reason or self.search.problem.fault(values)
        record = {
            "number": outcome.number,
            "id": outcome.architecture.id,
            "architecture": outcome.architecture.to_json(),
            "objectives": {} if reason else _without_nan(values),
            "status": "failed" if reason else status,
            "reason": reason,
            "worker": outcome.worker,
            "time": round(time.time(), 3),
            "elapsed_s": round(self.elapsed_s, 3),
        }
        if outcome.promoted:
            record["promoted"] = True
        return record | {name: value for name, value in _without_nan(fields).items() if name not in record}

    def _note(self, record: Record) -> None:
        self._records += 1
        if not is_promoted(record):
            self.counts[record["status"]] += 1
        elif record["status"] != "failed":  # where it failed, what the first look said stands
            self.counts["screened"] -= 1
            self.counts[record["status"]] += 1
        self._last_id = record["id"]
        self._last_elapsed_s = float(record.get("elapsed_s", 0.0))
        values, problem = record["objectives"], self.search.problem
        if record["status"] == "complete" and not problem.violation(values):
            costs = problem.costs(values)
            self.history.add(costs, self.front.add(costs, record), self.evaluations, self._last_elapsed_s)

    # Files ----------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Writes the snapshot, and the front if it has changed since."""
        snapshot = {
            "format": FORMAT,
            "settings": settings_of(self.search),
            "identity": self._identity,
            "records": self._records,
            "bytes": self._files.journal.stat().st_size,
            "last_id": self._last_id,
            "counts": dict(self.counts),
            "elapsed_s": round(self.elapsed_s, 3),
            "search": self.search.state(with_told=False),
        }
        atomic_write_json(self._snapshot, signed(snapshot), indent=None)
        if self._written != (self.history.entered, self.warning):
            self.write_front()

    def write_front(self, measured: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Writes ``pareto.json``; ``measured`` values, by architecture id, stand beside the objectives.

        Those that were measured before and are not named now are kept.
        """
        problem, reference = self.search.problem, self.history.reference()
        self._measured |= {key: dict(values) for key, values in (measured or {}).items()}
        content = {
            "format": "vipnas-pareto/1",
            "objectives": {objective.name: objective.direction for objective in problem.objectives},
            "constraints": [str(constraint) for constraint in problem.constraints],
            "evaluations": self.evaluations,
            "fingerprint": self._identity,
            "reference": problem.values(reference) if reference else None,
            "hypervolume": hypervolume(self.front.costs, reference) if reference else 0.0,
            "front": self.members(),
        }
        if self.warning is not None:
            content["warning"] = self.warning
        atomic_write_json(self._files.front, content)
        self._written = (self.history.entered, self.warning)

    @property
    def warning(self) -> str | None:
        """What keeps the front from being a result; None where nothing does."""
        problem = self.search.problem
        return front_warning(problem, self.history, self.counts) or oks_warning(problem, self.front.items)

    def members(self) -> list[Record]:
        """The front, sorted by the first objective that is minimised (latency as a rule).

        Where the front has been measured, with the values as ``measured``.
        """
        objectives = self.search.problem.objectives
        first = next((one for one in objectives if one.direction == "min"), objectives[0])
        front = sorted(self.front.items, key=lambda record: first.cost(record["objectives"][first.name]))
        extra = {key: {"measured": values} for key, values in self._measured.items()}
        return [record | extra.get(record["id"], {}) for record in front]

    def close(self) -> None:
        self._journal.close()


def _measured(path: Path) -> dict[str, dict[str, Any]]:
    """What an earlier session has measured of the front, by architecture id; nothing where its file is damaged."""
    try:
        members = json.loads(path.read_text(encoding="utf-8"))["front"]
        measured = {str(member["id"]): dict(member["measured"]) for member in members if "measured" in member}
        return {key: kept for key, kept in measured.items() if all(map(is_measure, kept.values()))}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _without_nan(fields: dict[str, Any]) -> dict[str, Any]:
    """What an evaluator returned, less the values that JSON cannot hold."""

    def fits(value: Any) -> bool:
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            return False
        return True

    return {name: value for name, value in fields.items() if fits(value)}
