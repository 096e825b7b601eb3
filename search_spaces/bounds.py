"""What no pose network needs: a file from elsewhere cannot ask for terabytes, or for hours before it is refused.

The fields of an architecture have ranges of their own; here is what they come to together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .costs import halved
from .errors import InputError
from .families import Family, family

if TYPE_CHECKING:
    from .architecture import PoseArchitecture
    from .space import SearchSpace

__all__ = ["check_choices", "check_size", "check_storage"]

MAX_WEIGHTS = 2_000_000_000
MAX_MACS = 10**13
MAX_FEATURES = 1 << 28
"""Numbers in one feature map of one image: 1 GiB in float32."""
MAX_COMBINATIONS = 1 << 14
"""Of the choices that a space must look at together: a stage's widths, expansions and groups, neighbouring widths."""


def check_size(architecture: PoseArchitecture) -> None:
    """Weights, multiplications and feature maps of a whole network.

    Raises:
        InputError: there are more than any pose network needs.
    """
    from .complexity import count  # which is about architectures, and so comes after them

    cost = count(architecture)
    if cost.parameters > MAX_WEIGHTS:
        raise InputError(f"architecture: {cost.parameters / 1e9:.1f} billion weights are too many; at most 2 billion")
    if cost.macs > MAX_MACS:
        raise InputError(f"architecture: {cost.macs / 1e12:.1f} trillion multiplications an image; at most 10 trillion")
    sizes = [part.output_size for part in cost.by_part]
    for part, channels, (height, width) in _feature_maps(architecture, sizes, family(architecture.family)):
        if channels * height * width > MAX_FEATURES:
            shape = f"{channels} × {height} × {width}"
            raise InputError(f"{part}: its features of {shape} are too large; at most {MAX_FEATURES:,} numbers")


def _feature_maps(
    architecture: PoseArchitecture, sizes: list[tuple[int, int]], kind: Family
) -> Iterator[tuple[str, int, tuple[int, int]]]:
    """Part, channels and (height, width) of the largest feature maps.

    Args:
        sizes: what the stem, each stage and the head give.
    """
    stem, head = architecture.stem, architecture.head
    yield "stem", stem.width, halved(architecture.input_size, stem.stride)
    for index, stage in enumerate(architecture.stages, 1):
        inner = kind.inner_width(stage.width, stage.expansion) or 0
        yield f"stage {index}", max(inner, stage.width), sizes[index - 1]
    height, width = sizes[-2]
    for index, channels in enumerate(head.widths, 1):
        height, width = 2 * height, 2 * width
        yield f"head deconvolution {index}", channels, (height, width)
    yield "head", head.keypoints, (height, width)


def check_choices(space: SearchSpace) -> None:
    """Before choices are looked at together.

    Raises:
        InputError: there are so many that this would take minutes.
    """
    before = len(space.stem.width)
    for index, stage in enumerate(space.stages, 1):
        own = len(stage.width) * len(stage.expansion)
        for others, kind in ((len(stage.group_choices), "groups"), (before, "widths before it")):
            if own * others > MAX_COMBINATIONS:
                raise InputError(
                    f"space {space.name}: stage {index}: {own * others:,} combinations of its widths and expansions "
                    f"with {others} {kind} are too many; at most {MAX_COMBINATIONS:,}"
                )
        before = len(stage.width)


def check_storage(space: SearchSpace) -> None:
    """The weights that a space's networks share: a supernet stores them without groups, or as a band.

    Raises:
        InputError: they are too many, though each network is within bounds.
    """
    largest = space.largest()
    kind = family(space.family)
    bands, stages = 0, []
    for index, stage in enumerate(largest.stages, 1):
        inner = kind.inner_width(stage.width, stage.expansion) or 1
        columns = 2 * space.widest_group(index) - 1
        banded = columns < inner
        bands += columns * inner * stage.kernel_size**2 * stage.depth if banded else 0
        stages.append(dataclasses.replace(stage, groups=inner if banded else 1))
    head = dataclasses.replace(largest.head, groups=(1,) * len(largest.head.groups))
    try:
        check_size(largest.replace(stages=tuple(stages), head=head))
    except InputError as error:
        raise InputError(f"space {space.name}: its shared weights, which are stored without groups: {error}") from None
    if bands > MAX_WEIGHTS:
        raise InputError(
            f"space {space.name}: {bands / 1e9:.1f} billion shared weights of grouped convolutions are too many; at "
            "most 2 billion"
        )
