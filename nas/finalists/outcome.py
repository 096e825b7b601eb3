"""What the finalists came to: the front of trained networks, and which of them to take for how many milliseconds.

``finalists.json``::

    {"format": "vipnas-finalists/1", "fingerprint": {…}, "batch": 1, "people": 500, "noise": 2.0, "resamples": 400,
     "finalists": [{"id": …, "architecture": {…}, "near": null, "inherited": {"ap": …, …}, "latency_ms": …,
                    "spread_ms": …, "status": "trained" | "stopped" | "failed" | "out of time", "reason": …,
                    "stopped_by": null, "ap": …, "ap_se": …, "mean_oks": …, "mean_oks_se": …, "metrics": {…},
                    "rungs": [{"step": …, "ap": …, "ap_se": …, "mean_oks": …}, …], "on_front": true}, …],
     "front": [ids, the quickest first],
     "recommended": [{"budget_ms": …, "id": …, "ap": …, "ap_se": …, "latency_ms": …, "why": …}, …]}

``ap`` is that of the weights in ``RUN/finalists/ID/best.safetensors``; null, like all measures, where there are none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.run.folder import RunFolder, is_measure
from search_spaces import InputError, PoseArchitecture

from .climb import Climb
from .ladder import Gap, Score, gap
from .recommending import amount, front_of, recommendations
from .trainer import read_rung, score_of

__all__ = [
    "FORMAT",
    "Finalist",
    "front_architectures",
    "outcome",
    "read_finalists",
    "read_trained",
]

FORMAT = "vipnas-finalists/1"
_ENTRY = {"status", "reason", "near", "inherited", "spread_ms", "rungs", "on_front"}


@dataclass(frozen=True, eq=False)
class Finalist:
    """A trained network, as far as choosing among them goes."""

    id: str
    latency_ms: float
    score: Score

    @property
    def quality(self) -> float:
        """AP."""
        return self.score.ap

    @property
    def error(self) -> float:
        """The standard error of AP."""
        return self.score.ap_error

    def ahead_of(self, other: Finalist) -> Gap:
        """On the same people, resample by resample."""
        return gap(self.score, other.score)


def outcome(climb: Climb, plan: Mapping[str, Any], budgets_ms: Sequence[float]) -> dict[str, Any]:
    """The content of ``finalists.json``.

    Args:
        plan: the networks with their latencies, as ``finalists/plan.json`` has them.
        budgets_ms: latencies to name a network for; empty: the quartiles of the front's.
    """
    best: dict[str, Finalist] = {}
    entries, people = [], 0
    for number, network in enumerate(plan["networks"]):
        rungs, scores = climb.rungs[number], climb.ladder.scores(number)
        entry = {**network, "status": climb.ladder.decide(number), "reason": None, "stopped_by": None}
        if entry["status"] == "failed":
            entry["reason"] = climb.reasons.get(number)
        elif entry["status"] == "stopped":
            winner = climb.ladder.stoppers(number)[0]
            entry["stopped_by"] = plan["networks"][winner]["id"]
            entry["reason"] = _stop_reason(entry["stopped_by"], scores, climb.ladder.scores(winner))
        measures: dict[str, Any] = dict.fromkeys(("ap", "ap_se", "mean_oks", "mean_oks_se", "metrics"))
        if scores:
            kept = _best_rung(scores)
            score, people = scores[kept], rungs[kept]["people"]
            best[network["id"]] = Finalist(network["id"], network["latency_ms"], score)
            measures = {**_measures(score), "metrics": rungs[kept]["metrics"]}
        history = [{"step": rung["step"], **_measures(score)} for rung, score in zip(rungs, scores, strict=True)]
        entries.append({**entry, **measures, "rungs": history})
    front = front_of(list(best.values()))
    ids = [one.id for one in front]
    return {
        "format": FORMAT,
        **{name: plan[name] for name in ("fingerprint", "batch", "noise", "resamples")},
        "people": people,
        "finalists": [{**entry, "on_front": entry["id"] in ids} for entry in entries],
        "front": ids,
        "recommended": recommendations(front, budgets_ms, plan["noise"], Finalist.ahead_of),
    }


def _best_rung(scores: Sequence[Score]) -> int:
    """Whose weights are kept."""
    return max(range(len(scores)), key=lambda rung: (scores[rung].ap, -rung))


def read_trained(run: RunFolder, found: Mapping[str, Any]) -> list[Finalist]:
    """The trained networks of ``finalists.json`` with the resamples that lie in their folders.

    Args:
        found: as :func:`read_finalists` has it.

    Raises:
        InputError: a network's file with resamples is not there, damaged, or of another AP.
    """
    trained = []
    for entry in found["finalists"]:
        if entry["ap"] is None:
            continue
        folder = run.finalist(entry["id"])
        rungs = [read_rung(folder, rung) for rung in range(len(entry["rungs"]))]
        scores = [score_of(rung) for rung in rungs if rung is not None]
        score = scores[_best_rung(scores)] if scores else None
        if score is None or score.ap != entry["ap"]:
            raise InputError(f"{folder}: has not the resamples of the AP in {run.finalists_file}")
        trained.append(Finalist(entry["id"], entry["latency_ms"], score))
    return trained


def _measures(score: Score) -> dict[str, float]:
    return {
        "ap": score.ap,
        "ap_se": round(score.ap_error, 6),
        "mean_oks": score.mean_oks,
        "mean_oks_se": round(score.oks_error, 6),
    }


def _stop_reason(winner: str, own: Sequence[Score], theirs: Sequence[Score]) -> str:
    rung = len(own) - 1
    return f"{winner} is no slower, and {amount(gap(theirs[rung], own[rung]))} ahead at rung {rung + 1}"


def read_finalists(run: RunFolder) -> dict[str, Any]:
    """The content of a run's ``finalists.json``.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path: Path = run.finalists_file
    if not path.is_file():
        raise InputError(f"{path}: no such file; run `vipnas finalists` first")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        _check(value)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise InputError(f"{path}: damaged ({reason}); `vipnas finalists --resume` writes it again") from None
    return dict(value)


