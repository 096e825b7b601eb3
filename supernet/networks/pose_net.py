"""The one definition of a pose network: an ordinary static module, made from an architecture."""

from __future__ import annotations

import importlib
from typing import Any, Literal

import torch
from torch import Tensor, nn

from search_spaces import PoseArchitecture, Stage, Stem

from .blocks import ContextBlock
from .fusion import Fusion
from .head import MapsHead, PoseHead
from .simcc import GatedAttention, ScaleNorm, SimCC, SimCCHead

__all__ = ["PoseNet", "build_part", "further_block", "initialize", "part_name", "run_part"]


def build_part(architecture: PoseArchitecture, index: int) -> nn.Module:
    """One part, its weights not yet drawn: 0 is the stem, s is stage s, the last is the head."""
    module: Any = importlib.import_module(f"{__package__}.{architecture.family}")
    part = architecture.parts[index]
    if isinstance(part.spec, Stem):
        return module.build_stem(part.spec, part.inputs)
    if isinstance(part.spec, Stage):
        return module.build_stage(part.spec, part.inputs)
    if architecture.is_simcc:
        x, y = part.outputs
        return SimCCHead(part.inputs[0], part.spec, (x.size[1], y.size[0]))
    return PoseHead(part.inputs[0].channels, part.spec, part.outputs[0].size[0])


def part_name(architecture: PoseArchitecture, index: int) -> str:
    """The prefix of a part's parameters in a network's state dict."""
    if index == 0:
        return "stem."
    return f"stages.{index - 1}." if index <= len(architecture.stages) else "head."


def run_part(part: nn.Module, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a part makes of the maps that the part before gives: one map or several, as its family has it."""
    found = part(*maps)
    return found if isinstance(found, tuple) else (found,)


def further_block(stage: nn.Module, position: int = 1) -> nn.Module:
    """The block at ``position`` of the part's ``blocks``, in a stage with two of what repeats there.

    A stage that neither is a sequence of equal blocks nor holds one says by ``further`` where its further blocks are.
    """
    names = getattr(stage, "further", ("1" if isinstance(stage, nn.Sequential) else "blocks.1",))
    return stage.get_submodule(names[position - 1])


class PoseNet(nn.Module):
    """images ``(N, 3, H, W)``, normalised RGB → heatmaps ``(N, K, H/4, W/4)``, or :class:`SimCC`.

    A sequence of parts: the stem, the stages (whose outputs are the features F1, F2, …) and the head. It can be
    entered and left between any two of them (:meth:`forward_parts`).

    Args:
        architecture: what to build.
        generator: draws the weights; None takes torch's own. On the meta device nothing is drawn.
    """

    def __init__(self, architecture: PoseArchitecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        stages = len(architecture.stages)
        self.architecture = architecture
        self.stem = build_part(architecture, 0)
        self.stages = nn.ModuleList(build_part(architecture, index + 1) for index in range(stages))
        self.head = build_part(architecture, stages + 1)
        if not next(self.parameters()).is_meta:
            initialize(self, generator)

    @property
    def parts(self) -> list[nn.Module]:
        """The stem, the stages, the head."""
        return [self.stem, *self.stages, self.head]

    def forward(self, images: Tensor) -> Tensor | SimCC:
        found = self.forward_parts(images)
        return SimCC(*found) if self.architecture.is_simcc else found[0]

    def forward_parts(self, *maps: Tensor, start: int = 0, stop: int | None = None) -> tuple[Tensor, ...]:
        """Run the parts ``start`` … ``stop - 1``; part 0 is the stem, part s is stage s, the last is the head."""
        for part in self.parts[start:stop]:
            maps = run_part(part, maps)
        return maps

    def extra_repr(self) -> str:
        return f"{self.architecture.family} {self.architecture.id}, for {self.architecture.input_size}"


@torch.no_grad()
def initialize(
    module: nn.Module, generator: torch.Generator | None, scheme: Literal["kaiming", "normal"] = "kaiming"
) -> None:
    """Draw all weights anew.

    ``normal`` is the released recipe: every convolution from N(0, 0.001²). ``kaiming`` (fan-out, He et al. 2015) also
    starts each attention as the identity; in short trainings it is ahead. A fusion starts as the identity in both, and
    what comes after a SimCC head's convolution as released: linear layers from N(0, 0.01²), scales 1, and the scales
    and shifts of queries and keys uniform in [0, 1).
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
        elif isinstance(layer, nn.Linear):
            layer.weight.normal_(0.0, 0.01, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, ScaleNorm):
            layer.scale.fill_(1.0)
        elif isinstance(layer, GatedAttention):
            layer.gamma.uniform_(generator=generator)
            layer.beta.uniform_(generator=generator)
            layer.shortcut.fill_(1.0)
    if scheme == "kaiming":
        for layer in module.modules():
            if isinstance(layer, ContextBlock):
                layer.expand.weight.zero_()
            elif isinstance(layer, MapsHead):
                layer.final.weight.normal_(0.0, 0.001, generator=generator)
    for layer in module.modules():
        if isinstance(layer, Fusion):
            layer.start_as_identity()
