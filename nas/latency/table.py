"""A table of a space's pieces: each measured once, a network predicted by their sum.

Measured alone, a piece costs another share than inside a network (caches, fusion with its neighbours). So a fit on some
whole networks weighs the sum of the modules and the sum of the operations between them, and adds a constant.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from evaluators.errors import MeasureInputError
from evaluators.latency.fingerprint import Fingerprint
from evaluators.latency.protocol import Protocol
from nas.files import atomic_write_json
from search_spaces import PoseArchitecture, SearchSpace
from search_spaces.serialization import canonical_json

from .config import LatencyConfig
from .meter import LatencyMeter, Progress
from .pieces import Piece, block_pieces, part_keys, space_blocks

__all__ = ["BlockCost", "Fit", "LatencyTable", "build_table"]

FORMAT = "vipnas-latency-table/1"
PIECE_PROTOCOL = Protocol(rounds=9, max_rounds=9, min_sample_ms=2.0)
"""Few samples: the errors of a network's some fifty pieces average out."""


class BlockCost(NamedTuple):
    """Milliseconds of a part's first block and of each further one: its modules, and the operations between them."""

    first_modules: float
    first_operations: float
    further_modules: float
    further_operations: float


class Fit(NamedTuple):
    """latency = modules × sum of modules + operations × sum of operations + constant_ms."""

    modules: float
    operations: float
    constant_ms: float


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """Predicts latencies of a space's networks for one machine, runtime and setting."""

    fingerprint: Fingerprint
    batch: int
    reference_ms: float
    space: str
    fit: Fit
    pieces: Mapping[str, float]
    """Milliseconds of each piece, alone."""
    blocks: Mapping[str, BlockCost]
    """Sums of pieces, by :func:`block_name`."""
    _seen: dict[Hashable, BlockCost] = field(default_factory=dict, compare=False, repr=False)

    def predict(self, architecture: PoseArchitecture) -> float:
        """The latency in ms, by dictionary look-ups.

        Raises:
            MeasureInputError: the network has a block that the table lacks.
        """
        modules, operations = self.sums(architecture)
        return self.fit.modules * modules + self.fit.operations * operations + self.fit.constant_ms

    def sums(self, architecture: PoseArchitecture) -> tuple[float, float]:
        """Milliseconds of all modules and of all operations between them, as measured alone."""
        modules = operations = 0.0
        for key, further in part_keys(architecture):
            cost = self._seen.get(key)
            if cost is None:
                cost = self._seen[key] = self._look_up(key)
            modules += cost.first_modules + further * cost.further_modules
            operations += cost.first_operations + further * cost.further_operations
        return modules, operations

    def _look_up(self, key: Hashable) -> BlockCost:
        name = block_name(key)
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
            "pieces": {key: round(ms, 6) for key, ms in self.pieces.items()},
            "blocks": {key: [round(ms, 6) for ms in cost] for key, cost in self.blocks.items()},
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
                pieces=value["pieces"],
                blocks={key: BlockCost(*cost) for key, cost in value["blocks"].items()},
            )
        except FileNotFoundError:
            raise MeasureInputError(f"{path}: no such file; vipnas latency build-table makes one") from None
        except MeasureInputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise MeasureInputError(f"{path}: damaged, or not a latency table; build it again") from None
        if fingerprint is not None and table.fingerprint != fingerprint:
            raise MeasureInputError(f"{path}: measured on {table.fingerprint}; here is {fingerprint}: build it again")
        return table


def block_name(key: Hashable) -> str:
    """The text of a part's key (see ``part_keys``)."""
    return canonical_json(key)


