"""The exports of the networks that a command has trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.export.trained import ExportedWeights

__all__ = ["TrainedExports"]


class TrainedExports:
    """Written beside the weights after each training, by the first process alone.

    One that fails does not keep the next network from being trained: it is told at the end.
    """

    def __init__(self, formats: Sequence[str]) -> None:
        self.formats = formats
        self._written: list[ExportedWeights] = []
        self._failures: list[str] = []

    def write(self, folder: Path) -> None:
        """Export the network that was trained in this folder."""
        from nas.export.trained import export_retrained
        from nas.processes.rank import is_first_process

        if not is_first_process():
            return
        try:
            self._written.append(export_retrained(folder, self.formats))
        except InputError as error:
            self._failures.append(str(error))

    def tell(self) -> None:
        """Print what was written.

        Raises:
            InputError: something could not be; its weights are there all the same.
        """
        for one in self._written:
            print(f"{one.folder}: {', '.join(sorted(one.files))}")
        if self._failures:
            raise InputError("; ".join(self._failures))
