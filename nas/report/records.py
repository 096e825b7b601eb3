"""What the stages of a run have left in its folder. Whatever a run does not have yet is empty."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from nas.finalists.outcome import read_finalists
from nas.latency.published import PublishedLatencies, read_published
from nas.run.folder import RunFolder, read_json_lines
from nas.search.record.front import cost_of
from nas.search.record.journal import latest
from search_spaces import InputError, PoseArchitecture, VideoArchitecture
from search_spaces.video import any_architecture, load_any_architecture

from .labels import Labels

__all__ = ["RunRecords", "latency_of", "read_each", "read_records"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class RunRecords:
    """What the stages of a run have left."""

    evaluations: list[dict[str, Any]]
    front: list[dict[str, Any]]
    front_file: dict[str, Any]
    exported: dict[str, dict[str, Any]]
    """Architecture id → ``facts.json``."""
    retrained: dict[str, dict[str, Any]]
    """Architecture id → ``results.json``."""
    architectures: dict[str, PoseArchitecture | VideoArchitecture]
    """Of exported and retrained networks."""
    training: list[dict[str, Any]]
    retrained_evaluations: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Architecture id → ``evaluation/results.json`` of a retrained network."""
    finalists: dict[str, Any] = field(default_factory=dict)
    """``finalists.json``."""
    finalist_results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Architecture id → ``results.json``."""
    published: PublishedLatencies | None = None
    """``published.json``."""
    is_video: bool = False

    @cached_property
    def axes(self) -> tuple[str, str] | None:
        """The cost and the quality of the front: the latency, or else what is minimised first; what is maximised."""
        objectives = self.front_file.get("objectives", {"ap": "max", "latency_ms": "min"})
        cost = cost_of(objectives)
        gains = [name for name, direction in objectives.items() if direction == "max"]
        return (cost, gains[0]) if cost and gains else None

    @cached_property
    def by_id(self) -> dict[str, dict[str, Any]]:
        """Architecture id → its evaluation, as measured with the front where it is on it."""
        return {record["id"]: record for record in [*self.evaluations, *self.front]}

    def architecture(self, key: str) -> PoseArchitecture | VideoArchitecture | None:
        """A network by its id; None where the run's files do not say it."""
        if key in self.architectures:
            return self.architectures[key]
        entries = [*self.finalists.get("finalists", []), *([self.by_id[key]] if key in self.by_id else [])]
        return next((any_architecture(one["architecture"]) for one in entries if one["id"] == key), None)

    @cached_property
    def _measured_ms(self) -> dict[str, float]:
        """Of the finalists side by side, and of published networks."""
        published = self.published.networks if self.published else ()
        found = {one.architecture.id: one.latency_ms for one in published}
        return found | {one["id"]: one["latency_ms"] for one in self.finalists.get("finalists", [])}

    def latency_ms(self, key: str) -> float | None:
        """A network's latency in ms, by what is known best.

        As measured with the finalists, or with the front or the published networks, or else as the search had it.
        """
        if key in self._measured_ms:
            return self._measured_ms[key]
        record = self.by_id.get(key)
        return latency_of(record) if record else None

    def cost(self, key: str, name: str) -> float | None:
        """A network's value of an objective to be minimised; None where it is not known."""
        if name == "latency_ms":
            return self.latency_ms(key)
        value = self.by_id.get(key, {}).get("objectives", {}).get(name)
        return None if value is None else float(value)

    @cached_property
    def labels(self) -> Labels:
        """Of the networks that the report speaks of: those of the front, finalists, exported and retrained ones."""
        trained = [*(one["id"] for one in self.finalists.get("finalists", [])), *self.retrained]
        wanted = dict.fromkeys([*(record["id"] for record in self.front), *trained, *self.architectures])
        cost = self.axes[0] if self.axes else "latency_ms"
        places = {key: self.cost(key, cost) for key in wanted}
        ordered = sorted(wanted, key=lambda key: (places[key] is None, places[key] or 0.0))
        return Labels(ordered, trained)


def read_records(run: RunFolder) -> RunRecords:
    """Everything that the report shows; parts that do not exist are empty.

    Of a run on videos, video networks alone: the folder may hold the image networks that they were made of, too.

    Raises:
        InputError: a file is damaged.
    """
    front_file = run.load_front_file() if run.front.is_file() else {}
    architectures: dict[str, PoseArchitecture | VideoArchitecture] = {}
    for stage in ("export", "retrain"):
        for path in sorted((run.path / stage).glob("[!.]*/architecture.json")):
            architectures[path.parent.name] = load_any_architecture(path)
    kind = VideoArchitecture if run.is_video else PoseArchitecture
    others = {key for key, architecture in architectures.items() if not isinstance(architecture, kind)}
    return RunRecords(
        evaluations=latest(read_json_lines(run.journal)),
        front=front_file.get("front", []),
        front_file=front_file,
        exported=_without(others, read_each(run.path / "export", "facts.json")),
        retrained=_without(others, read_each(run.path / "retrain", "results.json")),
        architectures=_without(others, architectures),
        retrained_evaluations=_without(others, read_each(run.path / "retrain", "evaluation/results.json")),
        training=list(read_json_lines(run.temporal_metrics if run.is_video else run.supernet_metrics)),
        finalists=read_finalists(run) if run.finalists_file.is_file() else {},
        finalist_results=read_each(run.finalists, "results.json"),
        published=read_published(run),
        is_video=run.is_video,
    )


def _without(others: set[str], values: dict[str, Value]) -> dict[str, Value]:
    return {key: value for key, value in values.items() if key not in others}


def read_each(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """Folder's name → the JSON object ``name`` in it, of the folders in ``folder``; hidden ones are unfinished.

    Args:
        name: of a file, or its path in such a folder.

    Raises:
        InputError: a file is damaged.
    """
    found = {}
    for path in sorted(folder.glob(f"[!.]*/{name}")):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: damaged ({error})") from None
        if not isinstance(value, dict):
            raise InputError(f"{path}: damaged (not an object)")
        found[path.relative_to(folder).parts[0]] = value
    return found


def latency_of(record: dict[str, Any]) -> float | None:
    """The latency of an evaluation in ms: as measured with the front, or else as the search had it."""
    measured = record.get("measured", {})
    return measured.get("latency_ms", record["objectives"].get("latency_ms"))