def front_architectures(run: RunFolder) -> list[PoseArchitecture]:
    """The networks of the finalists' front, the quickest first.

    Raises:
        InputError: as :func:`read_finalists`.
    """
    found = read_finalists(run)
    known = {entry["id"]: entry["architecture"] for entry in found["finalists"]}
    return [PoseArchitecture.from_json(known[identity]) for identity in found["front"]]


def _check(value: Any) -> None:
    """Raises ValueError, KeyError, TypeError or AttributeError if this is not what the stage writes."""
    if value["format"] != FORMAT:
        raise ValueError(f"format is {value['format']!r}")
    known = set()
    for entry in value["finalists"]:
        if PoseArchitecture.from_json(entry["architecture"]).id != entry["id"]:
            raise ValueError(f"{entry['id']} is not the id of its architecture")
        numbers = [entry[name] for name in ("ap", "ap_se", "mean_oks", "mean_oks_se")]
        if not is_measure(entry["latency_ms"]) or not all(one is None or is_measure(one) for one in numbers):
            raise ValueError(f"{entry['id']} has measures that are not numbers")
        if not entry.keys() >= _ENTRY or not all(rung.keys() >= {"step", "ap"} for rung in entry["rungs"]):
            raise ValueError(f"{entry['id']} lacks {', '.join(sorted(_ENTRY - entry.keys())) or 'steps of its rungs'}")
        known.add(entry["id"])
    named = {one["id"] for one in value["recommended"] if (one["budget_ms"], one["why"])}
    if not set(value["front"]) | named - {None} <= known:
        raise ValueError("the front has networks that are no finalists")
