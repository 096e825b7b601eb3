"""Networks of a run of which both are known, inherited and true AP: its finalists, or else its retrained networks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.run.folder import RunFolder, read_json_lines
from nas.search.record.journal import latest
from search_spaces import InputError, PoseArchitecture, SearchSpace
from search_spaces.video import any_architecture
from search_spaces.video_costs import count_any

from .assessment import FEWEST
from .networks import RankedNetwork
from .truth import gene_choices

__all__ = ["FINALISTS", "TRUST", "networks_of_run"]

FINALISTS, TRUST = "finalists.json", "trust.json"


def networks_of_run(run: RunFolder) -> tuple[list[RankedNetwork], str]:
    """The finalists, or where the run has none its retrained networks; and what they are, in words.

    Both together are no truth: the ones were trained longer than the others.

    Raises:
        InputError: a file is damaged; or there are too few networks.
    """
    if (run.path / FINALISTS).is_file():
        networks, source = read_finalists(run), "finalists"
    else:
        networks, source = read_retrained(run), "retrained networks"
    if len(networks) < FEWEST:
        raise InputError(
            f"{run.path}: {len(networks)} {source} with inherited and true AP are too few to tell how the supernet "
            f"ranks, {FEWEST} are needed; run `vipnas finalists`, or give trained networks with --truth"
        )
    return networks, source


def read_finalists(run: RunFolder) -> list[RankedNetwork]:
    """The networks of ``finalists.json``.

    An entry needs ``id``, ``ap`` and ``inherited`` with ``ap`` or ``mean_oks``; ``ap_standard_error``, ``latency_ms``
    and ``architecture`` are used where they are there. An architecture that is not is looked up in the journal.

    Raises:
        InputError: the file is damaged, or an entry lacks what is needed.
    """
    path = run.path / FINALISTS
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["networks"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{path}: damaged ({reason}); `vipnas finalists` writes it again") from None
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise InputError(f"{path}: damaged (networks is no list of objects); `vipnas finalists` writes it again")
    records, space = _records(run), _space(run)
    return [_finalist(entry, f"{path}: network {number}", records, space) for number, entry in enumerate(entries, 1)]


def _finalist(
    entry: Mapping[str, Any], where: str, records: Mapping[str, dict[str, Any]], space: SearchSpace | None
) -> RankedNetwork:
    key = entry.get("id")
    if not isinstance(key, str):
        raise InputError(f"{where}: has no id; `vipnas finalists` writes it")
    given = entry.get("inherited")
    given = given if isinstance(given, Mapping) else {}
    inherited = _measures(ap=given.get("ap"), mean_oks=given.get("mean_oks"))
    ap, latency = _number(entry.get("ap")), _number(entry.get("latency_ms"))
    if ap is None or not inherited:
        missing = "inherited AP" if ap is not None else "AP"
        raise InputError(f"{where} ({key}): has no {missing}; `vipnas finalists` writes it")
    architecture = entry.get("architecture") or records.get(key, {}).get("architecture")
    return RankedNetwork(
        id=key,
        true_ap=(ap,),
        inherited=inherited,
        standard_error=_number(entry.get("ap_standard_error")),
        latency_ms=_latency(records.get(key, {})) if latency is None else latency,
        **_costs(architecture, space, where),
    )


def read_retrained(run: RunFolder) -> list[RankedNetwork]:
    """Those of ``retrain/`` that are trained to their end and were evaluated to the end by the search.

    Raises:
        InputError: a file is damaged.
    """
    records, space = _records(run), _space(run)
    found = []
    for path in sorted((run.path / "retrain").glob("[!.]*/results.json")):
        record, ap = records.get(path.parent.name), _retrained_ap(path)
        if record is None or ap is None or record.get("status") != "complete":
            continue
        inherited = _measures(ap=record["objectives"].get("ap"), mean_oks=record.get("metrics", {}).get("mean_oks"))
        if inherited:
            found.append(
                RankedNetwork(
                    id=path.parent.name,
                    true_ap=(ap,),
                    inherited=inherited,
                    latency_ms=_latency(record),
                    **_costs(record.get("architecture"), space, str(path)),
                )
            )
    return found


def _retrained_ap(path: Path) -> float | None:
    """The best AP of a training; None of one that has not come to its end."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        ap = results["best"]["AP"] if results["finished"] else None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{path}: damaged ({reason})") from None
    return _number(ap)


def _records(run: RunFolder) -> dict[str, dict[str, Any]]:
    """The search's evaluations by id; those of the front as they were measured with it."""
    found = {one["id"]: one for one in latest(read_json_lines(run.journal)) if "id" in one and "objectives" in one}
    front = run.load_front() if run.front.is_file() else []
    return {**found, **{one["id"]: one for one in front}}


def _latency(record: Mapping[str, Any]) -> float | None:
    """As the search had it: of a network that is not on the front there is no other."""
    return _number(record.get("objectives", {}).get("latency_ms"))


def _space(run: RunFolder) -> SearchSpace | None:
    return run.load_space() if run.space.is_file() and not run.is_video else None


def _costs(architecture: Any, space: SearchSpace | None, where: str) -> dict[str, Any]:
    """MACs, parameters and genes, as far as there is an architecture."""
    if architecture is None:
        return {}
    network = any_architecture(architecture, where=where)
    cost = count_any(network)
    known: dict[str, Any] = {"macs": float(cost.macs), "parameters": float(cost.parameters)}
    if space is not None and isinstance(network, PoseArchitecture):
        known["genes"] = gene_choices(network, space)
    return known


def _number(value: Any) -> float | None:
    """None for whatever is no finite number."""
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


def _measures(**values: Any) -> dict[str, float]:
    """Those that are known."""
    return {name: number for name, value in values.items() if (number := _number(value)) is not None}
