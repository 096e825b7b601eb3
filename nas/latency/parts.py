"""The latency of each part of one network: where its milliseconds go."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import torch
from torch import Tensor

from search_spaces import PoseArchitecture
from supernet import PoseNet
from supernet.networks import run_part

from .config import LatencyConfig
from .meter import LatencyMeter, network_of

__all__ = ["part_latencies"]

PATIENCE_S = 15.0
"""Somebody waits for the answer: after so long a busy machine gets no more rounds than an idle one."""


def part_latencies(architecture: PoseArchitecture, config: LatencyConfig | None = None) -> list[float]:
    """Milliseconds of the stem, of each stage and of the head, each measured alone on features of its own shape, and
    of the whole network as the last.

    The parts' sum is near the whole, but not equal: caches, and what a runtime fuses across parts.

    Raises:
        MeasureInputError: the runtime is not installed.
        WrongOutputError: the runtime's output differs from torch's.
    """
    meter = LatencyMeter(config)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(meter.config.batch, 3, *architecture.input_size, generator=generator)
    maps: tuple[Tensor, ...] = (images,)
    with meter.settled():
        net = network_of(architecture)
        assert isinstance(net, PoseNet)
        whole = copy.deepcopy(net)  # a module that is deployed is no longer what it was
        deployments = []
        for index, part in enumerate(net.parts):
            with torch.no_grad():
                outputs = run_part(part, maps)
            deployments.append(meter.deploy(part, maps, f"part {index + 1}"))
            maps = outputs
        deployments.append(meter.deploy(whole, (images,), "the network"))
        ratios = meter.ratios(deployments, dataclasses.replace(meter.protocol, patience_s=PATIENCE_S))
    # each has rounds of its own: what is sure is measured no more
    return [float(np.median(samples)) * meter.reference_ms for samples in ratios]
