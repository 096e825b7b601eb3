"""The latency of video networks: the table of the frames' space, and what it lacks, measured once.

A video network costs what its key frame's network costs (one network, measured whole) and, for each propagated frame,
its image network (by the table of the spatial space's blocks) and its fusion (a block of its own, of which there is one
for each feature, operation and width of that stage).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evaluators.errors import MeasureInputError
from evaluators.latency.fingerprint import Fingerprint
from nas.run.files import atomic_write_json
from search_spaces import FusionChoice, PoseArchitecture, PropagatedFrame, VideoArchitecture, VideoSearchSpace
from supernet import fold
from supernet.networks import Fusion

from .blocks import draw_weights
from .meter import LatencyMeter, Progress
from .table import LEAST_MS, LatencyTable, measure_alone, measure_call

__all__ = ["VideoLatencyTable", "build_video_table", "frame_latencies", "networks_of"]

FORMAT = "vipnas-video-latency-table/1"


@dataclass(frozen=True, kw_only=True)
class VideoLatencyTable:
    """What video networks of one space cost beside their frames' image networks, on one machine and setting."""

    fingerprint: Fingerprint
    batch: int
    space: str
    """The id of the video space."""
    key: str
    """The id of the key frame's network."""
    key_ms: float
    fusions: Mapping[str, float]
    """Milliseconds of each fusion by :func:`fusion_name`."""

    def predict(self, architecture: VideoArchitecture, table: LatencyTable) -> tuple[float, ...]:
        """Milliseconds of the key frame and of each propagated frame.

        Raises:
            MeasureInputError: a table lacks a part of the network.
        """
        if architecture.key.id != self.key:
            raise MeasureInputError(f"video latency table: of the key frame's network {self.key}; build it again")
        return (self.key_ms, *(self._frame(frame, table) for frame in architecture.frames))

    def _frame(self, frame: PropagatedFrame, table: LatencyTable) -> float:
        alone = table.predict(frame.architecture)
        if frame.fusion.is_none:
            return alone
        name = fusion_name(frame.architecture, frame.fusion)
        if name not in self.fusions:
            raise MeasureInputError(f"video latency table: no fusion {name}; build it again")
        return alone + table.fit.slope * self.fusions[name]

    def save(self, path: Path) -> None:
        """Write the table as JSON."""
        fields = {name: getattr(self, name) for name in ("batch", "space", "key", "key_ms")}
        content = {"format": FORMAT, "fingerprint": self.fingerprint.to_json(), **fields, "fusions": dict(self.fusions)}
        atomic_write_json(path, content)

    @classmethod
    def load(cls, path: Path) -> VideoLatencyTable:
        """The table in a file.

        Raises:
            MeasureInputError: no such file, damaged, or not a table of this version.
        """
        try:
            value: Any = json.loads(path.read_text(encoding="utf-8"))
            if value["format"] != FORMAT:
                raise MeasureInputError(f"{path}: not a video latency table of this version")
            return cls(
                fingerprint=Fingerprint.from_json(value["fingerprint"], str(path)),
                batch=int(value["batch"]),
                space=str(value["space"]),
                key=str(value["key"]),
                key_ms=float(value["key_ms"]),
                fusions={str(name): float(ms) for name, ms in value["fusions"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise MeasureInputError(f"{path}: damaged, or not a video latency table") from None


def fusion_name(architecture: PoseArchitecture, fusion: FusionChoice) -> str:
    """The text of a fusion, with everything that its time depends on within one space."""
    return f"{fusion.feature} {fusion.operation} {architecture.features[fusion.feature - 1].channels}"


def networks_of(architecture: PoseArchitecture | VideoArchitecture) -> tuple[PoseArchitecture | PropagatedFrame, ...]:
    """The networks of a video by position; an image network alone."""
    return (architecture.key, *architecture.frames) if isinstance(architecture, VideoArchitecture) else (architecture,)


def build_video_table(
    space: VideoSearchSpace, meter: LatencyMeter, path: Path | None = None, progress: Progress | None = None
) -> VideoLatencyTable:
    """Measure the key frame's network, and each fusion of the space at each width of its stage."""
    frames = _fusion_carriers(space)
    generator = torch.Generator().manual_seed(0)
    [key] = meter.measure([space.key])
    call_ms = measure_call(meter)
    fusions = {}
    for done, (name, frame) in enumerate(frames.items()):
        if progress:
            progress(done, len(frames))
        channels, size = frame.architecture.features[frame.fusion.feature - 1]
        feature = torch.randn(meter.config.batch, channels, *size, generator=generator)
        maps = torch.rand(meter.config.batch, space.keypoints, *space.heatmap_size, generator=generator)
        alone_ms = measure_alone(meter, _fusion(frame, generator), (feature, maps), f"fusion {name}")
        fusions[name] = max(LEAST_MS, alone_ms - call_ms)
    if progress:
        progress(len(frames), len(frames))
    table = VideoLatencyTable(
        fingerprint=meter.fingerprint,
        batch=meter.config.batch,
        space=space.id,
        key=space.key.id,
        key_ms=key.latency_ms,
        fusions=fusions,
    )
    if path is not None:
        table.save(path)
    return table


def _fusion_carriers(space: VideoSearchSpace) -> dict[str, PropagatedFrame]:
    """By name, a frame that has each different fusion."""
    spatial = space.spatial
    found: dict[str, PropagatedFrame] = {}
    at = {gene.name: index for index, gene in enumerate(spatial.genes)}
    for fusion in space.fusions[1:]:  # the first is none
        index = at[spatial.width_gene(fusion.feature)]
        for value in range(len(spatial.genes[index].values)):
            vector = list(spatial.encode(spatial.largest()))
            vector[index] = value
            architecture = spatial.decode(vector)
            frame = PropagatedFrame(architecture=architecture, fusion=fusion)
            found.setdefault(fusion_name(architecture, fusion), frame)
    return found


def _fusion(frame: PropagatedFrame, generator: torch.Generator) -> nn.Module:
    with torch.device("meta"):
        module = Fusion(frame.architecture, frame.fusion)
    module = module.to_empty(device="cpu")
    draw_weights(module, generator)
    return fold(module, in_place=True)


def frame_latencies(
    meter: LatencyMeter, architectures: Sequence[PoseArchitecture | VideoArchitecture]
) -> list[dict[str, Any]]:
    """Each architecture measured: a video's clip by its networks one by one, end to end, all rounds interleaved.

    Returns:
        For each ``latency_ms`` and ``spread_ms``, of a video of the whole clip, and then ``latency_by_position`` in ms.
    """
    distinct = list(dict.fromkeys(network for one in architectures for network in networks_of(one)))
    measured = dict(zip(distinct, meter.measure(distinct), strict=True))
    found = []
    for architecture in architectures:
        frames = [measured[network] for network in networks_of(architecture)]
        by_position = [frame.latency_ms for frame in frames]
        values: dict[str, Any] = {
            "latency_ms": sum(by_position),
            "spread_ms": math.hypot(*(frame.spread_ms for frame in frames)),
        }
        is_video = isinstance(architecture, VideoArchitecture)
        found.append({**values, "latency_by_position": by_position} if is_video else values)
    return found
