"""A truth folder: networks of one space, each trained from scratch to the end (docs/truth/README.md).

``space.yaml`` is the space, ``recipe.yaml`` what every network is trained with; ``networks.jsonl`` says which networks,
``trainings.jsonl`` what came of each training, ``latencies.jsonl`` how long they take.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from search_spaces import InputError, PoseArchitecture, SearchSpace, get_space

from .networks import RankedNetwork

__all__ = ["CurvePoint", "Training", "Truth", "TruthNetwork", "gene_choices", "load_truth"]


@dataclass(frozen=True)
class CurvePoint:
    """A validation within a training."""

    step: int
    ap: float
    mean_oks: float


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training from scratch. AP and mean OKS run from 0 to 1."""

    seed: int
    ap: float
    mean_oks: float
    steps: int
    curve: tuple[CurvePoint, ...]
    """The last point is the training's end."""
    cpu_s: float
    people: int
    """Validation people that it was evaluated on."""


@dataclass(frozen=True, kw_only=True)
class TruthNetwork:
    """A planned network, and what is known of it."""

    architecture: PoseArchitecture
    population: str
    """``random``: uniform draws; ``front``: along the front of a search; ``beside``: one gene beside a front member."""
    seeds: int
    """Planned trainings, with the seeds from 0."""
    macs: int
    parameters: int
    trainings: tuple[Training, ...] = ()
    """In the order of their seeds."""
    latency_ms: Mapping[str, float]
    """By runtime."""

    @property
    def id(self) -> str:
        return self.architecture.id


@dataclass(frozen=True)
class Truth:
    """What a truth folder holds."""

    folder: Path
    space: SearchSpace
    networks: tuple[TruthNetwork, ...]

    def trained(self, runtime: str | None = None) -> list[RankedNetwork]:
        """The networks that were trained, without inherited values.

        Args:
            runtime: whose latencies; None is the first that is known of all of these networks, if there is one.
        """
        found = [one for one in self.networks if one.trainings]
        common = [name for name in found[0].latency_ms if all(name in n.latency_ms for n in found)] if found else []
        runtime = runtime or next(iter(common), None)
        return [_ranked(one, self.space, None if runtime is None else one.latency_ms.get(runtime)) for one in found]


def _ranked(network: TruthNetwork, space: SearchSpace, latency_ms: float | None) -> RankedNetwork:
    first = network.trainings[0]
    return RankedNetwork(
        id=network.id,
        true_ap=tuple(one.ap for one in network.trainings),
        inherited={},
        latency_ms=latency_ms,
        macs=float(network.macs),
        parameters=float(network.parameters),
        population=network.population,
        genes=gene_choices(network.architecture, space),
        short={str(point.step): point.ap for point in first.curve[:-1]},
    )


def gene_choices(architecture: PoseArchitecture, space: SearchSpace) -> dict[str, str]:
    """Gene → choice, of the genes that have several; empty where the network is not of the space."""
    if not space.contains(architecture):
        return {}
    pairs = zip(space.genes, space.encode(architecture), strict=True)
    return {gene.name: gene.words[index] for gene, index in pairs if len(gene.values) > 1}


def load_truth(folder: Path | str) -> Truth:
    """Read and check a truth folder.

    A last line that is not whole, of a training that is just being noted, is left out.

    Raises:
        InputError: a file is missing or damaged, or the files contradict each other: a network is not of the space or
            has not its architecture's id, a training is of none that is planned or is there twice, a curve does not
            end at the training's figures.
    """
    folder = Path(folder)
    for name in ("space.yaml", "networks.jsonl", "trainings.jsonl"):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; a truth folder has one (docs/truth/README.md)")
    space = get_space(str(folder / "space.yaml"))
    planned = _networks(folder / "networks.jsonl", space)
    trainings: dict[tuple[str, int], Training] = {}
    for where, line in _lines(folder / "trainings.jsonl"):
        key, training = _training(where, line)
        if key not in planned:
            raise InputError(f"{where}: network {key} is not in networks.jsonl")
        if (key, training.seed) in trainings:
            raise InputError(f"{where}: network {key} is there twice with seed {training.seed}")
        trainings[key, training.seed] = training
    latencies: dict[str, dict[str, float]] = {key: {} for key in planned}
    for where, line in _lines(folder / "latencies.jsonl"):
        key = _word(line, "id", where)
        if key not in planned:
            raise InputError(f"{where}: network {key} is not in networks.jsonl")
        latencies[key][_word(line, "runtime", where)] = _number(line, "latency_ms", where)  # measured again: the last
    networks = []
    for key, (architecture, line, where) in planned.items():
        networks.append(
            TruthNetwork(
                architecture=architecture,
                population=_word(line, "population", where),
                seeds=int(_number(line, "seeds", where)),
                macs=int(_number(line, "macs", where)),
                parameters=int(_number(line, "parameters", where)),
                trainings=tuple(trainings[k] for k in sorted(trainings) if k[0] == key),
                latency_ms=latencies[key],
            )
        )
    return Truth(folder, space, tuple(networks))


def _networks(path: Path, space: SearchSpace) -> dict[str, tuple[PoseArchitecture, dict[str, Any], str]]:
    """Id → architecture, line, and where it stands."""
    found: dict[str, tuple[PoseArchitecture, dict[str, Any], str]] = {}
    for where, line in _lines(path):
        key = _word(line, "id", where)
        try:
            architecture = PoseArchitecture.from_json(line.get("architecture"))
            space.encode(architecture)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if architecture.id != key:
            raise InputError(f"{where}: {key} is not the id of its architecture, which is {architecture.id}")
        if key in found:
            raise InputError(f"{where}: network {key} is there twice")
        found[key] = (architecture, line, where)
    return found


def _training(where: str, line: dict[str, Any]) -> tuple[str, Training]:
    curve = line.get("curve")
    if not isinstance(curve, list) or not curve or not all(isinstance(point, dict) for point in curve):
        raise InputError(f"{where}: curve is not a list of validations")
    points = tuple(
        CurvePoint(int(_number(one, "step", where)), _number(one, "AP", where), _number(one, "mean_oks", where))
        for one in curve
    )
    training = Training(
        seed=int(_number(line, "seed", where)),
        ap=_number(line, "ap", where),
        mean_oks=_number(line, "mean_oks", where),
        steps=int(_number(line, "steps", where)),
        curve=points,
        cpu_s=_number(line, "cpu_s", where),
        people=int(_number(line, "people", where)),
    )
    if points[-1] != CurvePoint(training.steps, training.ap, training.mean_oks):
        raise InputError(f"{where}: the curve does not end at the training's steps, AP and mean OKS")
    if any(a.step >= b.step for a, b in pairwise(points)):
        raise InputError(f"{where}: the curve's steps do not rise")
    return _word(line, "id", where), training


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(Where it stands, the object) of each whole line; nothing where there is no file."""
    if not path.is_file():
        return
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True), 1):
        if not text.endswith("\n"):
            return
        where = f"{path}, line {number}"
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise InputError(f"{where}: is no JSON") from None
        if not isinstance(value, dict):
            raise InputError(f"{where}: is no JSON object")
        yield where, value


def _number(line: Mapping[str, Any], name: str, where: str) -> float:
    value: Any = line.get(name)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise InputError(f"{where}: {name} is {value!r}, not a number")
    return float(value)


def _word(line: Mapping[str, Any], name: str, where: str) -> str:
    value = line.get(name)
    if not isinstance(value, str):
        raise InputError(f"{where}: {name} is {value!r}, not a word")
    return value
