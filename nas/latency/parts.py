"""The latency of each part of one network: where its milliseconds go."""

from __future__ import annotations

import numpy as np
import torch

from search_spaces import PoseArchitecture
from supernet import PoseNet

from .config import LatencyConfig
from .meter import LatencyMeter, network_of

__all__ = ["part_latencies"]


def part_latencies(architecture: PoseArchitecture, config: LatencyConfig | None = None) -> list[float]:
    """Milliseconds of the stem, of each stage and of the head, each measured alone on features of its own shape.

    Their sum is near the latency of the whole network, but not equal: caches, and what a runtime fuses across parts.

    Raises:
        MeasureInputError: the runtime is not installed.
        WrongOutputError: the runtime's output differs from torch's.
    """
    meter = LatencyMeter(config)
    net = network_of(architecture)
    assert isinstance(net, PoseNet)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(meter.config.batch, 3, *architecture.input_size, generator=generator)
    deployments = []
    for index, part in enumerate(net.parts):
        with torch.no_grad():
            output = part(features)
        deployments.append(meter.deploy(part, (features,), f"part {index + 1}"))
        features = output
    return [float(ms) for ms in np.median(meter.ratios(deployments), axis=1) * meter.reference_ms]
