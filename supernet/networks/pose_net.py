"""The one definition of a pose network: an ordinary static module, made from an architecture."""

from __future__ import annotations

import importlib
from typing import Any, Literal

import torch
from torch import Tensor, nn

from search_spaces import PoseArchitecture
from search_spaces.families import family

from .blocks import ContextBlock
from .head import PoseHead

__all__ = ["PoseNet", "initialize"]


class PoseNet(nn.Module):
    """images ``(N, 3, H, W)``, normalised RGB → heatmaps ``(N, K, H/4, W/4)``.

    A sequence of parts: the stem, the stages (whose outputs are the features F1, F2, …) and the head. It can be
    entered and left between any two of them (:meth:`forward_parts`).
    """

    def __init__(self, architecture: PoseArchitecture) -> None:
        super().__init__()
        family(architecture.family)  # a clear error for an unknown family
        module: Any = importlib.import_module(f"{__package__}.{architecture.family}")
        self.architecture = architecture
        self.stem: nn.Module = module.build_stem(architecture)
        self.stages = nn.ModuleList(module.build_stage(architecture, i) for i in range(len(architecture.stages)))
        self.head = PoseHead(architecture.stages[-1].width, architecture.head)

    @property
    def parts(self) -> list[nn.Module]:
        """The stem, the stages, the head."""
        return [self.stem, *self.stages, self.head]

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_parts(images)

    def forward_parts(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Run the parts ``start`` … ``stop - 1``; part 0 is the stem, part s is stage s, the last is the head."""
        for part in self.parts[start:stop]:
            x = part(x)
        return x

    def extra_repr(self) -> str:
        return f"{self.architecture.family} {self.architecture.id}, for {self.architecture.input_size}"


@torch.no_grad()
def initialize(
    module: nn.Module, generator: torch.Generator, scheme: Literal["kaiming", "normal"] = "kaiming"
) -> None:
    """Draw all weights anew.

    ``normal`` is the released recipe: every convolution from N(0, 0.001²). ``kaiming`` (fan-out, He et al. 2015) also
    starts each attention as the identity; in short trainings it is ahead.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            if scheme == "normal":
                layer.weight.normal_(0.0, 0.001, generator=generator)
            else:
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
            layer.reset_parameters()
    if scheme == "kaiming":
        for layer in module.modules():
            if isinstance(layer, ContextBlock):
                layer.expand.weight.zero_()
            elif isinstance(layer, PoseHead):
                layer.final.weight.normal_(0.0, 0.001, generator=generator)
