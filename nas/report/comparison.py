"""The found networks beside the published ones of their family, as a table."""

from __future__ import annotations

from search_spaces import PoseArchitecture, published, published_names
from search_spaces.words import comparison_rows

from .describe import latency_source
from .latency_notes import not_measured, published_goes_with
from .layers import Layer, layers_of
from .page import table
from .records import RunRecords, latency_of

__all__ = ["comparison", "comparison_note"]

SHOWN = 4
"""Networks of the front, spread over it, where none was exported or trained."""


def comparison(records: RunRecords) -> str:
    """A column a network; empty where the run has none."""
    found = _found(records)
    if not found:
        return ""
    beside = _published(records, found[0].family)
    rows = [(title, *cells) for title, cells in comparison_rows([*(one for _, one, _ in beside), *found])]
    rows.append(("latency", *(text for *_, text in beside), *(_latency_text(records, one.id) for one in found)))
    inherited, finalists, retrained = layers_of(records)
    for title, layer in (("AP, inherited", inherited), ("AP, finalist", finalists), ("AP, retrained", retrained)):
        if layer.points or layer is not finalists:
            cells = [_exported(records, one.id) if layer is inherited else "" for one in found]
            texts = [_ap_text(layer, one.id) or cell or "–" for one, cell in zip(found, cells, strict=True)]
            rows.append((title, *("–" for _ in beside), *texts))
    names = [name for name, *_ in beside]
    return table(["", *names, *(records.labels.named(one.id) for one in found)], rows)


def _found(records: RunRecords) -> list[PoseArchitecture]:
    """Exported and trained networks, or some of the front; in the order of their letters."""
    found = {key: one for key, one in records.architectures.items() if isinstance(one, PoseArchitecture)}
    front = set(records.finalists.get("front", []))
    for one in records.finalists.get("finalists", []):
        if one["id"] in front:
            found[one["id"]] = PoseArchitecture.from_json(one["architecture"])
    if not found:
        last = len(records.front) - 1
        places = sorted({round(index * last / (SHOWN - 1)) for index in range(SHOWN)}) if records.front else []
        shown = [records.front[place] for place in places]
        found = {one["id"]: PoseArchitecture.from_json(one["architecture"]) for one in shown}
    return sorted(found.values(), key=lambda architecture: records.labels.position(architecture.id))


def _published(records: RunRecords, family: str) -> list[tuple[str, PoseArchitecture, str]]:
    """(title, network, latency) of the published networks of a family: as measured for the run, or else unmeasured."""
    if records.published is None:
        return [(name, published(name), "–") for name in published_names() if published(name).family == family]
    other = "" if published_goes_with(records) else f" (on {records.published.fingerprint})"
    return [
        (one.title, one.architecture, f"{one.latency_ms:.2f} ms ± {one.spread_ms:.2f}{other}")
        for one in records.published.networks
    ]


def comparison_note(records: RunRecords) -> str:
    """What the columns are."""
    if records.published is None:
        return f"Published networks beside those of this run. Their latency: {not_measured(records)}."
    return (
        "Published networks beside those of this run: at its input size, and as they were published. Their AP on the "
        "run's people is not known."
    )


def _latency_text(records: RunRecords, key: str) -> str:
    finalist = next((one for one in records.finalists.get("finalists", []) if one["id"] == key), None)
    if finalist is not None:
        return f"{finalist['latency_ms']:.2f} ms ± {finalist['spread_ms']:.2f}"
    record = records.by_id.get(key)
    value = latency_of(record) if record else records.latency_ms(key)
    if value is None:
        return "–"
    spread = record.get("measured", {}).get("spread_ms") if record else None
    if record is None or spread is not None:
        return f"{value:.2f} ms" + ("" if spread is None else f" ± {spread:.2f}")
    return f"{value:.2f} ms ({latency_source(record, records.front_file)})"


def _ap_text(layer: Layer, key: str) -> str:
    return layer.by_id[key].text if key in layer.by_id else ""


def _exported(records: RunRecords, key: str) -> str:
    """Of a network that the search has not evaluated, what its export found."""
    ap = records.exported.get(key, {}).get("inherited", {}).get("AP")
    return f"{ap:.3f}" if isinstance(ap, float) else ""
