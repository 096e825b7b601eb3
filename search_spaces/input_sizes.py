"""The input sizes of a space's networks, and what they must have in common to share weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .architecture import PoseArchitecture
from .choices import MAX_HEAD_CHOICES, Gene, HeadChoices, listing, size_words
from .errors import InputError
from .layers import Size

__all__ = ["check_strides", "size_genes", "sorted_sizes"]

MOST_STRETCHED = 1.25
"""How far sizes may differ in height to width. Training shows a smaller size the middle of the largest one's crops that
has its shape; past this much of the person would be missing."""


def sorted_sizes(name: str, sizes: Sequence[Size], largest: Size, head: HeadChoices) -> tuple[Size, ...]:
    """The sizes from the smallest to the largest; none where there is but one.

    Args:
        name: of the space.
        largest: the space's ``input_size``.

    Raises:
        InputError: a size is there twice, is larger than ``largest`` or of another shape, or ``largest`` is missing;
            the head has weights for one size.
    """
    if not sizes:
        return ()
    where, words = f"space {name}: input_sizes", listing([size_words(size) for size in sizes])
    if len(sizes) > MAX_HEAD_CHOICES:
        raise InputError(f"{where}: {len(sizes)} sizes; at most {MAX_HEAD_CHOICES}")
    if len(set(sizes)) != len(sizes):
        raise InputError(f"{where} {words} names a size twice")
    if largest not in sizes or any(one > most for size in sizes for one, most in zip(size, largest, strict=True)):
        raise InputError(
            f"{where} {words}: input_size, {size_words(largest)}, must be one of them and their largest, in height and "
            "in width; change input_size"
        )
    if len(sizes) == 1:
        return ()
    if "simcc" in head.choices("output"):
        raise InputError(f"{where}: a head with output simcc has weights for one input size; leave input_sizes out")
    for size in sizes:
        shapes = largest[0] * size[1], largest[1] * size[0]
        if min(shapes) <= 0 or max(shapes) > MOST_STRETCHED * min(shapes):
            raise InputError(
                f"{where}: {size_words(size)} is of another shape than {size_words(largest)}; heights to widths may "
                f"differ by a factor of {MOST_STRETCHED} at most"
            )
    return tuple(sorted(sizes, key=lambda size: (size[0] * size[1], size)))


def size_genes(sizes: tuple[Size, ...], part: int) -> list[Gene]:
    """The gene, where there are several sizes."""
    return [Gene(part=part, name="input_size", field="input_size", values=sizes)] if sizes else []


def check_strides(name: str, networks: Iterable[PoseArchitecture], sizes: Sequence[Size]) -> None:
    """Heatmaps are the same part of the input at every size.

    Args:
        networks: one with each kind of head, at the largest size.

    Raises:
        InputError: at some size a stride leaves a rest, so that the heatmaps are too large by a pixel or more.
    """
    for network in networks if sizes else ():
        for size in sizes:
            try:
                found, wanted = network.replace(input_size=size).heatmap_size, network.heatmap_size
            except InputError as error:  # the family asks more of it
                raise InputError(f"space {name}: input_sizes: {size_words(size)}: {error}") from None
            if any(a * b != c * d for a, b, c, d in zip(found, network.input_size, wanted, size, strict=True)):
                (_, last), whole = network.parts[-1].inputs[0], network.input_size
                steps = " and ".join(str(-(-side // of)) for side, of in zip(whole, last, strict=True))
                raise InputError(
                    f"space {name}: input_sizes: {size_words(size)} gives heatmaps of {size_words(found)}, which are "
                    f"not the part of it that {size_words(wanted)} are of {size_words(whole)}; choose multiples of the "
                    f"strides together ({steps})"
                )
