"""Makes ``report.html`` of what a run's folder holds. Whatever a run does not have yet is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.evaluation.baselines import Baseline
from nas.run.files import atomic_write_text
from nas.run.folder import RunFolder
from search_spaces import InputError

from .cautions import cautions
from .choice import choice_body, choice_note, choose
from .comparison import comparison, comparison_note
from .finalists import finalists_body, finalists_note
from .front_chart import front_chart
from .genes import genes_section
from .network_files import network_files
from .page import page, section, table
from .records import RunRecords, latency_of, read_records
from .run_charts import hypervolume_chart, retraining_chart, training_chart
from .trust_section import trust_section
from .video_body import video_body

__all__ = ["write_report"]


def write_report(run: RunFolder, pictures: str = "", baselines: Sequence[Baseline] = ()) -> Path:
    """Write the page and return its path.

    Args:
        pictures: HTML of prediction pictures (:func:`nas.report.predictions.prediction_pictures`; of a run on videos,
            :func:`nas.report.clip_pictures.clip_pictures`).
        baselines: image networks on every frame, for a run on videos.

    Raises:
        InputError: the folder has nothing to report yet, or a file is damaged.
    """
    records = read_records(run)
    if not (records.evaluations or records.training or records.retrained):
        raise InputError(f"{run.path}: nothing to report yet; train a supernet or search first")
    title = f"vipnas: {run.path.resolve().name}"
    if run.is_video:
        subtitle, body = "Search of video pose networks", video_body(records, baselines, pictures)
    else:
        subtitle, body = "Search of human pose networks", _image_body(records, pictures)
    body += genes_section(run, records)
    body += trust_section(run)
    files = network_files(run, records.retrained, records.labels)
    body += section("Networks to take away", files, "The retrained ones; card.md says how each is used.")
    finalists = {one["id"]: {"best": {"AP": one["ap"]}} for one in records.finalists.get("finalists", [])}
    front = {key: finalists[key] for key in records.finalists.get("front", [])}
    files = network_files(run, front, records.labels, "finalists")
    body += section("Finalists to take away", files, "The front of them; `vipnas export` writes the other formats.")
    body += section("How it was measured", _conditions(records))
    atomic_write_text(run.report, page(title, subtitle, _facts(records), body, cautions(records)))
    return run.report


def _image_body(records: RunRecords, pictures: str) -> str:
    charts = [
        section("Progress of the search", hypervolume_chart(records), "Hypervolume of the front found so far."),
        section("Training of the supernet", training_chart(records)),
        section("Training of found networks", retraining_chart(records), "AP on the validation people."),
    ]
    choice = choose(records)
    return "".join(
        [
            section("Which to take", choice_body(choice, records.labels), choice_note(choice)),
            section("Pareto front", front_chart(records), _FRONT_NOTE),
            section("Finalists", finalists_body(records.finalists, records.labels), finalists_note(records.finalists)),
            section("Networks side by side", comparison(records), comparison_note(records)),
            f'<div class="grid2">{"".join(charts)}</div>',
            section("Predictions", pictures, _PICTURES_NOTE),
        ]
    )


_FRONT_NOTE = (
    "Networks have letters, the quickest first. A shape is a layer, a colour a network; grey dots are candidates that "
    "are not on the front. Point at one to see it."
)
_PICTURES_NOTE = "The person's left in orange, right in blue. Above the skeleton, below the heatmaps."


def _facts(records: RunRecords) -> list[tuple[str, str]]:
    counts = [record.get("status") for record in records.evaluations]
    facts = []
    if counts:
        facts.append((f"{len(counts)}", "networks evaluated"))
        facts.append((f"{len(counts) - counts.count('complete')}", "of them not evaluated in full"))
        facts.append((f"{len(records.front)}", "on the Pareto front"))
        seconds = [record["cpu_s"] for record in records.evaluations if "cpu_s" in record]
        if seconds:
            facts.append((f"{sum(seconds) / len(seconds):.2f} s", "CPU a candidate"))
    best = [result["best"]["AP"] for result in records.retrained.values() if result.get("best")]
    if best:
        facts.append((f"{max(best):.3f}", "best AP after retraining"))
    latencies = [latency_of(record) for record in records.front]
    if latencies and all(value is not None for value in latencies):
        low, high = min(v for v in latencies if v is not None), max(v for v in latencies if v is not None)
        facts.append((f"{low:.2f}–{high:.2f} ms", "latency of the front"))
    return facts


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
