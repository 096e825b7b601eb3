"""The head's part of a genome: which heads a space's choices make, and where each of them stands in a vector.

A head's genes are ``width`` and ``groups``, and those of :data:`~search_spaces.choices.HEAD_GENES` of which there are
several choices. What a head has not got (the width of no layers, the attention of heatmaps) has the gene's first choice
in the canonical vector, and any choice in others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from .choices import HEAD_GENES, Gene, HeadChoices
from .parts import UPSAMPLING_KERNELS, Head, Upsampling

__all__ = ["count_heads", "extreme_index", "head_genes", "head_kinds", "head_of", "head_values", "legal_groups"]


def head_genes(choices: HeadChoices, part: int) -> list[Gene]:
    """Those of part ``part``, in the order of a vector."""
    genes = [("width", choices.width_choices), ("groups", choices.groups)]
    genes += [(name, choices.choices(name)) for name in _several(choices)]
    return [Gene(part=part, name=f"head.{name}", field=name, values=values) for name, values in genes]


def _several(choices: HeadChoices) -> list[str]:
    return [name for name in HEAD_GENES if isinstance(getattr(choices, name), tuple)]


def legal_groups(choices: HeadChoices, last_width: int, width: int) -> list[int]:
    """Indices of the group counts that divide the last stage's and the head's width."""
    return [i for i, count in enumerate(choices.groups) if last_width % count == 0 and width % count == 0]


def head_of(choices: HeadChoices, indices: Mapping[str, int], groups: int, keypoints: int) -> Head:
    """The head of a vector's entries.

    Args:
        indices: of each gene's field, its choice.
        groups: the group count of the layers, where there are any.
    """

    def chosen(name: str) -> Any:
        return choices.choices(name)[indices.get(name, 0)]

    layers, is_simcc = chosen("layers"), chosen("output") == "simcc"
    upsampling: Upsampling = chosen("upsampling") if layers else "deconvolution"
    return Head(
        widths=(choices.width_choices[indices["width"]],) * layers,
        groups=(groups,) * layers,
        kernel_sizes=(UPSAMPLING_KERNELS[upsampling][0],) * layers,
        keypoints=keypoints,
        normalization="none" if is_simcc else choices.normalization,
        output=chosen("output"),
        kernel_size=chosen("kernel_size"),
        attention=chosen("attention") if is_simcc else 0,
        upsampling=upsampling,
    )


def head_values(choices: HeadChoices, head: Head) -> Iterator[Any]:
    """What a head has at each gene, in the order of a vector; the first choice where it has nothing there."""
    yield head.widths[0] if head.widths else choices.width_choices[0]
    yield head.groups[0] if head.widths else choices.groups[0]
    for name in _several(choices):
        if name == "layers":
            yield len(head.widths)
        elif (name == "upsampling" and not head.widths) or (name == "attention" and head.output == "heatmaps"):
            yield choices.choices(name)[0]
        else:
            yield getattr(head, name)


def count_heads(choices: HeadChoices, last_width: int) -> int:
    """The number of different heads on features of that width."""
    layered = len(choices.choices("upsampling")) * sum(
        len(legal_groups(choices, last_width, width)) for width in choices.width_choices
    )
    layers = sum(layered if count else 1 for count in choices.choices("layers"))
    ends = sum(len(choices.choices("attention")) if one == "simcc" else 1 for one in choices.choices("output"))
    return layers * ends * len(choices.choices("kernel_size"))


def head_kinds(choices: HeadChoices) -> Iterator[dict[str, int]]:
    """Entries of a vector that between them give every :attr:`Head.kind`, some perhaps twice."""
    names = [name for name in _several(choices) if name != "kernel_size"]  # kernels share their centre
    for indices in product(*(range(len(choices.choices(name))) for name in names)):
        yield dict(zip(names, indices, strict=True))


def extreme_index(values: Sequence[Any], pick: Any) -> int:
    """A gene's choice in the smallest (``min``) or the largest (``max``) network: of words the first."""
    return 0 if isinstance(values[0], str) else values.index(pick(values))
