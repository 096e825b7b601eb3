"""The choices of which a search space consists, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from .errors import InputError
from .fields import LATER
from .parts import Activation, HeadOutput, Normalization, Upsampling, check_output

__all__ = [
    "HEAD_GENES",
    "Gene",
    "HeadChoices",
    "StageChoices",
    "StemChoices",
    "check_combinations",
    "listing",
    "size_words",
]

MAX_CHOICES = 256
MAX_HEAD_CHOICES = 16
"""Of what a supernet has weights of its own for."""
MAX_COMBINATIONS = 1 << 14
"""Of the choices that a space must look at together: a stage's widths, expansions and groups, neighbouring widths."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StemChoices:
    """Choices for the first convolution."""

    width: tuple[int, ...]
    kernel_size: tuple[int, ...] = (7,)
    stride: int = 2
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        _check_choices("stem", self, ("width", "kernel_size"))


@dataclass(frozen=True, kw_only=True, slots=True)
class StageChoices:
    """Choices for one stage. Groups are given as counts, or as ``group_width``, the channels of one group.

    A stage without choices of ``width`` has the width of the stage before it: one gene decides both.
    """

    width: tuple[int, ...] = field(default=(), metadata=LATER)
    depth: tuple[int, ...]
    kernel_size: tuple[int, ...] = (3,)
    groups: tuple[int, ...] = ()
    group_width: tuple[int, ...] = ()
    attention: tuple[bool, ...] = (False, True)
    expansion: tuple[int, ...] = (1,)
    stride: int = 2
    activation: Activation = "relu"
    pyramid: bool = field(default=False, metadata=LATER)
    branches: int = field(default=1, metadata=LATER)
    modules: tuple[int, ...] = field(default=(1,), metadata=LATER)
    merge: bool = field(default=False, metadata=LATER)
    block: tuple[str, ...] = field(default=(), metadata=LATER)

    def __post_init__(self) -> None:
        if bool(self.groups) == bool(self.group_width):
            raise InputError("stage: give either groups or group_width, with one choice at least")
        groups = "groups" if self.groups else "group_width"
        names = ("depth", "kernel_size", "attention", "expansion", "modules", groups)
        optional = tuple(name for name in ("width", "block") if getattr(self, name))
        _check_choices("stage", self, (*optional, *names))

    @property
    def group_choices(self) -> tuple[int, ...]:
        """The gene's choices, from the fewest weights to the most where they are widths of a group."""
        return self.groups or self.group_width

    def group_count(self, choice: int, inner: int) -> int | None:
        """The number of groups that a choice means at ``inner`` channels; None where it does not divide them."""
        if inner % choice:
            return None
        return choice if self.groups else inner // choice


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadChoices:
    """Choices for the head: ``layers`` that double the resolution, of one width and one group count, and what follows.

    What may be one value or several is a gene where it is several (:mod:`search_spaces.heads`). ``upsampling``,
    ``width`` and ``groups`` are of the layers, where there are any; ``normalization`` is of heatmaps, ``attention`` of
    SimCC. Of ``upsampling`` and ``output`` the first is that of the smallest and of the largest network.
    """

    width: tuple[int, ...] = ()
    groups: tuple[int, ...] = (1,)
    layers: int | tuple[int, ...] = 3
    normalization: Normalization = field(default="none", metadata=LATER)
    output: HeadOutput | tuple[HeadOutput, ...] = field(default="heatmaps", metadata=LATER)
    kernel_size: int | tuple[int, ...] = field(default=1, metadata=LATER)
    attention: int | tuple[int, ...] = field(default=0, metadata=LATER)
    upsampling: Upsampling | tuple[Upsampling, ...] = field(default="deconvolution", metadata=LATER)

    def __post_init__(self) -> None:
        for name in HEAD_GENES:
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) == 1:  # no choice: written, and compared, as one value
                object.__setattr__(self, name, value[0])
        self._check_genes()
        for count in self.choices("layers"):
            if not 0 <= count <= 8:
                raise InputError(f"head: layers={count}; from 0 to 8 are possible")
        if any(self.choices("layers")):
            _check_choices("head", self, ("width", "groups"))
        elif self.width or self.groups != (1,) or self.upsampling != "deconvolution":
            raise InputError(
                "head: layers=0, so that there is no layer whose width, groups or upsampling could be chosen"
            )
        self._check_outputs()

    def _check_genes(self) -> None:
        for name in HEAD_GENES:
            values = self.choices(name)
            if not values:
                raise InputError(f"head: {name} has no choice")
            if len(values) > MAX_HEAD_CHOICES:
                raise InputError(f"head: {name} has {len(values)} choices; at most {MAX_HEAD_CHOICES}")
            if len(set(values)) != len(values):
                raise InputError(f"head: {name} {listing(values)} names a choice twice")

    def _check_outputs(self) -> None:
        outputs = self.choices("output")
        for output in outputs:
            is_alone = len(outputs) == 1  # what is of another output is then of none
            normalization = self.normalization if is_alone or output == "heatmaps" else "none"
            for kernel_size, attention in product(self.choices("kernel_size"), self.choices("attention")):
                check_output(
                    "head", output, normalization, kernel_size, attention if is_alone or output == "simcc" else 0
                )

    @property
    def width_choices(self) -> tuple[int, ...]:
        """The gene's choices; 0 alone without deconvolutions."""
        return self.width or (0,)

    def choices(self, name: str) -> tuple[Any, ...]:
        """Those of a field that may be one value."""
        value = getattr(self, name)
        return value if isinstance(value, tuple) else (value,)


HEAD_GENES = ("layers", "upsampling", "kernel_size", "output", "attention")
"""Fields of a head that are genes where there are several choices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gene:
    """One choice of a genome: which part it belongs to (0 stem, 1… stages, then head, then the input), its field and
    its values."""

    part: int
    name: str
    field: str
    values: tuple[Any, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The values as people read them."""
        return tuple(size_words(value) if self.field == "input_size" else str(value) for value in self.values)


def _check_choices(where: str, part: Any, names: tuple[str, ...]) -> None:
    for name in names:
        values = getattr(part, name)
        if not values:
            raise InputError(f"{where}: {name} has no choice")
        if len(values) > MAX_CHOICES:
            raise InputError(f"{where}: {name} has {len(values)} choices; at most {MAX_CHOICES}")
        if len(set(values)) != len(values):
            raise InputError(f"{where}: {name} {listing(values)} names a choice twice")
        if any(type(value) is int and value < 1 for value in values):
            raise InputError(f"{where}: {name} {listing(values)}: every choice must be 1 or more")


def size_words(size: Sequence[int]) -> str:
    """Height × width."""
    return f"{size[0]}×{size[1]}"


def listing(values: Sequence[Any]) -> str:
    """Values as messages show them."""
    return "[" + ", ".join(str(value) for value in values) + "]"


def check_combinations(where: str, stem: StemChoices, stages: Sequence[StageChoices]) -> None:
    """Before choices are looked at together.

    Raises:
        InputError: there are so many that this would take minutes.
    """
    before = len(stem.width)
    for index, stage in enumerate(stages, 1):
        own = len(stage.width or (before,)) * len(stage.expansion)
        for others, kind in ((len(stage.group_choices), "groups"), (before, "widths before it")):
            if own * others > MAX_COMBINATIONS:
                raise InputError(
                    f"{where}: stage {index}: {own * others:,} combinations of its widths and expansions "
                    f"with {others} {kind} are too many; at most {MAX_COMBINATIONS:,}"
                )
        before = len(stage.width) or before
