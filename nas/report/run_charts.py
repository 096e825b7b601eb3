"""The charts that a run on images and one on videos have in common."""

from __future__ import annotations

from nas.search.algorithms.history import history_of
from nas.search.algorithms.objectives import Problem

from .charts import Chart, Marks
from .records import RunRecords

__all__ = ["hypervolume_chart", "retraining_chart", "training_chart"]

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
    """AP over epochs, a line a network, in its own colour."""
    series = []
    for key, result in sorted(records.retrained.items(), key=lambda one: records.labels.position(one[0])):
        entries = result.get("validations", [])
        epochs, values = [e["epoch"] for e in entries], [e["AP"] for e in entries]
        label, colors = records.labels.named(key), [records.labels.color(key)]
        series.append(Marks(x=epochs, y=values, style="curve", label=label, kind="line", colors=colors, hover=[label]))
    return Chart(x_title="epoch", y_title="AP", series=series, y_from_zero=True).svg()
