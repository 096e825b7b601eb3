"""What a reader must know before the rest of a report: why its figures may be worth little."""

from __future__ import annotations

from collections.abc import Iterator

from nas.search.verdict import NEAR_ZERO_AP

from .layers import Layer, layers_of
from .records import RunRecords

__all__ = ["FEW_PEOPLE", "cautions"]

FEW_PEOPLE = 100
"""Fewer validation people hardly tell networks apart: a standard error of 0.013 with 500 people is 0.03 with 100."""


def cautions(records: RunRecords) -> list[str]:
    """A sentence each; none where nothing is wrong."""
    inherited, finalists, retrained = layers_of(records)
    return [
        *(_of_search(records) or _of_front(records, inherited)),
        *_of_training(records, inherited, finalists, "further training as a finalist"),
        *_of_training(records, inherited, retrained, "retraining"),
        *_of_training(records, finalists, retrained, "retraining, below what it was as a finalist"),
        *_of_people(records),
    ]


def _of_search(records: RunRecords) -> list[str]:
    warning = records.front_file.get("warning")
    return [f"The search says: {warning}."] if isinstance(warning, str) else []


def _of_front(records: RunRecords, inherited: Layer) -> Iterator[str]:
    """That the front is noise: nobody inherits any AP, or what its members inherit differs by less than its errors."""
    ids = {record["id"] for record in records.front}
    points = sorted((point for point in inherited.points if point.id in ids), key=lambda point: point.value)
    if not points:
        return
    worst, best = points[0], points[-1]
    see = "see with `vipnas retrain`" if records.is_video else "see with `vipnas finalists`"
    if best.value < NEAR_ZERO_AP:
        yield (
            f"Inherited AP is near 0 for the whole front (at most {best.value:.4f}): it does not tell networks apart, "
            f"and their order may be chance. Train the supernet longer, or {see}."
        )
    elif len(points) > 1 and worst.error is not None and best.error is not None:
        spread = best.value - worst.value
        if spread <= worst.error + best.error:
            names = f"{records.labels[worst.id]} ({worst.text}) and {records.labels[best.id]} ({best.text})"
            yield (
                f"The front is within noise: the error bars of its worst and its best network, {names}, overlap. "
                f"Evaluate on more people (candidate.persons), train the supernet longer, or {see}."
            )


def _of_training(records: RunRecords, before: Layer, after: Layer, by: str) -> Iterator[str]:
    """That training makes networks worse."""
    earlier = before.by_id
    fallen = [point for point in after.points if point.id in earlier and point.value < earlier[point.id].value]
    if fallen:
        shown = ", ".join(f"{records.labels[one.id]} from {earlier[one.id].text} to {one.text}" for one in fallen)
        yield (
            f"AP falls by {by}: {shown}. Was it trained long enough, with the same data and keypoints? The protocols "
            "of the two figures are under the chart."
        )


def _of_people(records: RunRecords) -> Iterator[str]:
    counts = {
        "the search": max((one.get("persons") or 0 for one in records.front), default=0),
        "finalists": records.finalists.get("people") or 0,
        "retraining": max((one.get("persons") or 0 for one in records.retrained.values()), default=0),
    }
    few = [f"{count} in {stage}" for stage, count in counts.items() if 0 < count < FEW_PEOPLE]
    if few:
        yield (
            f"Few validation people ({', '.join(few)}): fewer than {FEW_PEOPLE} hardly tell networks apart. Evaluate "
            "on more."
        )
