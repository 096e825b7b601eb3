"""Damaged files for the readers: valid documents with values exchanged, lost, doubled and added, and damaged bytes.

``VIPNAS_FUZZ_EXAMPLES=20000 pytest tests/test_fuzz_readers.py`` looks longer, at other inputs each time.
"""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from evaluators.errors import MeasureInputError
from search_spaces.errors import InputError

__all__ = ["damaged_bytes", "damaged_json", "fuzzed", "reads_or_refuses"]

EXAMPLES = int(os.environ.get("VIPNAS_FUZZ_EXAMPLES", "0"))
SECONDS = 10

# Texts that json.dumps cannot write, put in afterwards.
HUGE, DEEP = "@huge number@", "@deep nesting@"
NASTY: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 7, 31, 64, 1024, 16384, 10**9, 2**31, 2**63, -(2**63), 10**30, 10**400),
    *(0.5, -0.0, 1e-300, 1e308, float("nan"), float("inf"), -float("inf"), HUGE, DEEP),
    *("", " ", "1", "relu", "person", "../../outside.png", "/etc/hostname", "a/b", "nul\x00byte", "\ud800", "é\n"),
    *("0", "true", "Person", "images/x.png", "images\\x.png"),
    *([1e-9] * 4, [-5, -5, 1e9, 1e9], [0.5] * 51, [0, 0, 2] * 17),
    *("x" * 5000, [], {}, [[]], [None], [1, 2], [1] * 300, {"id": 1}, [{"id": 1}], [[1e400]], [10**400] * 4),
)

ADDED = ("", "id", "format", "unknown", "bbox", "category_id", "file_name", "iscrowd", "keypoints", "num_keypoints")
"""Names of entries that a document may get."""


def fuzzed(examples: int) -> Any:
    """Settings of a test: few examples, always the same; with the variable many, and others each time."""
    suppressed = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    many = max(examples, EXAMPLES)
    phases = (Phase.explicit, Phase.generate)  # what a file does to a reader is plain without shrinking it for minutes
    return settings(
        max_examples=many, derandomize=not EXAMPLES, deadline=None, suppress_health_check=suppressed, phases=phases
    )


@st.composite
def damaged_json(draw: Any, document: Any) -> bytes:
    """The document as JSON text, with one to three things wrong in it, and sometimes bytes as well."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        _damage(draw, document)
    text = json.dumps(document).replace(f'"{HUGE}"', "9" * 5000).replace(f'"{DEEP}"', "[" * 50000 + "]" * 50000)
    data = text.encode()
    return draw(damaged_bytes(data)) if draw(st.integers(0, 9)) == 0 else data


def _damage(draw: Any, document: Any) -> None:
    """Changes one entry, at any depth, of a list or an object."""
    holder = document
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        child = holder[key]
        if not isinstance(child, dict | list) or not child or draw(st.integers(0, 3)) == 0:
            break
        holder = child
    change = draw(st.sampled_from(("exchange", "exchange", "exchange", "lose", "double", "add")))
    if change == "exchange":
        holder[key] = copy.deepcopy(draw(st.sampled_from(NASTY)))
    elif change == "lose":
        del holder[key]
    elif change == "double" and isinstance(holder, list):
        holder.append(copy.deepcopy(child))
    elif change == "add" and isinstance(holder, dict):
        name = draw(st.sampled_from(ADDED))
        holder[name] = copy.deepcopy(draw(st.sampled_from(NASTY)))


@st.composite
def damaged_bytes(draw: Any, data: bytes) -> bytes:
    """The bytes cut off, or with some exchanged, or others altogether."""
    kind = draw(st.sampled_from(("cut", "exchange", "insert", "other")))
    if kind == "other":
        return draw(st.binary(max_size=200))
    at = draw(st.integers(0, len(data)))
    if kind == "cut":
        return data[:at]
    piece = draw(st.binary(min_size=1, max_size=8))
    return data[:at] + piece + data[at + (len(piece) if kind == "exchange" else 0) :]


def reads_or_refuses(read: Callable[[], Any]) -> bool:
    """Whether ``read`` returns; it may refuse as a user's mistake, and must do either in time. Anything else fails."""
    with _time_limit(SECONDS):
        try:
            read()
        except (InputError, MeasureInputError):
            return False
    return True


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    """Of this process's CPU time: a busy machine is not a hang."""

    def hang(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer after {seconds} s of CPU time")

    before = signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
