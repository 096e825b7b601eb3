"""The latency of each part of one network: where its milliseconds go."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import Tensor

from search_spaces import PoseArchitecture
from supernet import PoseNet
from supernet.networks import run_part

from .config import LatencyConfig
from .device import Subject
from .meter import LatencyMeter, network_of

__all__ = ["part_latencies"]

PATIENCE_S = 15.0
"""Somebody waits for the answer: after so long a busy machine gets no more rounds than an idle one."""


def part_latencies(architecture: PoseArchitecture, config: LatencyConfig | None = None) -> list[float]:
    """Milliseconds of the stem, of each stage and of the head, each measured alone on features of its own shape, and
    of the whole network as the last.

    The parts' sum is near the whole, but not equal: caches, and what a runtime fuses across parts.

    Raises:
        MeasureInputError: the runtime is not installed; the command failed.
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
        subjects = []
        for index, part in enumerate(net.parts):
            with torch.no_grad():
                outputs = run_part(part, maps)
            subjects.append(Subject(part, maps, f"part {index + 1}"))
            maps = outputs
        subjects.append(Subject(whole, (images,), "the network"))
        # each has rounds of its own: what is sure is measured no more
        readings = meter.times(subjects, dataclasses.replace(meter.protocol, patience_s=PATIENCE_S))
        return [reading.latency_ms for reading in readings]
