"""What a user's measuring command prints, read as milliseconds.

The command measures one ONNX file or several, and prints, on stdout,

- JSON, as all of it or as its last line: ``12.3``; ``[12.3, 12.5, 12.4]`` (passes); ``{"latency_ms": 12.3, "spread_ms":
  0.1, "fingerprint": "Raspberry Pi 5"}``; or a file's name or path → any of these, beside a ``fingerprint``;
- or plain numbers: of one file all lines that hold nothing but numbers are passes; of several files there is one such
  line a file, in their order. Lines with words are passed over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import MeasureInputError

__all__ = ["Answer", "Reading", "parse_answer"]

LONGEST_NAME = 200
"""Characters of a device's name."""


class Reading(NamedTuple):
    """The latency of one network."""

    latency_ms: float
    """The median over the passes."""
    spread_ms: float
    """Half the interquartile range over the passes; 0 of a single one, which tells nothing about it."""
    rounds: int
    """How many passes there were."""


class Answer(NamedTuple):
    """What one call of the command told."""

    readings: list[Reading]
    """In the order of the files."""
    fingerprint: str | None
    """The device, where the command names it."""


def parse_answer(text: str, files: Sequence[Path]) -> Answer:
    """Read what the command printed for these files.

    Raises:
        MeasureInputError: it is none of the forms above; the message says what was printed.
    """
    value = _json_in(text)
    if value is None:
        return Answer(_plain_numbers(text, files), None)
    names: list[str] = []
    if isinstance(value, dict):
        _note_name(value, names)
        if "latency_ms" not in value:
            return Answer([_reading(_of_file(value, file), file, names) for file in files], _only(names))
    if len(files) == 1:
        return Answer([_reading(value, files[0], names)], _only(names))
    if not isinstance(value, list) or len(value) != len(files):
        raise MeasureInputError(f"printed {_short(text)} for {len(files)} files; {_WANTED_OF_SEVERAL}")
    return Answer([_reading(one, file, names) for one, file in zip(value, files, strict=True)], _only(names))


_WANTED = "print milliseconds: a number, or JSON"
_WANTED_OF_SEVERAL = "print one line of numbers a file, or a JSON object: file → milliseconds"


def _json_in(text: str) -> Any:
    """The JSON object or list that the text is, or that its last line is; None where there is none."""
    lines = text.strip().splitlines()
    for part in (text, lines[-1] if lines else ""):
        if part.lstrip()[:1] in ("{", "["):
            try:
                return json.loads(part)
            except (ValueError, RecursionError):
                continue
    return None


def _plain_numbers(text: str, files: Sequence[Path]) -> list[Reading]:
    lines = [numbers for line in text.splitlines() if (numbers := _numbers_of(line))]
    if not lines:
        printed = f"printed {_short(text)}, in which there is" if text.strip() else "printed nothing:"
        raise MeasureInputError(f"{printed} no latency; {_WANTED if len(files) == 1 else _WANTED_OF_SEVERAL}")
    if len(files) == 1:
        lines = [[number for line in lines for number in line]]
    if len(lines) != len(files):
        raise MeasureInputError(f"printed {len(lines)} lines of numbers for {len(files)} files; {_WANTED_OF_SEVERAL}")
    return [_summary(passes, file) for passes, file in zip(lines, files, strict=True)]


def _numbers_of(line: str) -> list[float]:
    """The numbers of which a line consists; none where there is a word among them."""
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return []


def _of_file(value: Mapping[str, Any], file: Path) -> Any:
    for name in (str(file), file.name, file.stem):
        if name in value:
            return value[name]
    raise MeasureInputError(f"printed {_short(json.dumps(value))}, with neither latency_ms nor {file.name} in it")


def _reading(value: Any, file: Path, names: list[str]) -> Reading:
    """A file's number, passes, or object with ``latency_ms``."""
    if not isinstance(value, dict):
        return _summary(value if isinstance(value, list) else [value], file)
    _note_name(value, names)
    found = value.get("latency_ms")
    reading = _summary(found if isinstance(found, list) else [found], file)
    if value.get("spread_ms") is None:
        return reading
    return reading._replace(spread_ms=_number(value["spread_ms"], "spread", file))


def _summary(passes: Sequence[Any], file: Path) -> Reading:
    values = [_number(one, "latency", file) for one in passes]
    if not values:
        raise MeasureInputError(f"printed no latency for {file.name}: an empty list")
    low, middle, high = np.percentile(values, (25, 50, 75))
    return Reading(float(middle), float(high - low) / 2, len(values))


def _number(value: Any, what: str, file: Path) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    raise MeasureInputError(f"printed a {what} of {_short(str(value))} for {file.name}; milliseconds are wanted")


def _note_name(value: Mapping[str, Any], names: list[str]) -> None:
    name = value.get("fingerprint")
    if name is None:
        return
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise MeasureInputError(
            f"printed the fingerprint {_short(str(name))}; a device's name of 1 to {LONGEST_NAME} characters is wanted"
        )
    names.append(name.strip())


def _only(names: Sequence[str]) -> str | None:
    if len(set(names)) > 1:
        raise MeasureInputError(f"printed two fingerprints, {names[0]!r} and {names[-1]!r}; one device at a time")
    return names[0] if names else None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
