"""The parts of a pose network as values: stem, stages, head. Frozen, hashable, validated when made.

What a block looks like is the family's matter; what the parts come to together is bounded in ``limits``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .errors import InputError
from .fields import LATER

__all__ = [
    "OWN_FIELDS",
    "SIMCC_SPLIT",
    "SIMPLE_BASELINE_HEAD",
    "UPSAMPLING_KERNELS",
    "Activation",
    "Head",
    "HeadOutput",
    "Normalization",
    "Stage",
    "Stem",
    "Upsampling",
    "check_output",
    "check_range",
    "divisors",
]

Activation = Literal["relu", "hardswish", "silu"]
Normalization = Literal["none", "softmax"]
HeadOutput = Literal["heatmaps", "simcc"]
Upsampling = Literal["deconvolution", "nearest"]
"""What doubles the resolution in a head: a stride-2 deconvolution, or each pixel repeated and a 3×3 convolution.

Bilinear sampling in place of the repetition is slower on onnxruntime (docs/benchmarks.md, Heads)."""
UPSAMPLING_KERNELS: dict[Upsampling, tuple[int, ...]] = {"deconvolution": (4, 2, 3), "nearest": (3,)}
"""Kernel sizes that are possible, the usual one first."""

SIMCC_SPLIT = 2
"""Bins a pixel of the input, along each axis, of SimCC (Li et al., ECCV 2022)."""

# Bounds that no pose network needs to pass.
MAX_WIDTH = 16384
MAX_DEPTH = 64
MAX_BRANCHES = 8
MAX_KERNEL = 31
MAX_KEYPOINTS = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Stem:
    """The first convolution, of stride 2 unless said otherwise."""

    width: int
    kernel_size: int = 7
    stride: int = 2
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check_range("stem", "width", self.width, 1, MAX_WIDTH)
        _check_kernel("stem", self.kernel_size)
        check_range("stem", "stride", self.stride, 1, 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """``depth`` equal blocks; the first one has the stride and changes the width.

    ``expansion`` relates the block's inner width to ``width``; the family says how (``resnet`` and ``cspnext`` divide,
    ``mobilenetv3`` and ``fast`` multiply). ``pyramid``, of ``cspnext`` alone, puts a spatial pyramid pooling before the
    blocks, which then have no shortcuts. ``block``, of ``fast`` alone, is the kind of the blocks.

    Of ``hrnet`` alone: ``branches`` lie side by side, each of half the resolution and twice the channels of the one
    before it; ``width`` is the finest's. ``modules`` times, ``depth`` blocks a branch are followed by an exchange of
    what they found; with ``merge`` the last exchange gives the finest branch alone.
    """

    width: int
    depth: int
    kernel_size: int = 3
    groups: int = 1
    attention: bool = False
    stride: int = 2
    expansion: int = 1
    activation: Activation = "relu"
    pyramid: bool = field(default=False, metadata=LATER)
    branches: int = field(default=1, metadata=LATER)
    modules: int = field(default=1, metadata=LATER)
    merge: bool = field(default=False, metadata=LATER)
    block: str = field(default="", metadata=LATER)

    def __post_init__(self) -> None:
        check_range("stage", "width", self.width, 1, MAX_WIDTH)
        check_range("stage", "depth", self.depth, 1, MAX_DEPTH)
        _check_kernel("stage", self.kernel_size)
        check_range("stage", "groups", self.groups, 1, MAX_WIDTH)
        check_range("stage", "stride", self.stride, 1, 4)
        check_range("stage", "expansion", self.expansion, 1, 64)
        check_range("stage", "branches", self.branches, 1, MAX_BRANCHES)
        check_range("stage", "modules", self.modules, 1, MAX_DEPTH)


OWN_FIELDS = ("pyramid", "branches", "modules", "merge", "block")
"""Fields of a stage that not every family has; a family says which it has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Layers that double the resolution, then a convolution of ``kernel_size`` to one map a keypoint, its heatmap.

    ``upsampling`` says what these layers are, each with its BatchNorm and ReLU. Without any it is ``deconvolution``.

    ``normalization`` says what becomes of the heatmaps: ``none``, as published; or ``softmax`` over the places of each
    heatmap, so that it is a distribution (scaled to the peak of a target), trained by cross-entropy. In short
    trainings that is far ahead of the squared error (docs/benchmarks.md).

    With ``output`` of ``simcc`` each map is flattened instead, and linear layers give two distributions of the keypoint
    over bins of half an input pixel, along the width and along the height (SimCC, Li et al., ECCV 2022). ``attention``
    is the width of a gated attention unit between the keypoints before those layers (RTMPose, Jiang et al. 2023); 0
    has none.
    """

    widths: tuple[int, ...]
    groups: tuple[int, ...]
    kernel_sizes: tuple[int, ...] = (4, 4, 4)
    keypoints: int = 17
    normalization: Normalization = field(default="none", metadata=LATER)
    output: HeadOutput = field(default="heatmaps", metadata=LATER)
    kernel_size: int = field(default=1, metadata=LATER)
    attention: int = field(default=0, metadata=LATER)
    upsampling: Upsampling = field(default="deconvolution", metadata=LATER)

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.groups) == len(self.kernel_sizes):
            lengths = f"{len(self.widths)} widths, {len(self.groups)} groups, {len(self.kernel_sizes)} kernel sizes"
            raise InputError(f"head: one width, group count and kernel size a deconvolution; got {lengths}")
        if len(self.widths) > 8:
            raise InputError(f"head: {len(self.widths)} deconvolutions are too many; at most 8")
        for index, (width, groups, kernel_size) in enumerate(
            zip(self.widths, self.groups, self.kernel_sizes, strict=True), 1
        ):
            check_range(f"head deconvolution {index}", "width", width, 1, MAX_WIDTH)
            check_range(f"head deconvolution {index}", "groups", groups, 1, MAX_WIDTH)
            if kernel_size not in (possible := UPSAMPLING_KERNELS[self.upsampling]):
                choices = ", ".join(str(size) for size in sorted(possible))
                raise InputError(f"head {self.upsampling} {index}: kernel_size={kernel_size}; choose from {choices}")
        if not self.widths and self.upsampling != "deconvolution":
            raise InputError(f"head: upsampling={self.upsampling!r} of no layer; without layers it is 'deconvolution'")
        check_range("head", "keypoints", self.keypoints, 1, MAX_KEYPOINTS)
        check_output("head", self.output, self.normalization, self.kernel_size, self.attention)

    @property
    def kind(self) -> str:
        """What decides what the maps of the last convolution, and the weights past it, mean: in a supernet, heads of
        one kind share them."""
        layers = f"{len(self.widths)}{self.upsampling}" if self.widths else "0"
        return f"{layers}-{self.output}{self.attention or ''}"


def check_output(
    where: str, output: HeadOutput, normalization: Normalization, kernel_size: int, attention: int
) -> None:
    """Raise InputError where the fields that say what a head gives do not go together."""
    _check_kernel(where, kernel_size)
    check_range(where, "attention", attention, 0, MAX_WIDTH)
    if output == "simcc" and normalization != "none":
        raise InputError(f"{where}: normalization={normalization!r} is of heatmaps; output='simcc' has 'none'")
    if output == "heatmaps" and attention:
        raise InputError(f"{where}: attention={attention} is of output='simcc'; output='heatmaps' has 0")


def check_range(where: str, name: str, value: int, low: int, high: int) -> None:
    """Raise InputError where a value is out of its range; ``where`` says what it belongs to."""
    if not low <= value <= high:
        raise InputError(f"{where}: {name}={value}; from {low} to {high} are possible")


def _check_kernel(where: str, kernel_size: int) -> None:
    if kernel_size % 2 == 0 or not 1 <= kernel_size <= MAX_KERNEL:
        raise InputError(f"{where}: kernel_size={kernel_size}; odd sizes from 1 to {MAX_KERNEL} are possible")


def divisors(value: int) -> list[int]:
    """All numbers that divide ``value``, in their order."""
    return [count for count in range(1, value + 1) if value % count == 0]


SIMPLE_BASELINE_HEAD = Head(widths=(256, 256, 256), groups=(1, 1, 1))
"""Of SimpleBaseline (Xiao et al., ECCV 2018), whatever its backbone."""
