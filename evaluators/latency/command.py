"""A user's command that measures ONNX files, on whatever device it reaches.

The command is a template, such as ``./measure.sh {onnx}``. It is split into words as a shell would, but no shell runs
it: a file's path is part of one word, whatever characters it has. ``{onnx}`` stands for one file; ``{onnx_files}``, a
word by itself, for several, so that a slow link or a slow start is paid once for all of them.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import IO

from ..errors import MeasureInputError
from .answers import Answer, parse_answer

__all__ = ["CommandFailedError", "MeasuringCommand", "template_words"]

_log = logging.getLogger(__name__)

ONE, SEVERAL = "{onnx}", "{onnx_files}"
PLACEHOLDERS = (ONE, SEVERAL, "{threads}", "{rounds}")
MOST_OUTPUT = 1 << 20
"""Bytes of output that are read; a list of milliseconds is far smaller."""
LONGEST_PAUSE_S = 30.0


class CommandFailedError(MeasureInputError):
    """The command ended with another code than 0, or not in time: it is worth another try."""


def template_words(template: str) -> list[str]:
    """The words of a template.

    Raises:
        MeasureInputError: quotes that do not close, an unknown placeholder, or no place for the files.
    """
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise MeasureInputError(f"{template!r}: {str(error).lower()}") from None
    for name in re.findall(r"\{\w+\}", template):
        if name not in PLACEHOLDERS:
            raise MeasureInputError(f"{template!r}: {name} is not known; there are {', '.join(PLACEHOLDERS)}")
    one, several = any(ONE in word for word in words), any(SEVERAL in word for word in words)
    if one == several or not words or any(place in words[0] for place in PLACEHOLDERS):
        raise MeasureInputError(f"{template!r}: after the program there must be one of {ONE} and {SEVERAL}")
    if several and SEVERAL not in words:
        raise MeasureInputError(f"{template!r}: {SEVERAL} becomes several words, and must be a word by itself")
    return words


@dataclass(frozen=True, kw_only=True)
class MeasuringCommand:
    """How the command is called."""

    template: str
    values: Mapping[str, str] = field(default_factory=dict)
    """Of the placeholders other than the files': ``{threads}``."""
    timeout_s: float = 120.0
    """For each file of a call."""
    retries: int = 2
    """Further tries of a call that fails or takes too long, after 1, 2, 4 … seconds."""

    @property
    def takes_several(self) -> bool:
        """Whether one call measures several files."""
        return SEVERAL in template_words(self.template)

    def measure(self, files: Sequence[Path]) -> Answer:
        """Call the command for these files; for one, unless it :attr:`takes_several`.

        Raises:
            CommandFailedError: each try failed; the message has the last line of stderr.
            MeasureInputError: the command cannot be started, or what it printed cannot be read.
        """
        words = self._words(files)
        for attempt in range(self.retries + 1):
            try:
                text = self._call(words, self.timeout_s * len(files))
                break
            except CommandFailedError as error:
                if attempt == self.retries:
                    raise
                pause_s = min(2.0**attempt, LONGEST_PAUSE_S)
                _log.warning("%s; tried again in %g s", error, pause_s)
                sleep(pause_s)
        try:
            return parse_answer(text, files)
        except MeasureInputError as error:
            raise MeasureInputError(f"{self._name} {error}") from None

    @property
    def _name(self) -> str:
        return f"latency command {self.template!r}"

    def _words(self, files: Sequence[Path]) -> list[str]:
        words: list[str] = []
        for word in template_words(self.template):
            if word == SEVERAL:
                words += map(str, files)
                continue
            for place, value in self.values.items():
                word = word.replace(place, value)
            words.append(word.replace(ONE, str(files[0])))
        return words

    def _call(self, words: Sequence[str], timeout_s: float) -> str:
        """What the command printed."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                # In a session of its own, so that what the command has started ends with it; without a terminal, ssh
                # fails at once where it would wait for a password.
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
                )
            except OSError as error:
                raise MeasureInputError(f"{self._name} cannot be started: {words[0]}: {error.strerror}") from None
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                _kill(process)
                raise CommandFailedError(f"{self._name}: no answer within {timeout_s:g} s") from None
            except BaseException:
                _kill(process)
                raise
            if code:
                how = f"ended with code {code}" if code > 0 else f"was ended by signal {-code}"
                raise CommandFailedError(f"{self._name} {how}: {_last_line(_end_of(err))}")
            if os.fstat(out.fileno()).st_size > MOST_OUTPUT:
                raise MeasureInputError(f"{self._name} printed more than {MOST_OUTPUT} bytes; print milliseconds only")
            return _end_of(out)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end_of(file: IO[bytes]) -> str:
    """The last :data:`MOST_OUTPUT` bytes, as text."""
    file.seek(max(0, os.fstat(file.fileno()).st_size - MOST_OUTPUT))
    return file.read().decode("utf-8", "replace")


def _last_line(stderr: str) -> str:
    lines = stderr.strip().splitlines()
    return lines[-1].strip()[:300] if lines else "nothing on stderr"