def build_table(
    space: SearchSpace,
    config: LatencyConfig | None = None,
    path: Path | None = None,
    *,
    networks: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> LatencyTable:
    """Measure every different piece of a space once, and fit the sums to some random networks of it.

    Args:
        space: whose networks are to be predicted.
        config: runtime, threads, batch, precision.
        path: where to write the table; None keeps it in memory.
        networks: how many whole networks are measured for the fit.
        seed: draws them.
        progress: called with the number of steps done and the total.
    """
    meter = LatencyMeter(config)
    blocks = _collect(space, meter.config.batch)
    pieces = {piece.key: piece for parts in blocks.values() for part in parts for piece in part}
    measured = _measure_pieces(meter, list(pieces.values()), progress, extra=networks)
    costs = {name: _block_cost(parts, measured) for name, parts in blocks.items()}
    table = LatencyTable(
        fingerprint=meter.fingerprint,
        batch=meter.config.batch,
        reference_ms=meter.reference_ms,
        space=space.name,
        fit=Fit(1.0, 1.0, 0.0),
        pieces=measured,
        blocks=costs,
    )
    rng = np.random.default_rng(seed)
    table = fit_table(table, meter, [space.sample(rng) for _ in range(networks)])
    if progress:
        progress(len(pieces) + networks, len(pieces) + networks)
    if path is not None:
        table.save(path)
    return table


def fit_table(table: LatencyTable, meter: LatencyMeter, networks: Sequence[PoseArchitecture]) -> LatencyTable:
    """The same table with its fit made anew, from whole networks that are measured now."""
    latencies = np.array([measurement.latency_ms for measurement in meter.measure(networks)])
    fit = fit_sums(np.array([table.sums(architecture) for architecture in networks]), latencies)
    return LatencyTable(**{**{name: getattr(table, name) for name in _FIELDS}, "fit": fit})


def fit_sums(sums: np.ndarray, latencies: np.ndarray) -> Fit:
    """Least squares of the relative error, drawn towards the plain sum: the columns are nearly proportional.

    Args:
        sums: of modules and of operations in ms, (networks, 2).
        latencies: measured, in ms, (networks,).
    """
    scale = float(latencies.mean())
    design = np.column_stack([sums, np.full(len(sums), scale)]) / latencies[:, None] / RELATIVE_ERROR
    target = np.full(len(sums), 1 / RELATIVE_ERROR)
    plain, width = np.array([1.0, 1.0, 0.0]), np.array(PRIOR_WIDTHS)
    design = np.vstack([design, np.diag(1 / width)])
    target = np.concatenate([target, plain / width])
    modules, operations, constant = np.linalg.lstsq(design, target, rcond=None)[0]
    return Fit(float(modules), float(operations), float(constant * scale))


RELATIVE_ERROR = 0.03
"""What is expected of a network's prediction."""
PRIOR_WIDTHS = (0.3, 0.5, 0.2)
"""How far the fit is expected from (1, 1, 0): a module's weight, an operation's, the constant in mean latencies."""
_FIELDS = ("fingerprint", "batch", "reference_ms", "space", "pieces", "blocks")


def _collect(space: SearchSpace, batch: int) -> dict[str, list[list[Piece]]]:
    """The pieces of every block of the space; a piece that occurs twice is the same object."""
    known: dict[str, Piece] = {}
    blocks = {}
    for architecture, part in space_blocks(space):
        key = list(part_keys(architecture))[part][0]
        found = block_pieces(architecture, part, key[-1], batch)  # type: ignore[index]  # the size stands last
        blocks[block_name(key)] = [[known.setdefault(piece.key, piece) for piece in block] for block in found]
    return blocks


def _measure_pieces(
    meter: LatencyMeter, pieces: Sequence[Piece], progress: Progress | None, extra: int
) -> dict[str, float]:
    """Milliseconds of each piece, less what a call of the runtime costs by itself: a network pays that once."""
    generator = torch.Generator().manual_seed(0)

    def measure(module: nn.Module, inputs: tuple[Tensor, ...], what: str) -> float:
        deployment = meter.deploy(module, inputs, what)
        return float(np.median(meter.ratios([deployment], PIECE_PROTOCOL)[0])) * meter.reference_ms

    call_ms = measure(nn.ReLU(), (torch.ones(1, 1, 1, 1),), "an empty call") if pieces else 0.0
    measured = {}
    for index, piece in enumerate(pieces):
        measured[piece.key] = max(0.0, measure(*piece.materialize(generator), piece.key) - call_ms)
        if progress:
            progress(index + 1, len(pieces) + extra)
    return measured


def _block_cost(blocks: Sequence[Sequence[Piece]], measured: Mapping[str, float]) -> BlockCost:
    first, further = [*blocks, []][:2]
    return BlockCost(
        *(
            sum(measured[piece.key] for piece in block if piece.is_module is is_module)
            for block in (first, further)
            for is_module in (True, False)
        )
    )
