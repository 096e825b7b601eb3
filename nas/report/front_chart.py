"""The front as a chart: inherited, finalist and trained quality over cost, and which networks to take."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from nas.latency.published import PublishedLatency
from nas.search.record.journal import STATUSES
from search_spaces.video import any_architecture
from search_spaces.words import network_lines

from .axis import Span, widest_gap
from .callouts import Callout
from .charts import Chart, Marks
from .choice import choose
from .latency_notes import latency_lines, published_goes_with
from .layers import TITLES, Layer, Point, layers_of
from .page import prose
from .records import RunRecords

__all__ = ["front_chart"]

EVALUATED = tuple(status for status in STATUSES if status != "failed")
EMPTY = 0.35
"""The cost's axis is broken where more than this part of it would be empty: one network far off is not to press the
others together."""
FLAT = 0.2
"""The quality's axis is broken between inherited and trained values where the inherited would have less than this part
of it. Not elsewhere: error bars on both sides of a break are on two scales."""
WIDE_RATIO = 4
"""From this ratio of the dearest to the cheapest on, the cost's axis is logarithmic."""


def front_chart(records: RunRecords, beside: Sequence[Marks] = (), latency: str = "latency (ms)") -> str:
    """Evaluated networks, the front, what its members came to when they were trained, and under it how it was measured.

    Args:
        beside: further marks; only where the axes are latency and AP.
        latency: the axis title of latencies.
    """
    if records.axes is None:
        return ""
    x, y = records.axes
    layers = layers_of(records, y)
    chart = _Front(records, x, layers)
    series = [*chart.evaluated(y), *chart.series()]
    if records.axes == ("latency_ms", "ap"):
        series += beside
    costs = [value for marks in series for value in marks.x]
    wide = bool(costs) and min(costs) > 0 and max(costs) / min(costs) > WIDE_RATIO
    drawing = Chart(
        x_title=latency if x == "latency_ms" else _title(x),
        y_title=_title(y),
        series=series,
        log_x=wide,
        x_cut=widest_gap(costs, EMPTY, wide),
        y_cut=_between(series),
        wide=True,
        callouts=chart.callouts(),
    ).svg()
    return drawing + chart.protocol() if drawing else ""


def _between(series: Sequence[Marks]) -> Span | None:
    """The highest of what was inherited and the lowest of what was trained, where the axis is to be broken there."""
    untrained = [y for marks in series if marks.style in ("raced", "complete", "inherited") for y in marks.y_ends()]
    after = ("finalist", "retrained", "baseline")
    trained = [y for marks in series if marks.style in after for y in marks.y_ends()]
    if not untrained or not trained or max(untrained) >= min(trained):
        return None
    low, high = min(untrained), max(trained)
    return (max(untrained), min(trained)) if max(untrained) - low < FLAT * (high - low) else None


