"""A small search problem with known answers, for the tests of the search: evaluations take microseconds."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.search.algorithms.objectives import Problem

PROBLEM = Problem.parse(["ap", "latency_ms"])


@dataclass(frozen=True)
class ToyArchitecture:
    """Per stage a depth, a width and a kernel; ``genes`` is canonical: the kernel of a stage of depth 0 is 0."""

    genes: tuple[int, ...]

    @property
    def id(self) -> str:
        return hashlib.sha256(json.dumps(self.genes).encode()).hexdigest()[:10]

    def to_json(self) -> dict[str, Any]:
        return {"genes": list(self.genes)}

    @classmethod
    def from_json(cls, value: Any) -> ToyArchitecture:
        return cls(tuple(value["genes"]))


class ToySpace:
    """``stages`` stages of three genes each; choices per gene (depth, width, kernel)."""

    def __init__(self, stages: int = 6, choices: tuple[int, int, int] = (4, 8, 3)) -> None:
        self.stages = stages
        self.choices = choices
        self.gene_sizes = choices * stages
        self.unordered_genes = ()

    @property
    def size(self) -> int:
        depths, widths, kernels = self.choices
        return int((widths * ((depths - 1) * kernels + 1)) ** self.stages)

    def decode(self, vector: Sequence[int]) -> ToyArchitecture:
        genes = [int(gene) for gene in vector]
        for start in range(0, len(genes), 3):
            genes[start + 2] *= genes[start] > 0
        return ToyArchitecture(tuple(genes))

    def encode(self, architecture: ToyArchitecture) -> tuple[int, ...]:
        return architecture.genes

    def sample(self, rng: np.random.Generator) -> ToyArchitecture:
        return self.decode(rng.integers(self.gene_sizes).tolist())

    def mutate(self, architecture: ToyArchitecture, rng: np.random.Generator, rate: Any = 0.1) -> ToyArchitecture:
        genes = np.array(architecture.genes)
        chosen = rng.random(len(genes)) < rate
        chosen[rng.integers(len(genes))] |= not chosen.any()
        sizes = np.array(self.gene_sizes)
        moved = (genes + 1 + rng.integers(np.maximum(sizes - 1, 1))) % sizes
        return self.decode(np.where(chosen, moved, genes).tolist())

    def crossover(self, first: ToyArchitecture, second: ToyArchitecture, rng: np.random.Generator) -> ToyArchitecture:
        mask = rng.integers(2, size=len(first.genes)) == 1
        return self.decode(np.where(mask, first.genes, second.genes).tolist())

    def contains(self, architecture: ToyArchitecture) -> bool:
        genes = architecture.genes
        inside = len(genes) == len(self.gene_sizes) and all(
            0 <= gene < size for gene, size in zip(genes, self.gene_sizes, strict=True)
        )
        return inside and self.decode(genes) == architecture

    def smallest(self) -> ToyArchitecture:
        return self.decode([0] * len(self.gene_sizes))

    def largest(self) -> ToyArchitecture:
        return self.decode([size - 1 for size in self.gene_sizes])

    def to_json(self) -> dict[str, Any]:
        return {"name": "toy", "stages": self.stages, "choices": list(self.choices)}


def toy_look(architecture: ToyArchitecture) -> dict[str, float]:
    """What a first look says: AP biased, and off by some 0.01, for each architecture always the same."""
    values = toy_values(architecture)
    noise = np.random.default_rng(int(architecture.id, 16)).normal(0.0, 0.01)
    return values | {"ap": values["ap"] + 0.05 + float(noise)}


def toy_values(architecture: ToyArchitecture) -> dict[str, float]:
    """AP saturates with capacity and suffers from narrow necks; latency adds up, later stages being cheaper.

    What a gene is worth differs by stage, so good networks are not simply the large ones.
    """
    genes = np.array(architecture.genes, dtype=float).reshape(-1, 3)
    depth, width, kernel = genes[:, 0], genes[:, 1] + 1, genes[:, 2]
    stage = np.arange(len(genes))
    worth = 1.0 + np.sin(1.7 * stage + 0.4)
    capacity = worth * np.log1p(width) * (1 + 0.5 * depth) * (1 + 0.2 * kernel * np.cos(stage))
    neck = np.abs(np.diff(np.log(width))).sum()
    ap = 0.8 * (1 - np.exp(-capacity.sum() / (4 * len(genes)))) * np.exp(-0.06 * neck)
    latency = (width * (1 + depth) * (1 + 0.6 * kernel) / (1 + 0.5 * stage)).sum() + 1.0
    return {"ap": float(ap), "latency_ms": float(latency), "macs": float(latency * 1e6)}


@dataclass(frozen=True)
class ToyFactory:
    """Makes an evaluator of :func:`toy_values`, with trouble for the architectures whose ids are named."""

    delay_s: float = 0.0
    raises: tuple[str, ...] = ()
    gives_nan: tuple[str, ...] = ()
    hangs: tuple[str, ...] = ()
    dies: tuple[str, ...] = ()
    dies_once: tuple[str, ...] = ()
    marks: Path | None = None
    """Folder in which ``dies_once`` remembers."""

    def __call__(self) -> Callable[[ToyArchitecture], dict[str, Any]]:
        return self.evaluate

    def evaluate(self, architecture: ToyArchitecture) -> dict[str, Any]:
        key = architecture.id
        time.sleep(3600 if key in self.hangs else self.delay_s)
        if key in self.raises:
            raise RuntimeError("no such luck")
        if key in self.dies or (key in self.dies_once and self._first_time(key)):
            os.kill(os.getpid(), signal.SIGKILL)
        values = toy_values(architecture)
        if key in self.gives_nan:
            values["ap"] = float("nan")
        return {"objectives": values, "persons": 3, "pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}

    def _first_time(self, key: str) -> bool:
        assert self.marks is not None
        mark = self.marks / key
        if mark.exists():
            return False
        mark.touch()
        return True


class LookingEvaluator:
    """Looks first (:func:`toy_look`), and evaluates in full when it is asked to."""

    def __init__(self, factory: ToyFactory) -> None:
        self.factory = factory

    def __call__(self, architecture: ToyArchitecture) -> dict[str, Any]:
        return {"objectives": toy_look(architecture), "status": "screened", "persons": 1}

    def complete(self, architecture: ToyArchitecture) -> dict[str, Any]:
        return self.factory.evaluate(architecture)


@dataclass(frozen=True)
class LookingFactory(ToyFactory):
    """As :class:`ToyFactory`, whose trouble begins where candidates are evaluated in full."""

    def __call__(self) -> LookingEvaluator:
        return LookingEvaluator(self)
