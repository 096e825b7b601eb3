"""The report's body for a run on videos: the front, where time goes within a clip, AP by frame, found fusions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from nas.evaluation.baselines import Baseline
from search_spaces import VideoArchitecture
from search_spaces.video_costs import count_video
from search_spaces.words import network_lines

from .bars import Bars
from .charts import Chart, Marks
from .front_chart import front_chart
from .labels import Labels
from .page import section, table
from .records import RunRecords, latency_of
from .run_charts import hypervolume_chart, retraining_chart, training_chart

__all__ = ["video_body"]

SHOWN = 6
"""Networks of the front in the charts by frame."""


def video_body(records: RunRecords, baselines: Sequence[Baseline] = (), pictures: str = "") -> str:
    """HTML of all sections but the last; what a run does not have yet is left out."""
    shown = shown_records(records)
    charts = [
        section(
            "Latency by frame",
            _latency_bars(shown, records.labels),
            "How the found networks share out their time over a clip.",
        ),
        section("AP by frame", _ap_chart(records, shown, baselines), "Frame 0 is the key frame."),
        section("Fusions on the front", _fusions(records), _FUSIONS_NOTE),
        section("Progress of the search", hypervolume_chart(records), "Hypervolume of the front found so far."),
        section("Training of the temporal supernet", training_chart(records)),
        section("Training of found networks", retraining_chart(records), "AP on the validation clips."),
    ]
    return "".join(
        [
            section(
                "Pareto front",
                front_chart(records, _baseline_marks(baselines, records.labels), "latency of a clip (ms)"),
                _FRONT_NOTE,
            ),
            f'<div class="grid2">{"".join(charts)}</div>',
            section("Networks side by side", _comparison(records, shown, baselines), _COMPARISON_NOTE),
            section("A clip, frame by frame", pictures, "The person's left in orange, right in blue."),
        ]
    )


_FRONT_NOTE = (
    "Video networks have letters, the quickest first; latency is that of a key frame and all frames after it. A shape "
    "is a layer, a colour a network; grey dots are candidates that are not on the front. Point at one to see it."
)
_FUSIONS_NOTE = (
    "Frames of the front's networks by what they do with the previous frame's heatmaps: after which stage they come in "
    "(F1 to F4), and how."
)
_COMPARISON_NOTE = "AP over all frames of the validation clips; latencies in ms, of a clip and of its frames."


def shown_records(records: RunRecords) -> list[dict[str, Any]]:
    """Networks of the front for charts, quickest first: those that were exported or retrained, and some between."""
    front = sorted(records.front, key=lambda record: latency_of(record) or 0.0)
    chosen = {record["id"] for record in front if record["id"] in records.architectures}
    free = [record["id"] for record in front if record["id"] not in chosen]
    room = SHOWN - len(chosen)
    if room > 0 and free:
        places = [round(index * (len(free) - 1) / max(room - 1, 1)) for index in range(min(room, len(free)))]
        chosen |= {free[place] for place in places}
    return [record for record in front if record["id"] in chosen]


def latencies_of(record: dict[str, Any]) -> list[float]:
    """Milliseconds of each frame, as measured with the front, or else as the search had them."""
    found = record.get("measured", {}).get("latency_by_position")
    return list(found or record.get("metrics", {}).get("latency_by_position") or [])


def _baseline_marks(baselines: Sequence[Baseline], labels: Labels) -> list[Marks]:
    colors = labels.other_colors(len(baselines))
    known = [(one, color) for one, color in zip(baselines, colors, strict=True) if one.clip_latency_ms is not None]
    return [
        Marks(
            x=[one.clip_latency_ms or 0.0 for one, _ in known],
            y=[one.ap for one, _ in known],
            colors=[color for _, color in known],
            style="baseline",
            label="an image network on every frame",
            kind="diamond",
            hover=[f"{_title(one)}\nAP {one.ap:.3f}, {one.clip_latency_ms:.2f} ms a clip" for one, _ in known],
        )
    ]


def _title(one: Baseline) -> str:
    of_key = " (key)" if one.is_key else " (key, trained on)" if one.is_key_trained_on else ""
    return f"{one.network}{of_key} on every frame"


def _latency_bars(shown: Sequence[dict[str, Any]], labels: Labels) -> str:
    timed = [record for record in shown if latencies_of(record)]
    if not timed:
        return ""
    hover = []
    for record in timed:
        lines = network_lines(VideoArchitecture.from_json(record["architecture"]))
        name, by_frame = labels.named(record["id"]), zip(latencies_of(record), lines, strict=True)
        hover.append([f"{name}: {ms:.2f} ms\n{line}" for ms, line in by_frame])
    return Bars(
        y_title="latency (ms)",
        groups=[latencies_of(record) for record in timed],
        labels=[f"{labels[record['id']]} {record['id'][:6]}" for record in timed],
        notes=[f"{sum(latencies_of(record)):.2f} ms" for record in timed],
        legend=_positions(len(latencies_of(timed[0]))),
        hover=hover,
    ).svg()


def _positions(count: int) -> list[str]:
    return ["key frame", *(f"frame {position}" for position in range(1, count))]


def _ap_chart(records: RunRecords, shown: Sequence[dict[str, Any]], baselines: Sequence[Baseline]) -> str:
    labels = records.labels
    series = [
        _ap_line(one.ap_by_position, "baseline-line", _title(one), color)
        for one, color in zip(baselines, labels.other_colors(len(baselines)), strict=True)
    ]
    series += [
        _ap_line(record["metrics"]["by_position"], "curve thin", f"{labels[key]} inherited", labels.color(key))
        for record in shown
        if record.get("metrics", {}).get("by_position") and (key := record["id"])
    ]
    for key, result in records.retrained.items():
        aps = _retrained_aps(result)
        if aps:
            series.append(_ap_line(aps, "curve", f"{labels[key]} retrained", labels.color(key)))
    positions = max((len(marks.x) for marks in series), default=0)
    chart = Chart(
        x_title="position in the clip", y_title="AP", series=series, y_from_zero=True, x_values=range(positions)
    )
    return chart.svg()


def _ap_line(aps: Sequence[float], style: str, label: str, color: str = "") -> Marks:
    known = [(position, ap) for position, ap in enumerate(aps) if ap >= 0]
    return Marks(
        x=[position for position, _ in known],
        y=[ap for _, ap in known],
        style=style,
        label=label,
        kind="line",
        colors=[color],
        hover=[f"{label}\n" + ", ".join(f"frame {position} {ap:.3f}" for position, ap in known)],
    )


def _retrained_aps(result: dict[str, Any]) -> list[float]:
    best = result.get("best") or {}
    count = sum(name.startswith("AP_frame") for name in best)
    return [best[f"AP_frame{position}"] for position in range(count)]


def _fusions(records: RunRecords) -> str:
    """Counts of (feature, operation) over the frames of the front's networks."""
    networks = [VideoArchitecture.from_json(record["architecture"]) for record in records.front]
    counts = Counter(str(frame.fusion) for network in networks for frame in network.frames)
    if not counts:
        return ""
    total, most = sum(counts.values()), max(counts.values())
    stages = max(len(frame.architecture.stages) for network in networks for frame in network.frames)
    operations = ("add", "mul", "cat")
    rows = []
    for feature in range(1, stages + 1):
        cells = "".join(_heat(counts[f"F{feature} {operation}"], most) for operation in operations)
        rows.append(f"<tr><th>F{feature}</th>{cells}</tr>")
    alone = _heat(counts["none"], most).replace("<td", '<td colspan="3"', 1)
    rows.append(f"<tr><th>none</th>{alone}</tr>")
    head = "".join(f"<th>{operation}</th>" for operation in operations)
    by_position = []
    for position, frames in enumerate(zip(*(network.frames for network in networks), strict=True), 1):
        found = Counter(str(frame.fusion) for frame in frames).most_common()
        by_position.append((f"frame {position}", ", ".join(f"{name} × {times}" for name, times in found)))
    note = f'<p class="note">{total} frames of {len(networks)} networks.</p>'
    matrix = f'<table class="heat"><tr><th></th>{head}</tr>{"".join(rows)}</table>'
    return f"{matrix}{note}{table(['', 'fusions, most frequent first'], by_position)}"


