"""Networks timed by the user's command, on a device that this machine reaches.

The command gets ONNX files as ``vipnas export`` writes them, with random weights. What it prints is taken as it is:
nothing is interleaved with the reference network, whose own milliseconds are measured once, for the record. With that
first call the device gets its name.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from evaluators.errors import MeasureInputError
from evaluators.latency.answers import Answer, Reading
from evaluators.latency.command import CommandFailedError, MeasuringCommand
from evaluators.latency.fingerprint import Fingerprint, device_fingerprint
from evaluators.latency.runtimes import reference_network
from nas.deploy.deployment import deployment_form
from nas.deploy.onnx import onnx_bytes

from .config import LatencyConfig

__all__ = ["CommandDevice", "Subject"]

_log = logging.getLogger(__name__)
FOLDER = "vipnas-latency-"
"""The name of the folder of the files begins with it."""


class Subject(NamedTuple):
    """Something to be timed: a network, or a block of one."""

    module: nn.Module
    """Folded, in eval mode; a runtime makes it its own."""
    inputs: tuple[Tensor, ...]
    name: str
    """For messages."""


class CommandDevice:
    """The device behind a command. Making one calls the command.

    Raises:
        MeasureInputError: the command does not measure the reference network; one line says why.
    """

    def __init__(self, config: LatencyConfig) -> None:
        template = str(config.command)
        told = {"{threads}": config.threads, "{rounds}": config.rounds}
        self._command = MeasuringCommand(
            template=template,
            values={place: str(value) for place, value in told.items()},
            timeout_s=config.command_timeout_s,
            retries=config.command_retries,
        )
        self.files_at_once = config.command_files if self._command.takes_several else 1
        module, images = reference_network()
        with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
            subject = Subject(module, (images,), "the reference network")
            answer = self._call([_write(subject, Path(folder), 0)], subject.name)
        self.reference_ms = answer.readings[0].latency_ms
        self._name = answer.fingerprint
        threads = config.threads if "{threads}" in template else 0
        self.fingerprint: Fingerprint = device_fingerprint(self._name, template, threads)

    def times(self, subjects: Sequence[Subject]) -> Iterator[Reading]:
        """The latency of each, as soon as it is known.

        Raises:
            MeasureInputError: the command failed; the device is not the one that it was.
        """
        for first in range(0, len(subjects), self.files_at_once):
            some = subjects[first : first + self.files_at_once]
            with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
                files = [_write(subject, Path(folder), first + index) for index, subject in enumerate(some)]
                yield from self._measure(files, some)

    def _measure(self, files: Sequence[Path], subjects: Sequence[Subject]) -> Iterator[Reading]:
        """All files by one call; where that fails one by one: what can be measured is, and the culprit is found."""
        try:
            yield from self._readings(files, f"{len(files)} files" if len(files) > 1 else subjects[0].name)
        except CommandFailedError as error:
            if len(files) == 1:
                raise
            _log.warning("%s; they are measured one by one", error)
            for file, subject in zip(files, subjects, strict=True):
                yield from self._readings([file], subject.name)

    def _readings(self, files: Sequence[Path], what: str) -> list[Reading]:
        answer = self._call(files, what)
        if answer.fingerprint not in (None, self._name):
            raise MeasureInputError(
                f"the latency command measured on {self._name or 'a device without a name'} at first, and now on "
                f"{answer.fingerprint}; measure all on one device"
            )
        return answer.readings

    def _call(self, files: Sequence[Path], what: str) -> Answer:
        try:
            return self._command.measure(files)
        except MeasureInputError as error:
            raise type(error)(f"{error} (measuring {what})") from None


def _write(subject: Subject, folder: Path, number: int) -> Path:
    module = deployment_form(subject.module, "onnxruntime")
    path = folder / f"{number:04d}.onnx"
    path.write_bytes(onnx_bytes(module, subject.inputs))
    return path
