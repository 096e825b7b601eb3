"""A search space: the choices from which architectures are made.

A genome is a vector of integers, one a gene, each an index into that gene's choices. Group counts that do not divide a
width are resolved here: ``decode`` moves to the nearest legal count, so that every vector is a network, and ``encode``
gives the one canonical vector of a network.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from . import kinds, operators
from .architecture import PoseArchitecture
from .choices import HEAD_GENES, Gene, HeadChoices, StageChoices, StemChoices, check_combinations, listing, size_words
from .errors import InputError
from .families import Family, check_own_fields, family
from .fields import LATER, canonical_json, from_tagged, read_json_object, to_fields
from .heads import count_heads, extreme_index, head_genes, head_kinds, head_of, head_values, legal_groups
from .input_sizes import check_strides, size_genes, sorted_sizes
from .limits import MAX_WEIGHTS, check_size
from .parts import Head, Stage, Stem

__all__ = ["SearchSpace"]

FORMAT = "vipnas-space/1"


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Choices for a family's stem, stages and head, and for the input's size. Immutable; two equal spaces have the same
    :attr:`id`."""

    name: str
    family: str
    stem: StemChoices
    stages: tuple[StageChoices, ...]
    head: HeadChoices
    input_size: tuple[int, int] = (256, 192)
    keypoints: int = 17
    input_sizes: tuple[tuple[int, int], ...] = dataclasses.field(default=(), metadata=LATER)
    """Where there are several, of which ``input_size`` is the largest: from the smallest to the largest."""

    def __post_init__(self) -> None:
        sizes = sorted_sizes(self.name, self.input_sizes, self.input_size, self.head)
        object.__setattr__(self, "input_sizes", sizes)
        if not 1 <= len(self.stages) <= 32:
            raise InputError(f"space {self.name}: {len(self.stages)} stages; from 1 to 32 are possible")
        check_own_fields(self.family, self.stages)
        if not self.stages[0].width:
            raise InputError(f"space {self.name}: stage 1: width has no choice, nor is a stage before it that has one")
        kinds.check(f"space {self.name}", self._rules.OWN_FIELDS, self.stages)
        check_combinations(f"space {self.name}", self.stem, self.stages)
        for index, stage in enumerate(self.stages, 1):
            for width, expansion in product(self._widths[index - 1], stage.expansion):
                self._check_stage(index, stage, width, expansion)
        for last, width in product(self._widths[-1], self.head.width_choices):
            if not self._head_groups(last, width):
                raise InputError(
                    f"space {self.name}: head: no choice of groups {listing(self.head.groups)} divides both the last "
                    f"stage's width {last} and the head's width {width}; add 1 to groups or change a width"
                )
        # The extremes check every bound of an architecture (family, kernel sizes, input size, number of weights);
        # what a family asks of neighbouring widths needs every pair of them.
        self.largest()
        check_strides(self.name, self.of_each_head(), self.input_sizes)
        self._check_storage()
        self._check_neighbours(self.smallest())

    def _check_storage(self) -> None:
        """The weights that the networks share: a supernet stores them without groups, or as a band."""
        shared = {}
        for largest in (*kinds.with_each(self, self.largest()), *self.of_each_head()):
            try:
                stored, bands = self._stored(largest)
                check_size(stored.parts)
            except InputError as error:
                where = f"space {self.name}: its shared weights, which are stored without groups"
                raise InputError(f"{where}: {error}") from None
            if bands > MAX_WEIGHTS:
                raise InputError(
                    f"space {self.name}: {bands / 1e9:.1f} billion shared weights of grouped convolutions are too "
                    "many; at most 2 billion"
                )
            shared.update({(index, part.spec): part.parameters for index, part in enumerate(stored.parts)})
        if sum(shared.values()) > MAX_WEIGHTS:
            raise InputError(
                f"space {self.name}: {sum(shared.values()) / 1e9:.1f} billion shared weights of all kinds of blocks "
                "and heads are too many; at most 2 billion"
            )

    def _stored(self, largest: PoseArchitecture) -> tuple[PoseArchitecture, int]:
        """The network as its weights are stored but for bands, of which there are as many weights as said."""
        bands, stages = 0, []
        for index, stage in enumerate(largest.stages, 1):
            inner = self._rules.inner_width(stage.width, stage.expansion) or 1
            columns = 2 * self.widest_group(index) - 1
            banded = columns < inner
            channels = inner * (2**stage.branches - 1) * stage.modules  # of all branches, each twice the one before
            bands += columns * channels * stage.kernel_size**2 * stage.depth if banded else 0
            stages.append(dataclasses.replace(stage, groups=inner if banded else 1))
        head = dataclasses.replace(largest.head, groups=(1,) * len(largest.head.groups))
        return largest.replace(stages=tuple(stages), head=head), bands

    def _check_neighbours(self, smallest: PoseArchitecture) -> None:
        vector = list(self.encode(smallest))
        at = {gene.name: index for index, gene in enumerate(self.genes)}
        for part in range(1, len(self.stages) + 1):
            names = (self.width_gene(part - 1), self.width_gene(part), f"stage{part}.expansion")
            chosen = [at[name] for name in dict.fromkeys(names)]
            chosen += [index for index in kinds.places(self.genes) if self.genes[index].part == part]
            for values in product(*(range(self.gene_sizes[index]) for index in chosen)):
                trial = list(vector)
                for index, value in zip(chosen, values, strict=True):
                    trial[index] = value
                try:
                    self.decode(trial)
                except InputError as error:
                    raise InputError(f"space {self.name}: some choices exclude each other: {error}") from None

    def _check_stage(self, index: int, stage: StageChoices, width: int, expansion: int) -> None:
        inner = self._rules.inner_width(width, expansion)
        if inner is None:
            raise InputError(f"space {self.name}: stage {index}: expansion {expansion} does not divide width {width}")
        if not self._stage_groups(stage, width, expansion):
            kind = "groups" if stage.groups else "group_width"
            raise InputError(
                f"space {self.name}: stage {index}: none of {kind} {listing(stage.group_choices)} divides the {inner} "
                f"channels of width {width}; add 1 to {kind} or change the width"
            )

    @property
    def _rules(self) -> Family:
        return family(self.family)

    # What is legal --------------------------------------------------------------------------------------------------

    @cached_property
    def _widths(self) -> tuple[tuple[int, ...], ...]:
        """The widths that each stage may have: its choices, or without any those of the stage before."""
        found: list[tuple[int, ...]] = []
        for stage in self.stages:
            found.append(stage.width or found[-1])
        return tuple(found)

    def width_gene(self, part: int) -> str:
        """The name of the gene that decides the width of the stem (0), a stage or the head (after the last stage)."""
        if part in (0, len(self.stages) + 1):
            return "head.width" if part else "stem.width"
        return f"stage{part}.width" if self.stages[part - 1].width else self.width_gene(part - 1)

    def _stage_groups(self, stage: StageChoices, width: int, expansion: int) -> list[int]:
        """Indices of the group choices that fit."""
        inner = self._rules.inner_width(width, expansion) or 0
        return [i for i, choice in enumerate(stage.group_choices) if stage.group_count(choice, inner) is not None]

    def _head_groups(self, last_width: int, width: int) -> list[int]:
        return legal_groups(self.head, last_width, width)

    def group_counts(self, part: int) -> tuple[int, ...]:
        """All group counts that occur in a part: a stage (from 1) or the head (after the last stage)."""
        counts: set[int] = set()
        if part > len(self.stages):
            for last, width in product(self._widths[-1], self.head.width_choices):
                counts.update(self.head.groups[index] for index in self._head_groups(last, width))
            return tuple(sorted(counts))
        stage = self.stages[part - 1]
        for width, expansion in product(self._widths[part - 1], stage.expansion):
            inner = self._rules.inner_width(width, expansion) or 0
            counts.update(stage.group_count(choice, inner) or 0 for choice in stage.group_choices)
        return tuple(sorted(counts - {0}))

    def widest_group(self, index: int) -> int:
        """The most channels that a group has in stage ``index`` (from 1), of several branches in the widest."""
        stage, inner_width = self.stages[index - 1], self._rules.inner_width
        inner = {(w, e): inner_width(w, e) or 0 for w, e in product(self._widths[index - 1], stage.expansion)}
        counts = {
            (total, stage.group_count(stage.group_choices[choice], total) or 1)
            for pair, total in inner.items()
            for choice in self._stage_groups(stage, *pair)
        }
        return max(total // count for total, count in counts) * 2 ** (stage.branches - 1)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """All input sizes, (height, width), from the smallest to the largest."""
        return self.input_sizes or (self.input_size,)

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The genome's layout, in the order in which the network is run; then the input's size, where there are
        several."""
        genes = [
            Gene(part=0, name=f"stem.{name}", field=name, values=getattr(self.stem, name))
            for name in ("width", "kernel_size")
        ]
        for part, stage in enumerate(self.stages, 1):
            for name in self._genes_of(stage):
                values = stage.group_choices if name == "groups" else getattr(stage, name)
                genes.append(Gene(part=part, name=f"stage{part}.{name}", field=name, values=values))
        head = len(self.stages) + 1
        return (*genes, *head_genes(self.head, head), *size_genes(self.input_sizes, head + 1))

    @cached_property
    def _stage_genes(self) -> tuple[str, ...]:
        """The fields that are genes: those of every family, and those of this one of which there are choices."""
        own = (name for name in self._rules.OWN_FIELDS if isinstance(getattr(self.stages[0], name), tuple))
        return (*_STAGE_FIELDS, *own)

    def _genes_of(self, stage: StageChoices) -> tuple[str, ...]:
        """As :attr:`_stage_genes`, without the width where another stage's gene decides it."""
        return self._stage_genes if stage.width else tuple(name for name in self._stage_genes if name != "width")

    @property
    def gene_names(self) -> tuple[str, ...]:
        return tuple(gene.name for gene in self.genes)

    @property
    def gene_sizes(self) -> tuple[int, ...]:
        """How many choices each gene has."""
        return tuple(len(gene.values) for gene in self.genes)

    @property
    def unordered_genes(self) -> tuple[int, ...]:
        """Which genes have choices without an order."""
        return kinds.places(self.genes)

    @cached_property
    def size(self) -> int:
        """The exact number of different networks."""
        total = len(self.stem.width) * len(self.stem.kernel_size)
        for stage in self.stages:
            for name in set(self._stage_genes) - {"width", "expansion", "groups"}:
                total *= len(getattr(stage, name))
        total *= len(self.sizes)
        runs: list[list[StageChoices]] = []
        for stage in self.stages:
            runs = [*runs, [stage]] if stage.width else [*runs[:-1], [*runs[-1], stage]]
        for run in runs:  # of one width; the last one's decides the heads too
            total *= sum(
                prod(sum(len(self._stage_groups(stage, w, e)) for e in stage.expansion) for stage in run)
                * (count_heads(self.head, w) if run is runs[-1] else 1)
                for w in run[0].width
            )
        return total

    # Vectors --------------------------------------------------------------------------------------------------------

    def decode(self, vector: Sequence[int]) -> PoseArchitecture:
        """The architecture of an integer vector.

        Raises:
            InputError: the vector is too long or short, or an entry is not an index of its gene.
        """
        if len(vector) != len(self.genes):
            raise InputError(f"space {self.name}: a genome has {len(self.genes)} genes, got {len(vector)}")
        parts: list[dict[str, int]] = [{} for _ in range(len(self.stages) + 3)]
        for gene, index in zip(self.genes, vector, strict=True):
            if not 0 <= int(index) < len(gene.values):
                last = len(gene.values) - 1
                raise InputError(f"space {self.name}: {gene.name}={index}; from 0 to {last} are possible")
            parts[gene.part][gene.field] = int(index)
        *_, of_head, of_input = parts
        stages: list[Stage] = []
        for choices, genes in zip(self.stages, parts[1:-2], strict=True):
            width = choices.width[genes["width"]] if choices.width else stages[-1].width
            stages.append(self._decode_stage(choices, genes, width))
        return PoseArchitecture(
            family=self.family,
            stem=Stem(
                width=self.stem.width[parts[0]["width"]],
                kernel_size=self.stem.kernel_size[parts[0]["kernel_size"]],
                stride=self.stem.stride,
                activation=self.stem.activation,
            ),
            stages=tuple(stages),
            head=self._decode_head(of_head, stages[-1].width),
            input_size=self.sizes[of_input.get("input_size", 0)],
        )

    def _decode_stage(self, choices: StageChoices, genes: dict[str, int], width: int) -> Stage:
        expansion = choices.expansion[genes["expansion"]]
        group = choices.group_choices[_nearest(self._stage_groups(choices, width, expansion), genes["groups"])]
        inner = self._rules.inner_width(width, expansion) or 0
        return Stage(
            width=width,
            depth=choices.depth[genes["depth"]],
            kernel_size=choices.kernel_size[genes["kernel_size"]],
            groups=choices.group_count(group, inner) or 1,
            attention=choices.attention[genes["attention"]],
            stride=choices.stride,
            expansion=expansion,
            activation=choices.activation,
            **{name: self._own(choices, name, genes) for name in self._rules.OWN_FIELDS},
        )

    @staticmethod
    def _own(choices: StageChoices, name: str, genes: dict[str, int]) -> Any:
        value = getattr(choices, name)
        return value[genes[name]] if isinstance(value, tuple) else value

    def _decode_head(self, genes: dict[str, int], last_width: int) -> Head:
        width = self.head.width_choices[genes["width"]]
        groups = self.head.groups[_nearest(self._head_groups(last_width, width), genes["groups"])]
        return head_of(self.head, genes, groups, self.keypoints)

    def encode(self, architecture: PoseArchitecture) -> tuple[int, ...]:
        """The canonical vector of a member: ``decode(encode(a)) == a``, and equal networks have equal vectors.

        Raises:
            InputError: the architecture is not a member; the message names the first field that does not fit.
        """
        vector = tuple(self._indices(architecture))
        decoded = self.decode(vector)
        if decoded != architecture:
            raise InputError(f"space {self.name}: {_difference(decoded, architecture)}")
        return vector

    def _indices(self, architecture: PoseArchitecture) -> Iterator[int]:
        """Gene after gene the choice that a network has; raises InputError at the first that is none."""
        if len(architecture.stages) != len(self.stages):
            raise InputError(f"space {self.name}: {len(architecture.stages)} stages where {len(self.stages)} are asked")
        for gene, value in zip(self.genes, self._values(architecture), strict=True):
            if value not in gene.values:
                shown = size_words(value) if gene.field == "input_size" else value
                raise InputError(f"space {self.name}: {gene.name}={shown} is not a choice; {listing(gene.words)} are")
            yield gene.values.index(value)

    def _values(self, architecture: PoseArchitecture) -> Iterator[Any]:
        yield from (architecture.stem.width, architecture.stem.kernel_size)
        for choices, stage in zip(self.stages, architecture.stages, strict=True):
            inner = self._rules.inner_width(stage.width, stage.expansion) or 0
            group = stage.groups if choices.groups else inner // stage.groups
            for name in self._genes_of(choices):
                yield group if name == "groups" else getattr(stage, name)
        yield from head_values(self.head, architecture.head)
        if self.input_sizes:
            yield architecture.input_size

    def contains(self, architecture: PoseArchitecture) -> bool:
        """Whether the architecture is a member, exactly (input size and keypoints included)."""
        try:
            self.encode(architecture)
        except InputError:
            return False
        return True

    def with_features_of(self, architecture: PoseArchitecture) -> PoseArchitecture:
        """The member with another network's stem and stages, whatever its head and input; the head is the largest's.

        Raises:
            InputError: the stem and the stages are none of the space.
        """
        if architecture.family != self.family:
            raise InputError(f"space {self.name}: is of the {self.family} family, not {architecture.family}")
        count = sum(gene.part <= len(self.stages) for gene in self.genes)  # those of stem and stages come first
        member = self.decode([*islice(self._indices(architecture), count), *self.encode(self.largest())[count:]])
        if (member.stem, member.stages) != (architecture.stem, architecture.stages):
            wanted = architecture.replace(head=member.head, input_size=member.input_size)
            raise InputError(f"space {self.name}: {_difference(member, wanted)}")
        return member

    # Operators ------------------------------------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> PoseArchitecture:
        """A random member: each gene uniform over its choices, group counts over those that fit the drawn width."""
        vector = [int(rng.integers(size)) for size in self.gene_sizes]
        at = {gene.name: index for index, gene in enumerate(self.genes)}
        for part, stage in enumerate(self.stages, 1):
            width = self._widths[part - 1][vector[at[self.width_gene(part)]]]
            expansion = stage.expansion[vector[at[f"stage{part}.expansion"]]]
            vector[at[f"stage{part}.groups"]] = int(rng.choice(self._stage_groups(stage, width, expansion)))
        last = self._widths[-1][vector[at[self.width_gene(len(self.stages))]]]
        head = self.head.width_choices[vector[at["head.width"]]]
        vector[at["head.groups"]] = int(rng.choice(self._head_groups(last, head)))
        return self.decode(vector)

    def mutate(
        self, architecture: PoseArchitecture, rng: np.random.Generator, rate: float | np.ndarray = 0.1
    ) -> PoseArchitecture:
        """Each gene moves with probability ``rate`` to another of its values; one gene at least changes the network.

        ``rate`` is one number, or one for each gene.
        """
        return operators.mutate(self, architecture, rng, rate)

    def crossover(
        self, first: PoseArchitecture, second: PoseArchitecture, rng: np.random.Generator
    ) -> PoseArchitecture:
        """Each gene from one of two parents, with equal probability."""
        return operators.crossover(self, first, second, rng)

    def smallest(self) -> PoseArchitecture:
        """The member with the least of everything, and the most groups that its widths allow."""
        return self._extreme(min)

    def largest(self) -> PoseArchitecture:
        """The member with the most of everything, and the fewest groups.

        It holds every shared weight, but for those of other kinds of blocks (:func:`search_spaces.kinds.with_each`) and
        those that heads of other kinds have for themselves (:meth:`of_each_head`).
        """
        return self._extreme(max)

    def of_each_head(self) -> tuple[PoseArchitecture, ...]:
        """The largest network, and what it is with the largest head of every other kind."""
        largest = self.largest()
        found = {largest.head.kind: largest}
        at = {gene.name: index for index, gene in enumerate(self.genes)}
        for kind in head_kinds(self.head):
            vector = list(self.encode(largest))
            for field, index in kind.items():
                vector[at[f"head.{field}"]] = index
            network = self.decode(vector)
            found.setdefault(network.head.kind, network)
        return tuple(found.values())

    def _extreme(self, pick: Any) -> PoseArchitecture:
        """Group counts are picked after the widths, because those decide which counts are legal."""
        inner = self._rules.inner_width
        vector: list[int] = []
        widths: list[int] = []
        for gene in self.genes:
            values: tuple[Any, ...] = gene.values
            if gene.field in kinds.KIND_FIELDS:  # which kind costs most depends on all else
                vector.append(0)
                continue
            if gene.field == "groups":
                values = self._weights_of_groups(gene, widths, pick)
            elif gene.field == "expansion":
                values = tuple(inner(widths[-1], expansion) or 0 for expansion in gene.values)
            elif gene.field == "input_size":
                values = tuple(range(len(gene.values)))
            vector.append(extreme_index(values, pick))
            if gene.field == "width":
                widths.append(gene.values[vector[-1]])
        return kinds.extreme(self, vector, pick)

    def _weights_of_groups(self, gene: Gene, widths: list[int], pick: Any) -> tuple[float, ...]:
        """A score a group choice, higher for more weights; the worst for choices that do not fit."""
        if gene.part <= len(self.stages):
            stage = self.stages[gene.part - 1]
            expansion = pick(stage.expansion, key=lambda e: self._rules.inner_width(widths[-1], e))
            legal = self._stage_groups(stage, widths[-1], expansion)
            weights = [-c if stage.groups else c for c in gene.values]
        else:
            legal = self._head_groups(widths[-2], widths[-1])
            weights = [-c for c in gene.values]
        illegal = -pick((-np.inf, np.inf))
        return tuple(weight if index in legal else illegal for index, weight in enumerate(weights))

    # Files ----------------------------------------------------------------------------------------------------------

    @cached_property
    def id(self) -> str:
        """Ten hexadecimal digits; the name does not enter."""
        fields = {**to_fields(self), "name": ""}
        return hashlib.sha256(canonical_json(fields).encode()).hexdigest()[:10]

    def replace(self, **changes: Any) -> SearchSpace:
        """A copy with other fields, validated again."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **to_fields(self)}

    @classmethod
    def from_json(cls, value: Any, where: str = "space") -> SearchSpace:
        """The space in a JSON (or YAML) object; a single value may stand for a list of one choice.

        Raises:
            InputError: a field is unknown, missing or mistyped, or the choices exclude each other.
        """
        if not isinstance(value, dict):
            raise InputError(f"{where}: expected an object with the fields name, family, stem, stages and head")
        return from_tagged(cls, _listed(dict(value)), FORMAT, where)

    @classmethod
    def load(cls, path: Path | str) -> SearchSpace:
        """The space in a JSON file."""
        return cls.from_json(read_json_object(Path(path)), where=str(path))


_STAGE_FIELDS = ("width", "depth", "kernel_size", "expansion", "groups", "attention")
_SINGLE = frozenset({"stride", "activation", "pyramid", "branches", "merge"})
_SINGLE_OF_HEAD = _SINGLE | {"normalization", *HEAD_GENES}


def _listed(fields: dict[str, Any]) -> dict[str, Any]:
    """``width: 32`` in a user's file means ``width: [32]``."""

    def listed(part: Any, single: frozenset[str] = _SINGLE) -> Any:
        if not isinstance(part, dict):
            return part
        return {k: v if k in single or isinstance(v, list | tuple) else [v] for k, v in part.items()}

    for key, single in (("stem", _SINGLE), ("head", _SINGLE_OF_HEAD)):
        if key in fields:
            fields[key] = listed(fields[key], single)
    if isinstance(fields.get("stages"), list):
        fields["stages"] = [listed(stage) for stage in fields["stages"]]
    return fields


def _nearest(legal: Sequence[int], index: int) -> int:
    """The legal index nearest to ``index``; the lower one of two equally near."""
    return min(legal, key=lambda candidate: (abs(candidate - index), candidate))


def _difference(expected: PoseArchitecture, found: PoseArchitecture) -> str:
    """Names the first field in which two architectures differ."""
    for name in ("family", "input_size", "stem", "stages", "head"):
        ours, theirs = getattr(expected, name), getattr(found, name)
        if ours != theirs:
            return f"{name} {theirs} does not fit; {ours} would"
    return "the two are equal"
