"""Networks of a run of which both are known, inherited and true AP: its finalists, or else its retrained networks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
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
        return read_finalists(run)
    networks = read_retrained(run)
    if len(networks) < FEWEST:
        raise InputError(
            f"{run.path}: {len(networks)} retrained networks with inherited and true AP are too few to tell how the "
            f"supernet ranks, {FEWEST} are needed; run `vipnas finalists`, or give trained networks with --truth"
        )
    return networks, "retrained networks"


def read_finalists(run: RunFolder) -> tuple[list[RankedNetwork], str]:
    """The networks of ``finalists.json`` that were equally long in training, and what they are, in words.

    An entry needs ``id``, ``ap`` and ``inherited`` with ``ap`` or ``mean_oks``; others are left out. A standard error
    (``ap_se``), ``latency_ms`` and ``architecture`` are used where they are there; an architecture that is not is
    looked up in the journal. Of entries with ``rungs`` those count that have come to the last rung that at least half
    of them, and three, have come to, with their AP there: those that stopped before are no worse for it than others
    were at that time.

    Raises:
        InputError: the file is damaged, or has too few such networks.
    """
    path = run.path / FINALISTS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = content["finalists" if "finalists" in content else "networks"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{path}: damaged ({reason}); `vipnas finalists` writes it again") from None
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise InputError(f"{path}: damaged (no list of objects); `vipnas finalists` writes it again")
    records, space = _records(run), _space(run)
    known = [one for one in entries if _inherited(one) and isinstance(one.get("id"), str)]
    stages = [_rungs(one) for one in known]
    reached = [sum(len(rungs) >= depth for rungs in stages) for depth in range(1, 1 + max(map(len, stages), default=0))]
    depth = max((d for d, count in enumerate(reached, 1) if count >= max(FEWEST, len(known) / 2)), default=0)
    found, source = [], "finalists"
    for entry, rungs in zip(known, stages, strict=True):
        if depth and len(rungs) >= depth:
            last, before = rungs[depth - 1], rungs[: depth - 1]
            found.append(_finalist({**entry, **last}, before, records, space, str(path)))
            source = f"finalists, as they were after {last['step']} steps" if depth < len(reached) else source
        elif not depth and _number(entry.get("ap")) is not None:
            found.append(_finalist(entry, [], records, space, str(path)))
    if len(found) < FEWEST:
        raise InputError(
            f"{path}: {len(found)} of its {len(entries)} networks have both inherited and trained AP, and {FEWEST} are "
            "needed to tell how the supernet ranks; train more (finalists.networks), or give trained networks with "
            "--truth"
        )
    return found, source


def _inherited(entry: Mapping[str, Any]) -> dict[str, float]:
    given = entry.get("inherited")
    return _measures(ap=given.get("ap"), mean_oks=given.get("mean_oks")) if isinstance(given, Mapping) else {}


def _rungs(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that a network has come to, in their order."""
    found = entry.get("rungs")
    if not isinstance(found, list):
        return []
    return [one for one in found if isinstance(one, dict) and _number(one.get("ap")) is not None and "step" in one]


def _finalist(
    entry: Mapping[str, Any],
    before: Sequence[Mapping[str, Any]],
    records: Mapping[str, dict[str, Any]],
    space: SearchSpace | None,
    where: str,
) -> RankedNetwork:
    key, latency = str(entry["id"]), _number(entry.get("latency_ms"))
    error = entry.get("ap_se", entry.get("ap_standard_error"))
    return RankedNetwork(
        id=key,
        true_ap=(float(entry["ap"]),),
        inherited=_inherited(entry),
        standard_error=_number(error),
        latency_ms=_latency(records.get(key, {})) if latency is None else latency,
        short={str(rung["step"]): float(rung["ap"]) for rung in before},
        **_costs(entry.get("architecture") or records.get(key, {}).get("architecture"), space, where),
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
