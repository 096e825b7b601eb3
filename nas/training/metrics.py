"""What a training reports: a line of JSON now and then, TensorBoard, and a callback for a progress bar."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from nas.run.files import atomic_write_text

__all__ = ["MetricsLog", "ProgressCallback"]

ProgressCallback = Callable[[float, float, float], None]
"""Called with the fraction done, the present loss, and the seconds that are left."""


class MetricsLog:
    """``metrics.jsonl`` and ``tensorboard/`` in one folder; a context manager.

    A resumed run first takes back what was logged after its checkpoint, a torn last line included.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self.path = folder / "metrics.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        if first_step:
            self._forget_from(first_step)
        else:
            self.path.unlink(missing_ok=True)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _board(folder / "tensorboard", first_step)

    def write(self, step: int, values: Mapping[str, float | int | None]) -> None:
        """One line; a value that is not finite is written as null."""
        line: dict[str, Any] = {"step": step}
        for name, value in values.items():
            line[name] = value if value is None or math.isfinite(value) else None
            if line[name] is not None and self._board is not None:
                self._board.add_scalar(name, value, step)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def _forget_from(self, step: int) -> None:
        kept = []
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        kept.append(line + "\n")
                except (ValueError, KeyError, TypeError):
                    continue  # torn when the process was killed
        atomic_write_text(self.path, "".join(kept))

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def _board(folder: Path, first_step: int) -> Any:
    """A TensorBoard writer, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first_step or None, flush_secs=30)
