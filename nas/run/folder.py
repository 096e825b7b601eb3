"""Where everything of a run lies. A run is a folder that a person can read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.run.files import atomic_write_json
from search_spaces import InputError, SearchSpace, VideoSearchSpace
from search_spaces.video import any_architecture

__all__ = ["RunFolder", "is_measure", "read_json_lines"]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths in a run's folder, and the small files that several stages read."""

    path: Path

    @classmethod
    def existing(cls, path: Path | str) -> RunFolder:
        """A folder that holds a run.

        Raises:
            InputError: there is none.
        """
        folder = cls(Path(path))
        if not folder.path.is_dir():
            raise InputError(f"{path}: no such run folder")
        if not cls.is_run(folder.path):
            raise InputError(f"{path}: is not a run folder (it has no config.yaml, space.json or evaluations.jsonl)")
        return folder

    @classmethod
    def is_run(cls, path: Path) -> bool:
        """Whether a folder holds a run."""
        folder = cls(path)
        return any(file.is_file() for file in (folder.config, folder.space, folder.video_space, folder.journal))

    @property
    def has_results(self) -> bool:
        """Whether something is in the folder that only a stage of a run writes; a configuration may be a copy."""
        if any(file.is_file() for file in (self.space, self.video_space, self.journal, self.supernet, self.temporal)):
            return True
        return any(next(self.path.glob(f"{stage}/*/architecture.json"), None) for stage in ("retrain", "export"))

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def space(self) -> Path:
        return self.path / "space.json"

    @property
    def supernet(self) -> Path:
        return self.path / "supernet.safetensors"

    @property
    def supernet_metrics(self) -> Path:
        return self.path / "supernet" / "metrics.jsonl"

    @property
    def video_space(self) -> Path:
        return self.path / "video_space.json"

    @property
    def is_video(self) -> bool:
        """Whether the run is on videos."""
        return self.video_space.is_file()

    @property
    def temporal(self) -> Path:
        """The temporal supernet."""
        return self.path / "temporal.safetensors"

    @property
    def temporal_metrics(self) -> Path:
        return self.path / "temporal" / "metrics.jsonl"

    @property
    def key(self) -> Path:
        """The key frame's network, as the temporal supernet was trained after it."""
        return self.path / "key.safetensors"

    @property
    def journal(self) -> Path:
        return self.path / "evaluations.jsonl"

    @property
    def front(self) -> Path:
        return self.path / "pareto.json"

    @property
    def latency_table(self) -> Path:
        return self.path / "latency_table.json"

    @property
    def video_latency_table(self) -> Path:
        """What a video network needs beside the latency table of its frames: the key frame and the fusions."""
        return self.path / "video_latency_table.json"

    @property
    def finalists(self) -> Path:
        """The folder of the finalists' training."""
        return self.path / "finalists"

    @property
    def finalists_file(self) -> Path:
        """The front of trained networks; its format is in :mod:`nas.finalists.outcome`."""
        return self.path / "finalists.json"

    @property
    def published(self) -> Path:
        """The latency of published networks; its format is in :mod:`nas.latency.published`."""
        return self.path / "published.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def export(self, architecture_id: str) -> Path:
        return self.path / "export" / architecture_id

    def retrain(self, architecture_id: str) -> Path:
        return self.path / "retrain" / architecture_id

    def finalist(self, architecture_id: str) -> Path:
        return self.finalists / architecture_id

    def write_space(self, space: SearchSpace) -> None:
        """Note the space, or check that it is the one that is noted.

        Raises:
            InputError: the folder belongs to a run on another space.
        """
        if self.space.is_file():
            self._check_same(self.load_space(), space)
        else:
            atomic_write_json(self.space, space.to_json())

    def _check_same(self, found: SearchSpace | VideoSearchSpace, space: SearchSpace | VideoSearchSpace) -> None:
        if found.id != space.id:
            raise InputError(
                f"{self.path}: holds a run on the space {found.name!r} ({found.id}), not on {space.name!r} "
                f"({space.id}); choose another run_dir"
            )

    def load_space(self) -> SearchSpace:
        return SearchSpace.load(self.space)

    def write_video_space(self, space: VideoSearchSpace) -> None:
        """As :meth:`write_space`. The space says T and the key frame's network, too."""
        if self.video_space.is_file():
            self._check_same(self.load_video_space(), space)
        else:
            atomic_write_json(self.video_space, space.to_json())

    def load_video_space(self) -> VideoSearchSpace:
        return VideoSearchSpace.load(self.video_space)

    def load_front(self) -> list[dict[str, Any]]:
        """The evaluations of the Pareto front, quickest first; raises InputError as :meth:`load_front_file`."""
        return list(self.load_front_file()["front"])

    def load_front_file(self) -> dict[str, Any]:
        """``pareto.json``: the front, its objectives and constraints, what it was measured with.

        Raises:
            InputError: the search has not written one, or the file is broken.
        """
        if not self.front.is_file():
            raise InputError(f"{self.front}: no such file; run `vipnas search` first")
        try:
            value = json.loads(self.front.read_text(encoding="utf-8"))
            _check_front(value)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
            raise InputError(f"{self.front}: damaged ({reason}); `vipnas search --resume` writes it again") from None
        return dict(value)


def _check_front(value: Any) -> None:
    """Raises ValueError, KeyError, TypeError or AttributeError if this is not what a search writes."""
    if any(direction not in ("min", "max") for direction in value["objectives"].values()):
        raise ValueError(f"objectives are {value['objectives']}")
    if not all(isinstance(text, str) for text in value.get("constraints", [])):
        raise ValueError(f"constraints are {value['constraints']}")
    for key, numbers in (("reference", value.get("reference") or {}), *_numbers_of(value["front"])):
        if not all(is_measure(number) for number in numbers.values()):
            raise ValueError(f"{key} has {numbers}, not numbers")
    for member in value["front"]:
        if any_architecture(member["architecture"]).id != member["id"]:
            raise ValueError(f"{member['id']} is not the id of its architecture")


def is_measure(value: Any) -> bool:
    """A finite number, or a list of them (the latency of each frame)."""
    if isinstance(value, list):
        return all(is_measure(one) for one in value)
    return type(value) in (int, float) and math.isfinite(value)


def _numbers_of(front: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for member in front:
        if any(isinstance(value, list) for value in member["objectives"].values()):
            raise ValueError(f"objectives of {member['id']} are {member['objectives']}, not numbers")
        yield str(member["id"]), member["objectives"]
        yield f"measured of {member['id']}", member.get("measured", {})


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of metrics, one a line; a torn last line is left out. Nothing where there is no file."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                yield value