class _Front:
    """What is drawn of the networks that have a letter.

    Args:
        cost: the objective on the x axis.
        layers: inherited, finalists', retrained.
    """

    def __init__(self, records: RunRecords, cost: str, layers: tuple[Layer, Layer, Layer]) -> None:
        self.records, self.cost, self.layers = records, cost, layers
        self.inherited, self.finalists, self.retrained = (self._placed(layer) for layer in layers)
        self.trained = {one.id for one in (*self.finalists, *self.retrained)}
        self.front = {record["id"] for record in records.front}
        self.choice = choose(records)
        is_trained = self.choice is not None and self.choice.kind != "inherited"
        self.budgets = self.choice.budgets if self.choice is not None and is_trained else {}

    def _placed(self, layer: Layer) -> list[Point]:
        return [point for point in layer.points if self.records.cost(point.id, self.cost) is not None]

    def _x(self, key: str) -> float:
        value = self.records.cost(key, self.cost)
        assert value is not None
        return value

    def evaluated(self, measure: str) -> list[Marks]:
        """The candidates without a letter."""
        usable = [
            one
            for one in self.records.evaluations
            if one.get("status") in EVALUATED
            and {self.cost, measure} <= one["objectives"].keys()
            and (not self.records.labels[one["id"]] or one["status"] != "complete")
        ]
        estimates = [one for one in usable if one["status"] != "complete"]
        others = [one for one in usable if one["status"] == "complete"]
        kinds = (
            (estimates, "raced", "an estimate (looked at, or stopped early)", 3.0),
            (others, "complete", "evaluated, not on the front", 4.0),
        )
        return [
            Marks(
                x=[one["objectives"][self.cost] for one in group],
                y=[one["objectives"][measure] for one in group],
                style=style,
                label=label,
                hover=[_record_hover(one) for one in group],
                radius=radius,
            )
            for group, style, label, radius in kinds
        ]

    def series(self) -> list[Marks]:
        """From the back to the front."""
        inherited, finalists, retrained = self.layers
        return [
            self._published(),
            self._staircase(),
            *self._links(),
            self._points(self.inherited, "inherited", inherited.title, "dots", 5.5),
            self._halos(),
            self._points(self.finalists, "finalist", finalists.title, "diamond", 5.5),
            self._points(self.retrained, "retrained", retrained.title, "star", 5.5),
        ]

    def _points(self, points: Sequence[Point], style: str, label: str, kind: str, radius: float) -> Marks:
        labels = self.records.labels
        return Marks(
            x=[self._x(one.id) for one in points],
            y=[one.value for one in points],
            errors=[one.error for one in points],
            style=style,
            label=label,
            kind=kind,
            radius=radius,
            hover=[self._hover(one.id) for one in points],
            colors=[labels.color(one.id) if one.id in self.trained else "" for one in points],
            stands_out=True,
        )

    def _staircase(self) -> Marks:
        """Through the front, less those that are behind a quicker one as latencies were measured since."""
        best: list[Point] = []
        for one in sorted(self.inherited, key=lambda one: (self._x(one.id), -one.value)):
            if one.id in self.front and (not best or one.value > best[-1].value):
                best.append(one)
        xs, ys = [self._x(one.id) for one in best], [one.value for one in best]
        return Marks(x=xs, y=ys, style="frontline", label="front of the search", kind="step")

    def _links(self) -> list[Marks]:
        """From what a network inherited to what it came to, by way of the finalists."""
        found: list[Marks] = []
        for key in sorted(self.trained, key=self._x):
            values = [layer.by_id[key].value for layer in self.layers if key in layer.by_id]
            if len(values) > 1:
                color, label = self.records.labels.color(key), "" if found else "what a network gains by training"
                xs = [self._x(key)] * len(values)
                found.append(Marks(x=xs, y=values, style="link", label=label, kind="line", colors=[color]))
        return found

    def _halos(self) -> Marks:
        points = [one for one in self._choosable() if one.id in self.budgets]
        xs, ys = [self._x(one.id) for one in points], [one.value for one in points]
        return Marks(x=xs, y=ys, style="halo", label="take this one", kind="halo", radius=13, stands_out=True)

    def _choosable(self) -> list[Point]:
        """The points of the layer that the networks to take are chosen by."""
        return self.finalists if self.choice is not None and self.choice.kind == "finalists" else self.retrained

    def _published(self) -> Marks:
        shown = self._comparable()
        return Marks(
            x=[one.latency_ms for one in shown],
            y=[0.0] * len(shown),
            style="published",
            label="published, at this run's input size; its AP is not known on these people",
            kind="rule",
            hover=[f"{one.title}\n{one.latency_ms:.2f} ms ± {one.spread_ms:.2f} measured" for one in shown],
        )

    def _comparable(self) -> list[PublishedLatency]:
        """The published networks whose milliseconds go with those of the chart."""
        published = self.records.published
        if published is None or self.cost != "latency_ms" or not published_goes_with(self.records):
            return []
        sizes = {tuple(record["architecture"].get("input_size", ())) for record in self.records.front}
        return [one for one in published.networks if one.architecture.input_size in sizes]

    def callouts(self) -> list[Callout]:
        """A letter a network; what is recommended with its budget."""
        labels = self.records.labels
        found: list[Callout] = []
        tops = {one.id: one for points in (self.inherited, self.finalists, self.retrained) for one in points}
        named = {one.id: one for one in self._choosable() if one.id in self.budgets}
        for key, point in {**tops, **named}.items():
            text = labels[key]
            if key in named:
                text = f"{text}: take this one at ≤ {self.budgets[key]:.3g} ms"
            style = "label take" if key in named else "label"
            needed = key in self.trained
            found.append(
                Callout(x=self._x(key), y=point.value, text=text, style=style, needed=needed, hover=self._hover(key))
            )
        highest = max((one.value for one in tops.values()), default=0.0)
        return found + [
            Callout(x=network.latency_ms, y=highest, text=network.name, style="label faint", needed=True)
            for network in self._comparable()
        ]

    def _hover(self, key: str) -> str:
        lines = [self.records.labels.named(key)]
        lines += [f"{layer.title} {layer.by_id[key].text}" for layer in self.layers if key in layer.by_id]
        lines.append(f"{_title(self.cost)} {_value(self.cost, self._x(key))}")
        if self.choice is not None and (why := self.choice.why(key)):
            lines.append(self.records.labels.shorten(why))
        network = self.records.architecture(key)
        return "\n".join([*lines, *(network_lines(network) if network else [])])

    def protocol(self) -> str:
        """A line a layer: how it was measured."""
        lines = [(layer.title, layer.protocol) for layer in self.layers if layer.points]
        if self.cost == "latency_ms":
            lines += latency_lines(self.records)
        lost = [one.id for layer in self.layers for one in layer.points if self.records.cost(one.id, self.cost) is None]
        if lost:
            names = ", ".join(self.records.labels.named(key) for key in dict.fromkeys(lost))
            lines.append(("not in the chart", f"{names}: trained, but {_title(self.cost)} is not known"))
        items = "".join(f"<li><b>{html.escape(name)}</b>: {prose(text)}</li>" for name, text in lines)
        return f'<ul class="protocol">{items}</ul>'


def _title(name: str) -> str:
    return {**TITLES, "latency_ms": "latency (ms)", "macs": "MACs", "params": "parameters"}.get(name, name)


def _value(name: str, value: float) -> str:
    return f"{value / 1e6:.2f} M" if name in ("macs", "params") else f"{value:.3f}"


def _record_hover(record: dict[str, Any]) -> str:
    values = ", ".join(f"{_title(name)} {_value(name, value)}" for name, value in record["objectives"].items())
    lines = network_lines(any_architecture(record["architecture"]))
    return "\n".join([f"{record['id']}  (candidate {record.get('number', '?')})", values, *lines])
