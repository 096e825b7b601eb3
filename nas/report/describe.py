"""What is known of an evaluation, in words, for tables, hover texts and cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["latency_protocol", "latency_source", "machine_text", "protocol_text"]


def latency_source(record: Mapping[str, Any], front_file: Mapping[str, Any]) -> str:
    """Where the latency of an evaluation comes from, in words.

    Args:
        record: the evaluation.
        front_file: what ``pareto.json`` of its run holds; its fingerprint names the source.
    """
    if "latency_ms" in record.get("measured", {}):
        return "measured with the front"
    source = ((front_file.get("fingerprint") or {}).get("candidate") or {}).get("latency")
    words = {"table": "predicted by the latency table", "measure": "measured in the search"}
    return words.get(str(source), "of the search")


def protocol_text(people: int | None, flip_test: bool | None, has_errors: bool, unit: str = "people") -> str:
    """How a quality was measured: on how many people, with or without flip test, what its bars are.

    Args:
        people: None where it is not known, or not the same of all.
        flip_test: likewise.
    """
    shown = f"{people} {unit}" if people is not None else f"how many {unit} is not in the run's files"
    flip = {True: "flip test", False: "no flip test", None: "with or without flip test is not in the run's files"}
    bars = "bars: ± one standard error, by resamples of the images" if has_errors else "no bars: its errors are unknown"
    return f"{shown}, {flip[flip_test]}; {bars}"


def machine_text(fingerprint: Mapping[str, Any], batch: int | None = None) -> str:
    """What a latency was measured on, in a line.

    Args:
        fingerprint: as ``Fingerprint.to_json`` has it, and may have ``batch``.
        batch: images a run; None takes the fingerprint's.
    """
    batch = fingerprint.get("batch") if batch is None else batch
    threads = fingerprint.get("threads")
    runtime = f"{fingerprint.get('runtime', '?')} {fingerprint.get('runtime_version', '')}".strip()
    parts = [
        f"batch {batch}" if batch is not None else "",
        runtime,
        str(fingerprint.get("precision", "")),
        f"{threads} thread{'' if threads == 1 else 's'}" if threads else "",
        str(fingerprint.get("cpu", "")),
    ]
    return ", ".join(part for part in parts if part)


def latency_protocol(fingerprint: Mapping[str, Any]) -> str:
    """How a latency was measured, in words: what a command of the user's does is not known, see
    :class:`nas.latency.device.CommandDevice`.

    Args:
        fingerprint: as ``Fingerprint.to_json`` has it.
    """
    if fingerprint.get("runtime") == "command":
        return "as the command printed it"
    return (
        "the median of its time over that of a reference network run in turn with it, times that network's own time"
    )
