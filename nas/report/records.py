"""What the stages of a run have left in its folder. Whatever a run does not have yet is empty."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nas.finalists.outcome import read_finalists
from nas.run.folder import RunFolder, read_json_lines
from nas.search.record.journal import latest
from search_spaces import InputError, PoseArchitecture, VideoArchitecture
from search_spaces.video import load_any_architecture

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
    finalists: dict[str, Any] = field(default_factory=dict)
    """``finalists.json``."""


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
        training=list(read_json_lines(run.temporal_metrics if run.is_video else run.supernet_metrics)),
        finalists=read_finalists(run) if run.finalists_file.is_file() else {},
    )


def _without(others: set[str], values: dict[str, Value]) -> dict[str, Value]:
    return {key: value for key, value in values.items() if key not in others}


def read_each(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """Folder's name → the JSON object ``name`` in it, of the folders in ``folder``; hidden ones are unfinished.

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
        found[path.parent.name] = value
    return found


def latency_of(record: dict[str, Any]) -> float | None:
    """The latency of an evaluation in ms: as measured with the front, or else as the search had it."""
    measured = record.get("measured", {})
    return measured.get("latency_ms", record["objectives"].get("latency_ms"))
