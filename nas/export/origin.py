"""Whose weights a file holds, and how good they were found to be: what the header and the files beside it say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.data.build_once import content_key
from nas.run.placing import read_object

__all__ = ["INHERITED", "KEY_TRAINED_ON", "Origin", "inherited_line", "read_origin", "weights_key"]

INHERITED = "inherited, calibrated"
"""What the header of a file says of weights that a supernet lent."""
KEY, KEY_TRAINED_ON = "key frame", "key frame, trained on"
"""What the header says of a key frame's network: as a temporal supernet was trained after it, or a video network
trained it on."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Whose weights they are, and how good, as far as somebody has measured it."""

    kind: str
    """retrained, inherited, converted, key frame or unknown."""
    line: str
    """The first line of a card."""
    accuracy: tuple[str, ...]
    """Sentences for the card."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """``AP`` and others, from 0 to 1; empty where nobody has measured them."""

    @property
    def ap_by_position(self) -> list[float]:
        """Of a video network, the key frame first; empty where it is not known."""
        found: list[float] = []
        while f"AP_frame{len(found)}" in self.measures:
            found.append(self.measures[f"AP_frame{len(found)}"])
        return found


def weights_key(weights: Path) -> str:
    """Changes whenever the file does."""
    return content_key(weights.read_bytes())


def inherited_line(architecture_id: str, run: Path | None) -> str:
    """The first line of a card of weights that a supernet lent; ``run`` is the run's folder, where it is known."""
    how = f"{run}/config.yaml --architecture {run}:{architecture_id}" if run else "CONFIG --architecture FILE.json"
    return f"Weights inherited from the supernet: not meant to be shipped; retrain first: `vipnas retrain {how}`"


def read_origin(weights: Path, metadata: Mapping[str, str], architecture_id: str) -> Origin:
    """What is known of the weights in a file of ours.

    Args:
        metadata: the file's header.
    """
    kind, line = _whose(weights, metadata, architecture_id)
    accuracy, measures = _measured(weights, metadata, kind)
    return Origin(kind=kind, line=line, accuracy=accuracy, measures=measures)


def _whose(weights: Path, metadata: Mapping[str, str], architecture_id: str) -> tuple[str, str]:
    origin, source = metadata.get("origin", ""), metadata.get("source", "")
    if origin == INHERITED:
        run = weights.parents[2] if len(weights.parents) > 2 else None
        is_in_run = run is not None and (run / "config.yaml").is_file() and weights.parent.parent.name == "export"
        return "inherited", inherited_line(architecture_id, run if is_in_run else None)
    if origin == KEY_TRAINED_ON:
        return "retrained", "Retrained weights: a video network's training has trained its key frame's network on."
    if origin == KEY:
        return "key frame", "Weights of a key frame's network, as a temporal supernet was trained after it."
    if source:
        return "converted", f"Converted from the {source}."
    if "steps" in metadata and "ap" in metadata:
        return "retrained", f"Retrained weights, of step {metadata['steps']} of their training."
    return "unknown", "Weights of unknown origin: their file does not say who trained them, or on what."


def _measured(weights: Path, metadata: Mapping[str, str], kind: str) -> tuple[tuple[str, ...], dict[str, float]]:
    """From the training's own results, and those of ``vipnas evaluate``, of exactly these weights."""
    found: list[tuple[str, dict[str, float]]] = []
    ap, results = _number(metadata.get("ap")), read_object(weights.with_name("results.json"))
    if ap is not None:
        best = _numbers(results.get("best"))
        measures = best if best.get("AP") == ap else {"AP": ap}
        people = f" on {results['persons']} people" if measures is best and "persons" in results else ""
        found.append((f"{_words(measures)}, as validated in training{people}", measures))
    lent = read_object(weights.with_name("facts.json")).get("inherited")
    if kind == "inherited" and (measures := _numbers(lent) | _by_position(lent)):
        found.append((f"{_words(measures)} with **inherited** weights, no flip test", measures))
    for folder, where in (("evaluation", ""), ("evaluation_videos", " on every frame of videos")):
        results = read_object(weights.parent / folder / "results.json")
        measures = _numbers(results.get("metrics")) | _by_position(results)
        if results.get("weights_key") == weights_key(weights) and measures:
            boxes = "a detector's boxes" if results.get("detections") else "ground-truth boxes"
            flip = "with" if dict(results.get("settings") or {}).get("flip_test") else "no"
            found.append((f"{_words(measures)}{where} by `vipnas evaluate`, {boxes}, {flip} flip test", measures))
    if not found:
        return (f"AP: not measured; `vipnas evaluate CONFIG --weights {weights.name}` does, then export again",), {}
    return tuple(sentence for sentence, _ in found), found[0][1]


def _by_position(value: Any) -> dict[str, float]:
    """The AP of each frame of a video network, as training's results have it."""
    positions = value.get("by_position") if isinstance(value, dict) else None
    aps = [one.get("AP") if isinstance(one, dict) else one for one in positions or []]
    return _numbers({f"AP_frame{position}": ap for position, ap in enumerate(aps)})


def _words(measures: Mapping[str, float]) -> str:
    names = {"AP": "AP", "AP50": "AP50", "AR": "AR", "mean_oks": "mean OKS"}
    return ", ".join(f"{word} {measures[name]:.3f}" for name, word in names.items() if name in measures)


def _numbers(value: Any) -> dict[str, float]:
    items = value.items() if isinstance(value, dict) else ()
    return {name: float(one) for name, one in items if type(one) in (int, float) and math.isfinite(one)}


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
