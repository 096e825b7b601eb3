"""Parameters and MACs of a built network, counted while it runs: the oracle of the formulas, for any module."""

from __future__ import annotations

import copy
import logging
import warnings
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["ModuleComplexity", "count_module", "fvcore_gmacs"]


class ModuleComplexity(NamedTuple):
    """``macs``: multiply-accumulates of one image in convolutions (deconvolutions: input positions) and matmuls."""

    parameters: int
    macs: int


def count_module(module: nn.Module, input_size: tuple[int, int], in_channels: int = 3) -> ModuleComplexity:
    """Count a module on one image of ``input_size`` (height, width), without computing anything.

    A copy on the meta device is run, in eval mode; the module itself is left as it is.
    """
    parameters = sum(parameter.numel() for parameter in module.parameters())
    on_meta = copy.deepcopy(module, _meta_copies(module)).eval()
    images = torch.empty(1, in_channels, *input_size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        on_meta(images)
    return ModuleComplexity(parameters, counter.get_total_flops() // 2)


def _meta_copies(module: nn.Module) -> dict[int, object]:
    """A memo for ``deepcopy`` in which every tensor is already copied, to the meta device: no memory is touched."""
    memo: dict[int, object] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = buffer.detach().to("meta")
    return memo


def fvcore_gmacs(module: nn.Module, input_size: tuple[int, int], in_channels: int = 3) -> float:
    """GMACs by fvcore, the figure that papers print. It counts BatchNorm too, and runs the network once."""
    from fvcore.nn import FlopCountAnalysis

    logger = logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    images = torch.zeros(1, in_channels, *input_size)
    training = module.training
    try:
        logger.setLevel(logging.ERROR)  # it lists every addition that it does not count
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(FlopCountAnalysis(module.eval(), images).total()) / 1e9
    finally:
        logger.setLevel(level)
        module.train(training)
