"""What is known of an evaluation, in words, for tables, hover texts and cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["latency_source"]


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
