"""The finalists in the report: a table with errors, the network to take for each budget, and points for the chart."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces import PoseArchitecture
from search_spaces.words import network_lines

from .charts import Marks
from .page import table

__all__ = ["finalist_marks", "finalists_body", "finalists_note"]


def finalist_marks(finalists: Mapping[str, Any]) -> list[Marks]:
    """Trained networks at their measured latency, with bars of one standard error; those that are recommended starred.

    Args:
        finalists: the content of ``finalists.json``; empty where there are none.
    """
    trained = [one for one in finalists.get("finalists", []) if one["ap"] is not None]
    named = {one["id"] for one in finalists.get("recommended", [])}
    others = [one for one in trained if one["id"] not in named]
    recommended = [one for one in trained if one["id"] in named]
    return [
        _marks(others, "baseline", "finalist, ± standard error", "dots"),
        _marks(recommended, "named", "finalist to take", "star"),
    ]


def _marks(entries: Sequence[dict[str, Any]], style: str, label: str, kind: str) -> Marks:
    return Marks(
        x=[one["latency_ms"] for one in entries],
        y=[one["ap"] for one in entries],
        errors=[one["ap_se"] for one in entries],
        style=style,
        label=label,
        kind=kind,
        hover=[_hover(one) for one in entries],
    )


def _hover(one: dict[str, Any]) -> str:
    measures = f"trained AP {one['ap']:.3f} ± {one['ap_se']:.3f}, {one['latency_ms']:.3g} ms measured, {one['status']}"
    lines = network_lines(PoseArchitecture.from_json(one["architecture"]))
    return "\n".join([one["id"], measures, *lines])


def finalists_body(finalists: Mapping[str, Any]) -> str:
    """Which network to take, and all of them as a table; empty where there are none."""
    if not finalists:
        return ""
    items = []
    for one in finalists["recommended"]:
        budget = f"up to {one['budget_ms']:.3g} ms"
        if one["id"] is None:
            items.append(f"<li>{html.escape(budget)}: {html.escape(one['why'])}</li>")
        else:
            figures = f"AP {one['ap']:.3f} ± {one['ap_se']:.3f} at {one['latency_ms']:.3g} ms"
            items.append(
                f"<li>{html.escape(budget)}: <b>{html.escape(one['id'])}</b>, {html.escape(figures)}: "
                f"{html.escape(one['why'])}</li>"
            )
    header = ["", "latency, measured", "AP, inherited", "AP, trained", "mean OKS", "steps", ""]
    rows = [_row(one) for one in finalists["finalists"]]
    return f"<ul>{''.join(items)}</ul>{table(header, rows)}"


def _row(one: Mapping[str, Any]) -> list[str]:
    inherited = one["inherited"].get("ap")
    status = "on the front" if one["on_front"] else one["status"]
    return [
        one["id"],
        f"{one['latency_ms']:.2f} ms ± {one['spread_ms']:.2f}",
        "–" if inherited is None else f"{inherited:.3f}",
        _with_error(one["ap"], one["ap_se"]),
        _with_error(one["mean_oks"], one["mean_oks_se"]),
        f"{one['rungs'][-1]['step']}" if one["rungs"] else "–",
        f"{status}: {one['reason']}" if one["reason"] else status,
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
