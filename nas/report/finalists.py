"""The finalists in the report, as a table with errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .labels import Labels
from .page import table

__all__ = ["finalists_body", "finalists_note"]


def finalists_body(finalists: Mapping[str, Any], labels: Labels) -> str:
    """Empty where there are none.

    Args:
        finalists: the content of ``finalists.json``; empty where there are none.
    """
    if not finalists:
        return ""
    header = ["", "latency, measured", "AP, inherited", "AP, trained", "mean OKS", "steps", ""]
    rows = [_row(one, labels) for one in finalists["finalists"]]
    return table(header, rows)


def _row(one: Mapping[str, Any], labels: Labels) -> list[str]:
    inherited = one["inherited"].get("ap")
    status = "on the front" if one["on_front"] else one["status"]
    return [
        labels.named(one["id"]),
        f"{one['latency_ms']:.2f} ms ± {one['spread_ms']:.2f}",
        "–" if inherited is None else f"{inherited:.3f}",
        _with_error(one["ap"], one["ap_se"]),
        _with_error(one["mean_oks"], one["mean_oks_se"]),
        f"{one['rungs'][-1]['step']}" if one["rungs"] else "–",
        f"{status}: {labels.shorten(one['reason'])}" if one["reason"] else status,
    ]


def _with_error(value: float | None, error: float | None) -> str:
    return "–" if value is None or error is None else f"{value:.3f} ± {error:.3f}"


def finalists_note(finalists: Mapping[str, Any]) -> str:
    """What the figures are."""
    if not finalists:
        return ""
    return (
        f"Trained on from inherited weights; a network stops where another one that is no slower is more than "
        f"{finalists['noise']:g} standard errors ahead. Errors are of {finalists['people']} people, by "
        f"{finalists['resamples']} resamples of their images; that another seed would train another network is not in "
        "them."
    )
