"""The reference network and the milliseconds that it takes on this machine, measured once and kept."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from evaluators.errors import MeasureInputError

from .fingerprint import Fingerprint

__all__ = ["REFERENCE_VERSION", "cache_folder", "reference_milliseconds", "user_cache_folder"]

logger = logging.getLogger(__name__)

REFERENCE_VERSION = 1
"""Changes with the reference network: milliseconds of two versions are not compared."""


def cache_folder() -> Path:
    """Where a machine keeps its calibrations: ``$VIPNAS_CACHE``, or ``vipnas`` in the user's cache folder."""
    if folder := os.environ.get("VIPNAS_CACHE"):
        return Path(folder)
    return user_cache_folder()


def user_cache_folder() -> Path:
    """``vipnas`` in ``$XDG_CACHE_HOME``, or in the home's ``.cache``.

    Raises:
        MeasureInputError: there is neither, as for a user without an entry in a container.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vipnas"
    except RuntimeError:
        raise MeasureInputError(
            "this user has no home folder to keep the cache in; set the environment variable XDG_CACHE_HOME"
        ) from None


def reference_milliseconds(
    fingerprint: Fingerprint, measure: Callable[[], float], folder: Path | None = None
) -> float:
    """What the reference network takes here; ``measure`` is called once for a fingerprint and its result is kept.

    So latencies of one machine keep one scale through time. Where nothing can be written, the scale is this session's.
    """
    path = (folder or cache_folder()) / f"reference-{REFERENCE_VERSION}-{fingerprint.id}.json"
    try:
        kept = float(json.loads(path.read_text(encoding="utf-8"))["reference_ms"])
        if 0 < kept < 1e6:
            return kept
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent or damaged: measured anew
    measured = measure()
    record = {"reference_ms": measured, "measured": time.strftime("%Y-%m-%d %H:%M:%S"), **fingerprint.to_json()}
    try:
        _write(path, json.dumps(record, indent=2) + "\n")
    except OSError as error:
        logger.warning("latency: the reference's calibration could not be kept (%s): it holds for this run only", error)
    return measured


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
