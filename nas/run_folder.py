"""Where everything of a run lies. A run is a folder that a person can read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces import InputError, PoseArchitecture, SearchSpace

from .files import atomic_write_json

__all__ = ["RunFolder", "read_json_lines"]


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
        if not (folder.config.is_file() or folder.space.is_file() or folder.journal.is_file()):
            raise InputError(f"{path}: is not a run folder (it has no config.yaml, space.json or evaluations.jsonl)")
        return folder

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
    def journal(self) -> Path:
        return self.path / "evaluations.jsonl"

    @property
    def front(self) -> Path:
        return self.path / "pareto.json"

    @property
    def latency_table(self) -> Path:
        return self.path / "latency_table.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def export(self, architecture_id: str) -> Path:
        return self.path / "export" / architecture_id

    def retrain(self, architecture_id: str) -> Path:
        return self.path / "retrain" / architecture_id

    def write_space(self, space: SearchSpace) -> None:
        """Note the space, or check that it is the one that is noted.

        Raises:
            InputError: the folder belongs to a run on another space.
        """
        if self.space.is_file():
            found = self.load_space()
            if found.id != space.id:
                raise InputError(
                    f"{self.path}: holds a run on the space {found.name!r} ({found.id}), not on {space.name!r} "
                    f"({space.id}); choose another run_dir"
                )
        else:
            atomic_write_json(self.space, space.to_json())

    def load_space(self) -> SearchSpace:
        return SearchSpace.load(self.space)

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
            for member in value["front"]:
                PoseArchitecture.from_json(member["architecture"])
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{self.front}: damaged ({error}); `vipnas search --resume` writes it again") from None
        return dict(value)


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of metrics, one a line; a torn last line is left out. Nothing where there is no file."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value
