"""An architecture is a value: frozen, hashable, validated when made, JSON in and out.

A :class:`PoseArchitecture` describes one static pose network completely: a stem, some stages of equal blocks and a
deconvolution head (ViPNAS, CVPR 2021: one width, depth, kernel size, group count and attention flag a stage). What a
block looks like is the family's matter.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from . import families
from .bounds import check_size
from .errors import InputError
from .serialization import LATER, canonical_json, from_tagged, read_json_object, to_fields

__all__ = ["Activation", "Head", "Normalization", "PoseArchitecture", "Stage", "Stem"]

Activation = Literal["relu", "hardswish"]
Normalization = Literal["none", "softmax"]
FORMAT = "vipnas-architecture/1"

# Bounds that no pose network needs to pass; what they come to together is bounded in bounds.py.
MAX_WIDTH = 16384
MAX_DEPTH = 64
MAX_KERNEL = 31
MAX_STAGES = 32
MAX_KEYPOINTS = 1024
MAX_INPUT = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Stem:
    """The first convolution, of stride 2 unless said otherwise."""

    width: int
    kernel_size: int = 7
    stride: int = 2
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        _check_range("stem", "width", self.width, 1, MAX_WIDTH)
        _check_kernel("stem", self.kernel_size)
        _check_range("stem", "stride", self.stride, 1, 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """``depth`` equal blocks; the first one has the stride and changes the width.

    ``expansion`` relates the block's inner width to ``width``; the family says how (``resnet`` divides,
    ``mobilenetv3`` multiplies).
    """

    width: int
    depth: int
    kernel_size: int = 3
    groups: int = 1
    attention: bool = False
    stride: int = 2
    expansion: int = 1
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        _check_range("stage", "width", self.width, 1, MAX_WIDTH)
        _check_range("stage", "depth", self.depth, 1, MAX_DEPTH)
        _check_kernel("stage", self.kernel_size)
        _check_range("stage", "groups", self.groups, 1, MAX_WIDTH)
        _check_range("stage", "stride", self.stride, 1, 4)
        _check_range("stage", "expansion", self.expansion, 1, 64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Stride-2 deconvolutions, then a 1×1 convolution to one heatmap a keypoint.

    ``normalization`` says what becomes of the heatmaps: ``none``, as published; or ``softmax`` over the places of each
    heatmap, so that it is a distribution (scaled to the peak of a target), trained by cross-entropy. In short
    trainings that is far ahead of the squared error (docs/benchmarks.md).
    """

    widths: tuple[int, ...]
    groups: tuple[int, ...]
    kernel_sizes: tuple[int, ...] = (4, 4, 4)
    keypoints: int = 17
    normalization: Normalization = field(default="none", metadata=LATER)

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.groups) == len(self.kernel_sizes):
            lengths = f"{len(self.widths)} widths, {len(self.groups)} groups, {len(self.kernel_sizes)} kernel sizes"
            raise InputError(f"head: one width, group count and kernel size a deconvolution; got {lengths}")
        if len(self.widths) > 8:
            raise InputError(f"head: {len(self.widths)} deconvolutions are too many; at most 8")
        for index, (width, groups, kernel_size) in enumerate(
            zip(self.widths, self.groups, self.kernel_sizes, strict=True), 1
        ):
            _check_range(f"head deconvolution {index}", "width", width, 1, MAX_WIDTH)
            _check_range(f"head deconvolution {index}", "groups", groups, 1, MAX_WIDTH)
            if kernel_size not in (2, 3, 4):
                raise InputError(f"head deconvolution {index}: kernel_size={kernel_size}; choose from 2, 3, 4")
        _check_range("head", "keypoints", self.keypoints, 1, MAX_KEYPOINTS)


@dataclass(frozen=True, kw_only=True)
class PoseArchitecture:
    """One static pose network. ``input_size`` is (height, width) in pixels: what its costs and crops are for."""

    family: str
    stem: Stem
    stages: tuple[Stage, ...]
    head: Head
    input_size: tuple[int, int] = (256, 192)

    def __post_init__(self) -> None:
        if not 1 <= len(self.stages) <= MAX_STAGES:
            raise InputError(f"architecture: {len(self.stages)} stages; from 1 to {MAX_STAGES} are possible")
        for side, size in zip(("height", "width"), self.input_size, strict=True):
            _check_range("input_size", side, size, 8, MAX_INPUT)
        family = families.family(self.family)
        for index, stage in enumerate(self.stages, 1):
            inner = family.inner_width(stage.width, stage.expansion)
            if inner is None:
                raise InputError(f"stage {index}: expansion={stage.expansion} does not divide width={stage.width}")
            if inner % stage.groups:
                options = ", ".join(str(count) for count in _divisors(inner))
                raise InputError(f"stage {index}: groups={stage.groups} does not divide {inner}; choose from {options}")
        self._check_head()
        family.check(self)
        check_size(self)

    def _check_head(self) -> None:
        channels = self.stages[-1].width
        for index, (width, groups) in enumerate(zip(self.head.widths, self.head.groups, strict=True), 1):
            if channels % groups or width % groups:
                raise InputError(
                    f"head deconvolution {index}: groups={groups} must divide its {channels} input and {width} "
                    "output channels"
                )
            channels = width

    @cached_property  # a search asks for it a dozen times a candidate
    def id(self) -> str:
        """Ten hexadecimal digits, the same on every machine: a hash of the canonical JSON."""
        return hashlib.sha256(canonical_json(self).encode()).hexdigest()[:10]

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """(height, width) of the heatmaps for :attr:`input_size`; (H/4, W/4) for the published networks."""
        height, width = self.feature_sizes[-1]
        factor = 2 ** len(self.head.widths)
        return height * factor, width * factor

    @property
    def feature_sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of the features F1, F2, … (the stages' outputs) for :attr:`input_size`."""
        height, width = self.input_size
        for stride in families.family(self.family).stem_strides(self.stem):
            height, width = -(-height // stride), -(-width // stride)
        sizes = []
        for stage in self.stages:
            height, width = -(-height // stage.stride), -(-width // stage.stride)
            sizes.append((height, width))
        return tuple(sizes)

    @property
    def keypoints(self) -> int:
        return self.head.keypoints

    def replace(self, **changes: Any) -> PoseArchitecture:
        """A copy with other fields, validated again."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; :meth:`from_json` is the inverse."""
        return {"format": FORMAT, **to_fields(self)}

    @classmethod
    def from_json(cls, value: Any, where: str = "architecture") -> PoseArchitecture:
        """The architecture in a JSON object.

        Raises:
            InputError: a field is unknown, missing, mistyped or out of its range.
        """
        return from_tagged(cls, value, FORMAT, where)

    @classmethod
    def load(cls, path: Path | str) -> PoseArchitecture:
        """The architecture in a JSON file."""
        return cls.from_json(read_json_object(Path(path)), where=str(path))


def _check_range(where: str, name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{where}: {name}={value}; from {low} to {high} are possible")


def _check_kernel(where: str, kernel_size: int) -> None:
    if kernel_size % 2 == 0 or not 1 <= kernel_size <= MAX_KERNEL:
        raise InputError(f"{where}: kernel_size={kernel_size}; odd sizes from 1 to {MAX_KERNEL} are possible")


def _divisors(value: int) -> list[int]:
    return [count for count in range(1, value + 1) if value % count == 0]
