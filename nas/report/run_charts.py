"""The charts that a run on images and one on videos have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nas.search.algorithms.history import history_of
from nas.search.algorithms.objectives import Problem
from nas.search.record.journal import STATUSES
from search_spaces.video import any_architecture
from search_spaces.words import network_lines

from .charts import Chart, Marks
from .finalists import finalist_marks
from .records import RunRecords

__all__ = ["front_chart", "front_note", "hypervolume_chart", "retraining_chart", "training_chart"]

EVALUATION = tuple(status for status in STATUSES if status != "failed")


def _axes(records: RunRecords) -> tuple[str, str] | None:
    """The cost on the x axis and the quality on the y axis."""
    objectives = records.front_file.get("objectives", {"ap": "max", "latency_ms": "min"})
    costs = [name for name, direction in objectives.items() if direction == "min"]
    gains = [name for name, direction in objectives.items() if direction == "max"]
    return (costs[0], gains[0]) if costs and gains else None


def front_note(records: RunRecords, note: str) -> str:
    """What stands over the front: first of all what keeps it from being a result, if anything does."""
    warning = records.front_file.get("warning")
    return f"Warning: {warning}. {note}" if isinstance(warning, str) else note


def front_chart(records: RunRecords, beside: Sequence[Marks] = (), latency: str = "latency (ms)") -> str:
    """Evaluated networks, the front and its retrained members.

    Args:
        beside: further marks; only where the axes are latency and AP.
        latency: the axis title of latencies.
    """
    axes = _axes(records)
    if axes is None:
        return ""
    x, y = axes
    front_ids = {record["id"] for record in records.front}
    usable = [r for r in records.evaluations if r.get("status") in EVALUATION and x in r["objectives"]]
    estimates = [r for r in usable if r["status"] != "complete"]
    others = [r for r in usable if r["status"] == "complete" and r["id"] not in front_ids]
    front = sorted(records.front, key=lambda record: record["objectives"][x])
    series = [
        _dots(estimates, x, y, "raced", "an estimate (looked at, or stopped early)", 3),
        _dots(others, x, y, "complete", "evaluated", 4),
        _dots(front, x, y, "frontline", "front", 0, "step"),
        _dots(front, x, y, "front", "on the front", 5.5),
    ]
    retrained = [r for r in front if records.retrained.get(r["id"], {}).get("best") and y == "ap"]
    if retrained:
        values = [records.retrained[r["id"]]["best"]["AP"] for r in retrained]
        series.append(
            Marks(
                x=[r["objectives"][x] for r in retrained],
                y=values,
                style="chosen",
                label="after retraining",
                kind="star",
                hover=[f"{_hover(r)}\nretrained AP {value:.3f}" for r, value in zip(retrained, values, strict=True)],
            )
        )
    if axes == ("latency_ms", "ap"):
        series += [*finalist_marks(records.finalists), *beside]
    x_title = latency if x == "latency_ms" else _title(x)
    return Chart(x_title=x_title, y_title=_title(y), series=series, log_x=_wide(usable, x)).svg()


def _title(name: str) -> str:
    known = {"ap": "AP", "mean_oks": "mean OKS", "latency_ms": "latency (ms)", "macs": "MACs", "params": "parameters"}
    return known.get(name, name)


def _wide(records: Sequence[dict[str, Any]], name: str) -> bool:
    values = [record["objectives"][name] for record in records]
    return bool(values) and min(values) > 0 and max(values) / min(values) > 4


def _dots(
    records: Sequence[dict[str, Any]], x: str, y: str, style: str, label: str, radius: float, kind: str = "dots"
) -> Marks:
    return Marks(
        x=[record["objectives"][x] for record in records],
        y=[record["objectives"][y] for record in records],
        style=style,
        label=label,
        kind=kind,
        hover=[_hover(record) for record in records],
        radius=radius,
    )


def _hover(record: dict[str, Any]) -> str:
    values = ", ".join(f"{_title(name)} {_value(name, value)}" for name, value in record["objectives"].items())
    lines = network_lines(any_architecture(record["architecture"]))
    return "\n".join([f"{record['id']}  (candidate {record.get('number', '?')})", values, *lines])


def _value(name: str, value: float) -> str:
    return f"{value / 1e6:.2f} M" if name in ("macs", "params") else f"{value:.3f}"


def hypervolume_chart(records: RunRecords) -> str:
    """Recomputed from the journal, against the reference point of the front's file."""
    objectives, reference = records.front_file.get("objectives"), records.front_file.get("reference")
    if not objectives or not reference:
        return ""
    names = [f"{name}:{direction}" for name, direction in objectives.items()]
    problem = Problem.parse(names, records.front_file.get("constraints", ()))
    curve = history_of(records.evaluations, problem).curve(problem.costs(reference))
    evaluations = [0, *(point.evaluations for point in curve), len(records.evaluations)]
    volumes = [0.0, *(point.hypervolume for point in curve), curve[-1].hypervolume if curve else 0.0]
    marks = Marks(x=evaluations, y=volumes, style="curve", label="hypervolume", kind="step")
    return Chart(x_title="networks evaluated", y_title="hypervolume", series=[marks], y_from_zero=True).svg()


def training_chart(records: RunRecords) -> str:
    lines = [record for record in records.training if "step" in record]
    series = []
    for key, style, label in (("loss_largest", "curve", "largest subnet"), ("loss_smallest", "curve2", "smallest")):
        chosen = [record for record in lines if key in record]
        steps, losses = [r["step"] for r in chosen], [r[key] for r in chosen]
        series.append(Marks(x=steps, y=losses, style=style, label=label, kind="line"))
    return Chart(x_title="step", y_title="loss", series=series, y_from_zero=True).svg()


def retraining_chart(records: RunRecords) -> str:
    series = []
    for index, (key, result) in enumerate(records.retrained.items()):
        entries = result.get("validations", [])
        style = "curve" if index % 2 == 0 else "curve2"
        epochs, values = [e["epoch"] for e in entries], [e["AP"] for e in entries]
        series.append(Marks(x=epochs, y=values, style=style, label=key, kind="line"))
    return Chart(x_title="epoch", y_title="AP", series=series, y_from_zero=True).svg()
