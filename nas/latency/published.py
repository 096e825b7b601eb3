"""The latency of published networks on the machine on which a run's front is measured: what one could take unsearched.

They are measured once a run, and kept in ``published.json`` of its folder::

    {"format": "vipnas-published/1", "fingerprint": {…}, "batch": 1,
     "networks": [{"name": …, "architecture": {…}, "as_published": false, "latency_ms": …, "spread_ms": …}, …]}
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluators import MeasureInputError
from evaluators.latency.fingerprint import Fingerprint
from nas.run.files import atomic_write_json
from nas.run.folder import RunFolder, is_measure
from search_spaces import InputError, PoseArchitecture, SearchSpace, published, published_names

__all__ = ["PublishedLatencies", "PublishedLatency", "measure_published", "published_beside", "read_published"]

FORMAT = "vipnas-published/1"
Measure = Callable[[Sequence[PoseArchitecture]], Sequence[Mapping[str, Any]]]
"""Networks in; ``latency_ms`` and ``spread_ms`` of each out."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PublishedLatency:
    """One published network, at one input size."""

    name: str
    architecture: PoseArchitecture
    is_as_published: bool
    """Whether it has its own input size and keypoints, not the run's."""
    latency_ms: float
    spread_ms: float
    """Half the distance of the quartiles."""

    @property
    def title(self) -> str:
        """The name, and the size of the input."""
        height, width = self.architecture.input_size
        return f"{self.name} {height}×{width}"


@dataclass(frozen=True, kw_only=True)
class PublishedLatencies:
    """What was measured for a run."""

    fingerprint: Fingerprint
    batch: int
    networks: tuple[PublishedLatency, ...]


def published_beside(space: SearchSpace) -> list[tuple[str, PoseArchitecture]]:
    """(name, network) of the published networks of a space's family.

    Each at the space's input sizes and with its keypoints, if it can be made so, and as it was published.
    """
    found = []
    for name in published_names():
        network = published(name)
        if network.family != space.family:
            continue
        for size in reversed(space.sizes):
            try:
                head = replace(network.head, keypoints=space.keypoints)
                found.append((name, network.replace(input_size=size, head=head)))
            except InputError as error:
                _log.warning("%s is not measured at the run's input size: %s", name, error)
        found.append((name, network))
    return list(dict.fromkeys(found))


def measure_published(
    run: RunFolder, space: SearchSpace, fingerprint: Fingerprint, batch: int, measure: Measure
) -> None:
    """Measure the published networks of the space's family, if the run has not got them from such a machine already.

    That they could not be measured is said, and keeps nothing else from being done.

    Args:
        fingerprint: what ``measure`` measures on.
        batch: images a run.
    """
    wanted = published_beside(space)
    if not wanted or _has(run, fingerprint, batch, wanted):
        return
    try:
        values = measure([network for _, network in wanted])
    except (InputError, MeasureInputError, RuntimeError) as error:
        _log.warning("the published networks were not measured: %s", " ".join(str(error).split())[:200])
        return
    networks = [
        {
            "name": name,
            "architecture": network.to_json(),
            "as_published": network == published(name),
            "latency_ms": one["latency_ms"],
            "spread_ms": one["spread_ms"],
        }
        for (name, network), one in zip(wanted, values, strict=True)
    ]
    content = {"format": FORMAT, "fingerprint": fingerprint.to_json(), "batch": batch, "networks": networks}
    atomic_write_json(run.published, content)


def _has(run: RunFolder, fingerprint: Fingerprint, batch: int, wanted: Sequence[tuple[str, PoseArchitecture]]) -> bool:
    try:
        found = read_published(run)
    except InputError as error:
        _log.warning("%s", error)
        return False
    if found is None or (found.fingerprint, found.batch) != (fingerprint, batch):
        return False
    return [(one.name, one.architecture) for one in found.networks] == list(wanted)


def read_published(run: RunFolder) -> PublishedLatencies | None:
    """What ``published.json`` of a run says; None where there is none.

    Raises:
        InputError: it is damaged.
    """
    path: Path = run.published
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            raise ValueError(f"format is {value['format']!r}")
        networks = tuple(_network(one) for one in value["networks"])
        fingerprint, batch = Fingerprint.from_json(value["fingerprint"]), value["batch"]
        str(fingerprint)  # a TypeError where its fields are of other types
        if type(batch) is not int:
            raise ValueError(f"batch is {batch!r}")
        return PublishedLatencies(fingerprint=fingerprint, batch=batch, networks=networks)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise InputError(f"{path}: damaged ({reason}); remove it, `vipnas search --resume` measures again") from None


def _network(value: Mapping[str, Any]) -> PublishedLatency:
    numbers = value["latency_ms"], value["spread_ms"]
    if not all(is_measure(one) and not isinstance(one, list) for one in numbers):
        raise ValueError(f"{value['name']} has {numbers}, not milliseconds")
    return PublishedLatency(
        name=str(value["name"]),
        architecture=PoseArchitecture.from_json(value["architecture"]),
        is_as_published=bool(value["as_published"]),
        latency_ms=float(numbers[0]),
        spread_ms=float(numbers[1]),
    )
