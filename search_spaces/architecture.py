"""An architecture is a value: frozen, hashable, validated when made, JSON in and out.

A :class:`PoseArchitecture` describes one static pose network completely: a stem, some stages of equal blocks and a
deconvolution head (ViPNAS, CVPR 2021: one width, depth, kernel size, group count and attention flag a stage).
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import InputError
from .families import check_own_fields, family
from .fields import canonical_json, from_tagged, read_json_object, to_fields
from .flow import Part, parts_of
from .layers import FeatureMap
from .limits import check_size
from .parts import Head, Stage, Stem, check_range, divisors

__all__ = ["PoseArchitecture"]

FORMAT = "vipnas-architecture/1"
MAX_STAGES = 32
MAX_INPUT = 4096


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
            check_range("input_size", side, size, 8, MAX_INPUT)
        rules = family(self.family)
        check_own_fields(self.family, self.stages)
        for index, stage in enumerate(self.stages, 1):
            inner = rules.inner_width(stage.width, stage.expansion)
            if inner is None:
                raise InputError(f"stage {index}: expansion={stage.expansion} does not divide width={stage.width}")
            if inner % stage.groups:
                options = ", ".join(str(count) for count in divisors(inner))
                raise InputError(f"stage {index}: groups={stage.groups} does not divide {inner}; choose from {options}")
        self._check_head()
        rules.check(self.stem, self.stages)
        check_size(self.parts)

    def _check_head(self) -> None:
        channels = self.stages[-1].width
        for index, (width, groups) in enumerate(zip(self.head.widths, self.head.groups, strict=True), 1):
            if channels % groups or width % groups:
                raise InputError(
                    f"head {self.head.upsampling} {index}: groups={groups} must divide its {channels} input and "
                    f"{width} output channels"
                )
            channels = width

    @cached_property  # a search asks for it a dozen times a candidate
    def id(self) -> str:
        """Ten hexadecimal digits, the same on every machine: a hash of the canonical JSON."""
        return hashlib.sha256(canonical_json(self).encode()).hexdigest()[:10]

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The stem, the stages and the head, with the feature maps between them for :attr:`input_size`."""
        return parts_of(self)

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """(height, width) of the heatmaps for :attr:`input_size`; (H/4, W/4) for the published networks.

        Raises:
            InputError: the network gives SimCC, and no heatmaps.
        """
        if self.is_simcc:
            raise InputError(f"network {self.id}: its head gives SimCC, not heatmaps, and here heatmaps are needed")
        return self.parts[-1].outputs[0].size

    @property
    def is_simcc(self) -> bool:
        """Whether it gives distributions along the width and the height (SimCC) in place of heatmaps."""
        return self.head.output == "simcc"

    @property
    def features(self) -> tuple[FeatureMap, ...]:
        """The features F1, F2, … for :attr:`input_size`: each stage's output, the finest where it gives several."""
        return tuple(part.outputs[0] for part in self.parts[1:-1])

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
