"""Reads what a run's folder holds and writes ``report.html``. Whatever a run does not have yet is left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.files import atomic_write_text
from nas.run_folder import RunFolder, read_json_lines
from nas.search.history import history_of
from nas.search.objectives import Problem
from search_spaces import InputError, PoseArchitecture, published, published_names
from search_spaces.complexity import count

from .charts import Chart, Marks
from .describe import architecture_lines, comparison_rows, latency_source
from .page import page, section, table

__all__ = ["RunRecords", "read_each", "read_records", "write_report"]


@dataclass(frozen=True)
class RunRecords:
    """What the stages of a run have left."""

    evaluations: list[dict[str, Any]]
    front: list[dict[str, Any]]
    front_file: dict[str, Any]
    exported: dict[str, dict[str, Any]]
    """Architecture id → ``facts.json``."""
    retrained: dict[str, dict[str, Any]]
    """Architecture id → ``results.json``."""
    architectures: dict[str, PoseArchitecture]
    """Of exported and retrained networks."""
    training: list[dict[str, Any]]


def read_records(run: RunFolder) -> RunRecords:
    """Everything that the report shows; parts that do not exist are empty.

    Raises:
        InputError: a file is damaged.
    """
    front_file = run.load_front_file() if run.front.is_file() else {}
    architectures = {}
    for stage in ("export", "retrain"):
        for path in sorted((run.path / stage).glob("[!.]*/architecture.json")):
            architectures[path.parent.name] = PoseArchitecture.load(path)
    return RunRecords(
        evaluations=list(read_json_lines(run.journal)),
        front=front_file.get("front", []),
        front_file=front_file,
        exported=read_each(run.path / "export", "facts.json"),
        retrained=read_each(run.path / "retrain", "results.json"),
        architectures=architectures,
        training=list(read_json_lines(run.supernet_metrics)),
    )


def read_each(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """Folder's name → the JSON object ``name`` in it, of the folders in ``folder``; hidden ones are unfinished.

    Raises:
        InputError: a file is damaged.
    """
    found = {}
    for path in sorted(folder.glob(f"[!.]*/{name}")):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: damaged ({error})") from None
        if not isinstance(value, dict):
            raise InputError(f"{path}: damaged (not an object)")
        found[path.parent.name] = value
    return found


def write_report(run: RunFolder, pictures: str = "") -> Path:
    """Write the page and return its path.

    Args:
        pictures: HTML of prediction pictures (:func:`nas.report.predictions.prediction_pictures`).

    Raises:
        InputError: the folder has nothing to report yet, or a file is damaged.
    """
    records = read_records(run)
    if not (records.evaluations or records.training or records.retrained):
        raise InputError(f"{run.path}: nothing to report yet; train a supernet or search first")
    charts = [
        section("Pareto front", _front_chart(records), "Each dot is an evaluated network; point at one to see it."),
        section("Progress of the search", _hypervolume_chart(records), "Hypervolume of the front found so far."),
        section("Training of the supernet", _training_chart(records)),
        section("Training of found networks", _retraining_chart(records), "AP on the validation people."),
    ]
    body = "".join(
        [
            f'<div class="grid2">{"".join(charts)}</div>',
            section("Networks side by side", _comparison(records), "The published network beside those of this run."),
            section("Predictions", pictures, _PICTURES_NOTE),
            section("How it was measured", _conditions(records)),
        ]
    )
    title = f"vipnas: {run.path.resolve().name}"
    atomic_write_text(run.report, page(title, "Search of human pose networks", _facts(records), body))
    return run.report


_PICTURES_NOTE = "The person's left in orange, right in blue. Above the skeleton, below the heatmaps."


def _facts(records: RunRecords) -> list[tuple[str, str]]:
    counts = [record.get("status") for record in records.evaluations]
    facts = []
    if counts:
        facts.append((f"{len(counts)}", "networks evaluated"))
        facts.append((f"{counts.count('raced')}", "of them stopped early"))
        facts.append((f"{len(records.front)}", "on the Pareto front"))
        seconds = [record["cpu_s"] for record in records.evaluations if "cpu_s" in record]
        if seconds:
            facts.append((f"{sum(seconds) / len(seconds):.2f} s", "CPU a candidate"))
    best = [result["best"]["AP"] for result in records.retrained.values() if result.get("best")]
    if best:
        facts.append((f"{max(best):.3f}", "best AP after retraining"))
    latencies = [_latency(record) for record in records.front]
    if latencies and all(value is not None for value in latencies):
        low, high = min(v for v in latencies if v is not None), max(v for v in latencies if v is not None)
        facts.append((f"{low:.2f}–{high:.2f} ms", "latency of the front"))
    return facts


def _latency(record: dict[str, Any]) -> float | None:
    measured = record.get("measured", {})
    return measured.get("latency_ms", record["objectives"].get("latency_ms"))


# Charts -------------------------------------------------------------------------------------------------------------


def _axes(records: RunRecords) -> tuple[str, str] | None:
    """The cost on the x axis and the quality on the y axis."""
    objectives = records.front_file.get("objectives", {"ap": "max", "latency_ms": "min"})
    costs = [name for name, direction in objectives.items() if direction == "min"]
    gains = [name for name, direction in objectives.items() if direction == "max"]
    return (costs[0], gains[0]) if costs and gains else None


def _front_chart(records: RunRecords) -> str:
    axes = _axes(records)
    if axes is None:
        return ""
    x, y = axes
    front_ids = {record["id"] for record in records.front}
    usable = [r for r in records.evaluations if r.get("status") in ("complete", "raced") and x in r["objectives"]]
    raced = [r for r in usable if r["status"] == "raced"]
    others = [r for r in usable if r["status"] == "complete" and r["id"] not in front_ids]
    front = sorted(records.front, key=lambda record: record["objectives"][x])
    series = [
        _dots(raced, x, y, "raced", "stopped early (estimate)", 3),
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
    return Chart(x_title=_title(x), y_title=_title(y), series=series, log_x=_wide(usable, x)).svg()


def _title(name: str) -> str:
    return {"ap": "AP", "latency_ms": "latency (ms)", "macs": "MACs", "params": "parameters"}.get(name, name)


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
    lines = architecture_lines(PoseArchitecture.from_json(record["architecture"]))
    return "\n".join([f"{record['id']}  (candidate {record.get('number', '?')})", values, *lines])


def _value(name: str, value: float) -> str:
    return f"{value / 1e6:.2f} M" if name in ("macs", "params") else f"{value:.3f}"


def _hypervolume_chart(records: RunRecords) -> str:
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


def _training_chart(records: RunRecords) -> str:
    lines = [record for record in records.training if "step" in record]
    series = []
    for key, style, label in (("loss_largest", "curve", "largest subnet"), ("loss_smallest", "curve2", "smallest")):
        chosen = [record for record in lines if key in record]
        steps, losses = [r["step"] for r in chosen], [r[key] for r in chosen]
        series.append(Marks(x=steps, y=losses, style=style, label=label, kind="line"))
    return Chart(x_title="step", y_title="loss", series=series, y_from_zero=True).svg()


def _retraining_chart(records: RunRecords) -> str:
    series = []
    for index, (key, result) in enumerate(records.retrained.items()):
        entries = result.get("validations", [])
        style = "curve" if index % 2 == 0 else "curve2"
        epochs, values = [e["epoch"] for e in entries], [e["AP"] for e in entries]
        series.append(Marks(x=epochs, y=values, style=style, label=key, kind="line"))
    return Chart(x_title="epoch", y_title="AP", series=series, y_from_zero=True).svg()


# Tables -------------------------------------------------------------------------------------------------------------


def _comparison(records: RunRecords) -> str:
    """The found networks beside the published one of their family."""
    found = [records.architectures[key] for key in records.architectures]
    if not found:
        found = [PoseArchitecture.from_json(record["architecture"]) for record in records.front[:4]]
    if not found:
        return ""
    found = sorted(found, key=lambda architecture: count(architecture).macs)
    baseline = [published(name) for name in published_names() if published(name).family == found[0].family][:1]
    names = [name for name in published_names() if baseline and published(name) == baseline[0]]
    rows = [(title, *cells) for title, cells in comparison_rows([*baseline, *found])]
    rows.append(("latency", *("–" for _ in baseline), *(_latency_text(records, a.id) for a in found)))
    rows.append(("AP, inherited", *("–" for _ in baseline), *(_inherited_text(records, a.id) for a in found)))
    rows.append(("AP, retrained", *("–" for _ in baseline), *(_retrained_text(records, a.id) for a in found)))
    return table(["", *names, *(architecture.id for architecture in found)], rows)


def _latency_text(records: RunRecords, key: str) -> str:
    record = next((record for record in [*records.front, *records.evaluations] if record.get("id") == key), None)
    value = _latency(record) if record else None
    if record is None or value is None:
        return "–"
    spread = record.get("measured", {}).get("spread_ms")
    note = f"({latency_source(record, records.front_file)})" if spread is None else f"± {spread:.2f}"
    return f"{value:.2f} ms {note}"


def _inherited_text(records: RunRecords, key: str) -> str:
    facts = records.exported.get(key)
    return f"{facts['inherited']['AP']:.3f}" if facts else "–"


def _retrained_text(records: RunRecords, key: str) -> str:
    best = records.retrained.get(key, {}).get("best")
    return f"{best['AP']:.3f}" if best else "–"


def _conditions(records: RunRecords) -> str:
    """What the numbers depend on: machine, runtime, data, settings of the candidates' evaluation."""
    conditions = records.front_file.get("fingerprint") or {}
    rows = []
    for name, value in conditions.items():
        if isinstance(value, dict):
            text = ", ".join(f"{k} {v}" for k, v in value.items() if not isinstance(v, list))
        else:
            text = str(value)
        rows.append((name, text))
    constraints = records.front_file.get("constraints")
    if constraints:
        rows.append(("constraints", "; ".join(constraints)))
    return table(["what", "value"], rows) if rows else ""
