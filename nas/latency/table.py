"""A table of a space's blocks: each measured once, a network predicted by their sum and one affine fit.

A block that is measured alone finds its weights in the processor's cache, run after run; in a network larger than the
cache they come from memory each time. So some whole networks also tell what a million weights take, and each block gets
its part of that. (Tried: without it, τ is lower and the slope 1.2, because large blocks seem too quick.)
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from evaluators.errors import MeasureInputError
from evaluators.latency.fingerprint import Fingerprint
from evaluators.latency.protocol import Protocol
from nas.run.files import atomic_write_json
from search_spaces import PoseArchitecture, SearchSpace
from search_spaces.complexity import count
from search_spaces.fields import canonical_json

from .blocks import Block, blocks_of, build_block, measured_terms, space_blocks, weights_of
from .config import LatencyConfig
from .meter import LatencyMeter, Progress

__all__ = ["Fit", "LatencyTable", "block_name", "build_table", "fit_sums", "measure_alone", "measure_call"]

FORMAT = "vipnas-latency-table/2"
BLOCK_PROTOCOL = Protocol(rounds=11, max_rounds=33, error=0.02, min_sample_ms=2.0)
"""Less sure than for a network: the errors of its blocks average out."""
LEAST_MS = 1e-3
"""A block takes some time, whatever the deltas of noisy measurements say."""


class Fit(NamedTuple):
    """latency = slope × the sum of the blocks + constant_ms."""

    slope: float
    constant_ms: float


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """Predicts latencies of a space's networks for one machine, runtime and setting."""

    fingerprint: Fingerprint
    batch: int
    reference_ms: float
    space: str
    fit: Fit
    blocks: Mapping[str, float]
    """Milliseconds of every block of the space in a network, by :func:`block_name`."""
    measured: int
    """How many of the blocks were measured; the others are sums and differences of those."""
    _seen: dict[Block, float] = field(default_factory=dict, compare=False, repr=False)

    def predict(self, architecture: PoseArchitecture) -> float:
        """The latency in ms, by dictionary look-ups.

        Raises:
            MeasureInputError: the network has a block that the table lacks.
        """
        return self.fit.slope * self.sum_of_blocks(architecture) + self.fit.constant_ms

    def sum_of_blocks(self, architecture: PoseArchitecture) -> float:
        """Milliseconds of all blocks."""
        total = 0.0
        for block, repeats in blocks_of(architecture):
            block_ms = self._seen.get(block)
            if block_ms is None:
                block_ms = self._seen[block] = self._look_up(block_name(block))
            total += repeats * block_ms
        return total

    def _look_up(self, name: str) -> float:
        if name not in self.blocks:
            raise MeasureInputError(f"latency table of {self.space}: no block {name}; build a table of its space")
        return self.blocks[name]

    def save(self, path: Path) -> None:
        """Write the table as JSON."""
        value = {
            "format": FORMAT,
            "space": self.space,
            "fingerprint": self.fingerprint.to_json(),
            "batch": self.batch,
            "reference_ms": self.reference_ms,
            "fit": self.fit._asdict(),
            "measured": self.measured,
            "blocks": {name: round(block_ms, 6) for name, block_ms in self.blocks.items()},
        }
        atomic_write_json(path, value)

    @classmethod
    def load(cls, path: Path, fingerprint: Fingerprint | None = None) -> LatencyTable:
        """The table in a file.

        Args:
            path: what :meth:`save` wrote.
            fingerprint: what it must have been measured on; None takes any.

        Raises:
            MeasureInputError: no such file, not a table, or of another fingerprint.
        """
        try:
            value: Any = json.loads(path.read_text(encoding="utf-8"))
            if value.get("format") != FORMAT:
                raise MeasureInputError(f"{path}: not a latency table of this version; build it again")
            table = cls(
                fingerprint=Fingerprint.from_json(value["fingerprint"], str(path)),
                batch=int(value["batch"]),
                reference_ms=float(value["reference_ms"]),
                space=str(value["space"]),
                fit=Fit(**value["fit"]),
                measured=int(value["measured"]),
                blocks={str(name): float(block_ms) for name, block_ms in value["blocks"].items()},
            )
        except FileNotFoundError:
            raise MeasureInputError(f"{path}: no such file; vipnas latency build-table makes one") from None
        except MeasureInputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise MeasureInputError(f"{path}: damaged, or not a latency table; build it again") from None
        if fingerprint is not None and table.fingerprint != fingerprint:
            raise MeasureInputError(f"{path}: measured on {table.fingerprint}; here is {fingerprint}: build it again")
        return table


def block_name(block: Block) -> str:
    """The text of a block, with everything that its time depends on."""
    spec = {
        field.name: getattr(block.spec, field.name)
        for field in dataclasses.fields(block.spec)
        if not _came_later(field) or getattr(block.spec, field.name) != field.default
    }
    spec.pop("depth", None)
    kind = ("first", "further", "further module")[block.position]
    # One feature map is written as it was when there were no others: tables that were measured stay.
    before = [(one.channels, list(one.size)) for one in block.inputs]
    shown = [block.family, block.part, kind, *(before[0] if len(before) == 1 else (before,)), spec]
    return canonical_json([*shown, list(block.bins)] if block.bins else shown)


