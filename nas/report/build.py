"""Makes ``report.html`` of what a run's folder holds. Whatever a run does not have yet is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.evaluation.baselines import Baseline
from nas.run.files import atomic_write_text
from nas.run.folder import RunFolder
from search_spaces import InputError, PoseArchitecture, published, published_names
from search_spaces.complexity import count
from search_spaces.words import comparison_rows

from .describe import latency_source
from .finalists import finalists_body, finalists_note
from .network_files import network_files
from .page import page, section, table
from .records import RunRecords, latency_of, read_records
from .run_charts import front_chart, front_note, hypervolume_chart, retraining_chart, training_chart
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
    body += trust_section(run)
    files = network_files(run, records.retrained)
    body += section("Networks to take away", files, "The retrained ones; card.md says how each is used.")
    finalists = {one["id"]: {"best": {"AP": one["ap"]}} for one in records.finalists.get("finalists", [])}
    files = network_files(run, {key: finalists[key] for key in records.finalists.get("front", [])}, "finalists")
    body += section("Finalists to take away", files, "The front of them; `vipnas export` writes the other formats.")
    body += section("How it was measured", _conditions(records))
    atomic_write_text(run.report, page(title, subtitle, _facts(records), body))
    return run.report


def _image_body(records: RunRecords, pictures: str) -> str:
    charts = [
        section(
            "Pareto front",
            front_chart(records),
            front_note(records, "Each dot is an evaluated network; point at one to see it."),
        ),
        section("Progress of the search", hypervolume_chart(records), "Hypervolume of the front found so far."),
        section("Training of the supernet", training_chart(records)),
        section("Training of found networks", retraining_chart(records), "AP on the validation people."),
    ]
    return "".join(
        [
            f'<div class="grid2">{"".join(charts)}</div>',
            section("Finalists", finalists_body(records.finalists), finalists_note(records.finalists)),
            section("Networks side by side", _comparison(records), "The published network beside those of this run."),
            section("Predictions", pictures, _PICTURES_NOTE),
        ]
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


# Tables -------------------------------------------------------------------------------------------------------------


def _comparison(records: RunRecords) -> str:
    """The found networks beside the published ones of their family."""
    found = [network for network in records.architectures.values() if isinstance(network, PoseArchitecture)]
    if not found:
        found = [PoseArchitecture.from_json(record["architecture"]) for record in records.front[:4]]
    if not found:
        return ""
    found = sorted(found, key=lambda architecture: count(architecture).macs)
    names = [name for name in published_names() if published(name).family == found[0].family]
    baseline = [published(name) for name in names]
    rows = [(title, *cells) for title, cells in comparison_rows([*baseline, *found])]
    rows.append(("latency", *("–" for _ in baseline), *(_latency_text(records, a.id) for a in found)))
    rows.append(("AP, inherited", *("–" for _ in baseline), *(_inherited_text(records, a.id) for a in found)))
    rows.append(("AP, retrained", *("–" for _ in baseline), *(_retrained_text(records, a.id) for a in found)))
    return table(["", *names, *(architecture.id for architecture in found)], rows)


def _latency_text(records: RunRecords, key: str) -> str:
    record = next((record for record in [*records.front, *records.evaluations] if record.get("id") == key), None)
    value = latency_of(record) if record else None
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
