"""What no pose network needs: a file from elsewhere cannot ask for terabytes, or for hours before it is refused.

The fields of an architecture have ranges of their own; here is what its parts come to together.
"""

from __future__ import annotations

from collections.abc import Sequence

from .complexity import count_parts
from .errors import InputError
from .flow import Part

__all__ = ["MAX_WEIGHTS", "check_size"]

MAX_WEIGHTS = 2_000_000_000
MAX_MACS = 10**13
MAX_FEATURES = 1 << 28
"""Numbers in one feature map of one image: 1 GiB in float32."""


def check_size(parts: Sequence[Part]) -> None:
    """Weights, multiplications and feature maps of a whole network.

    Raises:
        InputError: there are more than any pose network needs.
    """
    cost = count_parts(parts)
    if cost.parameters > MAX_WEIGHTS:
        raise InputError(f"architecture: {cost.parameters / 1e9:.1f} billion weights are too many; at most 2 billion")
    if cost.macs > MAX_MACS:
        raise InputError(f"architecture: {cost.macs / 1e12:.1f} trillion multiplications an image; at most 10 trillion")
    for part in parts:
        for channels, (height, width) in (block.largest for block in part.blocks):
            if channels * height * width > MAX_FEATURES:
                shape = f"{channels} × {height} × {width}"
                raise InputError(
                    f"{part.name}: its features of {shape} are too large; at most {MAX_FEATURES:,} numbers"
                )