def _came_later(field: dataclasses.Field[Any]) -> bool:
    """Whether it came after tables had been measured: it is not named where it has its default, and they stay."""
    return bool(field.metadata.get("later")) and field.name != "normalization"


def build_table(
    space: SearchSpace,
    config: LatencyConfig | None = None,
    path: Path | None = None,
    *,
    networks: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> LatencyTable:
    """Measure the blocks of a space once, and fit their sums to some random networks of it.

    Args:
        space: whose networks are to be predicted.
        config: runtime, threads, batch, precision.
        path: where to write the table; None keeps it in memory.
        networks: how many whole networks are measured for the fit.
        seed: draws them.
        progress: called with the number of steps done and the total.
    """
    meter = LatencyMeter(config)
    carriers = space_blocks(space)
    terms = measured_terms(carriers)
    needed = list(dict.fromkeys(term for counts in terms.values() for term in counts))

    def step(done: int) -> None:
        if progress:
            progress(done, len(needed) + networks)

    measured = _measure_blocks(meter, {block: carriers[block] for block in needed}, step)
    sums = {block: sum(times * measured[term] for term, times in counts.items()) for block, counts in terms.items()}
    rng = np.random.default_rng(seed)
    whole = [space.sample(rng) for _ in range(networks)]
    latencies = [one.latency_ms for one in meter.measure(whole, lambda done, _: step(len(needed) + done))]
    totals = [sum(n * max(LEAST_MS, sums[block]) for block, n in blocks_of(one)) for one in whole]
    fit, weights_ms = fit_sums(totals, [count(one).parameters / 1e6 for one in whole], latencies)
    table = LatencyTable(
        fingerprint=meter.fingerprint,
        batch=meter.config.batch,
        reference_ms=meter.reference_ms,
        space=space.name,
        fit=fit,
        measured=len(needed),
        blocks={
            block_name(block): max(LEAST_MS, block_ms) + weights_ms * weights_of(block, carriers[block]) / 1e6
            for block, block_ms in sums.items()
        },
    )
    if path is not None:
        table.save(path)
    return table


def _measure_blocks(
    meter: LatencyMeter, carriers: Mapping[Block, PoseArchitecture], step: Callable[[int], None]
) -> dict[Block, float]:
    """Milliseconds of each block, less what a call of the runtime costs by itself: a network pays that once."""
    generator = torch.Generator().manual_seed(0)
    call_ms = measure_call(meter)
    measured = {}
    for block, architecture in carriers.items():
        module, inputs = build_block(block, architecture, meter.config.batch, generator)
        measured[block] = measure_alone(meter, module, inputs, block_name(block)) - call_ms
        step(len(measured))
    return measured


def measure_alone(meter: LatencyMeter, module: nn.Module, inputs: tuple[Tensor, ...], what: str) -> float:
    """Milliseconds of a block by itself, a call of the runtime included."""
    deployment = meter.deploy(module, inputs, what)
    return float(np.median(meter.ratios([deployment], BLOCK_PROTOCOL)[0])) * meter.reference_ms


def measure_call(meter: LatencyMeter) -> float:
    """Milliseconds of a call in which nothing is computed."""
    return measure_alone(meter, nn.ReLU(), (torch.ones(1, 1, 1, 1),), "an empty call")


def fit_sums(
    sums: Sequence[float] | np.ndarray, weights: Sequence[float] | np.ndarray, latencies: Sequence[float] | np.ndarray
) -> tuple[Fit, float]:
    """Least squares of the relative error of ``slope × (sum + weights_ms × weights) + constant``.

    Few or similar networks do not decide all three: they are drawn towards (1, 0, 0).

    Args:
        sums: of a network's blocks as measured alone, in ms, (networks,).
        weights: of the networks, in millions, (networks,).
        latencies: of the networks, measured, in ms, (networks,).

    Returns:
        The fit, and milliseconds a million weights; these are never below 0.
    """
    sums, weights, latencies = (np.asarray(one, dtype=float) for one in (sums, weights, latencies))
    if not len(sums):
        return Fit(1.0, 0.0), 0.0
    scale = float(latencies.mean())
    columns = np.column_stack([sums, np.full(len(sums), scale), weights])
    for free in (3, 2):
        design = columns[:, :free] / latencies[:, None] / RELATIVE_ERROR
        width = np.array(PRIOR_WIDTHS[:free])
        design = np.vstack([design, np.diag(1 / width)])
        target = np.concatenate([np.full(len(sums), 1 / RELATIVE_ERROR), np.eye(free)[0] / width])
        slope, constant, *others = np.linalg.lstsq(design, target, rcond=None)[0].tolist()
        if others and others[0] >= 0:
            return Fit(slope, constant * scale), others[0] / slope
    return Fit(slope, constant * scale), 0.0


RELATIVE_ERROR = 0.03
"""What is expected of a network's prediction."""
PRIOR_WIDTHS = (0.15, 0.05, 0.3)
"""How far the fit is expected from (1, 0, 0); the constant in mean latencies, the weights in ms a million."""