def _heat(value: int, most: int) -> str:
    share = round(100 * value / most) if most else 0
    shade = f"background:color-mix(in srgb, var(--found) {share * 6 // 10}%, transparent)"
    return f'<td style="{shade}">{value or "·"}</td>'


def _comparison(records: RunRecords, shown: Sequence[dict[str, Any]], baselines: Sequence[Baseline]) -> str:
    rows = [_baseline_row(one) for one in baselines]
    by_id = {record["id"]: record for record in [*records.evaluations, *records.front]}
    ids = list(dict.fromkeys([*(record["id"] for record in shown), *records.architectures]))
    for key in ids:
        architecture = records.architectures.get(key)
        if architecture is None and key in by_id:
            architecture = VideoArchitecture.from_json(by_id[key]["architecture"])
        if isinstance(architecture, VideoArchitecture):
            rows.append(_network_row(records, key, architecture, by_id.get(key)))
    columns = ("network", "clip", "by frame", "AP inherited", "AP retrained", "AP by frame", "fusions", "MMACs")
    return table(columns, rows) if rows else ""


def _baseline_row(one: Baseline) -> tuple[str, ...]:
    frames = len(one.ap_by_position)
    clip = f"{one.clip_latency_ms:.2f}" if one.clip_latency_ms is not None else "–"
    each = f"{frames} × {one.latency_ms:.2f}" if one.latency_ms is not None else "–"
    aps = " ".join(f"{ap:.3f}" for ap in one.ap_by_position)
    return (_title(one), clip, each, f"{one.ap:.3f} (as trained)", "–", aps, "–", "–")


def _network_row(
    records: RunRecords, key: str, architecture: VideoArchitecture, record: dict[str, Any] | None
) -> tuple[str, ...]:
    latency = latency_of(record) if record else None
    by_frame = latencies_of(record) if record else []
    result = records.retrained.get(key, {})
    inherited = records.exported.get(key, {}).get("inherited", {}).get("AP")
    if inherited is None and record:
        inherited = record["objectives"].get("ap")
    aps = _retrained_aps(result) or (record or {}).get("metrics", {}).get("by_position", [])
    macs = [cost.macs / 1e6 for cost in count_video(architecture).by_frame]
    return (
        records.labels.named(key),
        "–" if latency is None else f"{latency:.2f}",
        " + ".join(f"{ms:.2f}" for ms in by_frame) or "–",
        "–" if inherited is None else f"{inherited:.3f}",
        f"{result['best']['AP']:.3f}" if result.get("best") else "–",
        " ".join(f"{ap:.3f}" for ap in aps) or "–",
        ", ".join(str(frame.fusion) for frame in architecture.frames),
        " + ".join(f"{value:.1f}" for value in macs),
    )

