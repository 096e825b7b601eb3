"""The search space of the temporal level: for each propagated frame a network of a spatial space, and a fusion.

A genome is the T frames' spatial genomes, each followed by one gene for the fusion, whose values are ``none`` and every
pair of a feature and an operation. So each video architecture has one vector, as in :mod:`search_spaces.space`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from . import kinds, operators
from .architecture import PoseArchitecture
from .catalogue import get_space, states_keypoints
from .choices import Gene
from .errors import InputError
from .fields import canonical_json, from_tagged, read_json_object, to_fields
from .space import SearchSpace
from .video import (
    MAX_FRAMES,
    FusionChoice,
    Operation,
    PropagatedFrame,
    VideoArchitecture,
    check_same_maps,
    resize_factors,
)
from .video_costs import fusion_cost
from .yaml_files import is_file_name, read_yaml

__all__ = ["VideoSearchSpace", "get_video_space"]

FORMAT = "vipnas-video-space/1"
ALL_OPERATIONS: tuple[Operation, ...] = ("add", "mul", "cat")


@dataclass(frozen=True, kw_only=True)
class VideoSearchSpace:
    """Choices for ``length`` propagated frames after a key frame whose network is given. Immutable.

    ``features`` and ``operations`` are what a fusion may be besides ``none``; without either, there is no fusion.
    """

    name: str
    spatial: SearchSpace
    key: PoseArchitecture
    features: tuple[int, ...]
    operations: tuple[Operation, ...] = ALL_OPERATIONS
    length: int = 3

    def __post_init__(self) -> None:
        where = f"space {self.name}"
        if self.spatial.input_sizes:
            raise InputError(
                f"{where}: the networks of a clip have one input size, {self.spatial.name} has "
                f"{len(self.spatial.sizes)}; leave input_sizes out"
            )
        if not 1 <= self.length <= MAX_FRAMES:
            raise InputError(f"{where}: {self.length} propagated frames; from 1 to {MAX_FRAMES} are possible")
        for field in ("features", "operations"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise InputError(f"{where}: {field} {list(values)} names a choice twice")
        for operation in self.operations:
            if operation not in ALL_OPERATIONS:
                raise InputError(f"{where}: operation {operation!r} is not possible; choose from {ALL_OPERATIONS}")
        for network in self.spatial.of_each_head():
            check_same_maps(self.key, network, where)
        smallest = self.spatial.smallest()
        for feature in self.features:
            resize_factors(smallest, feature)  # strides are no choice: what fits one member fits all

    # What is legal --------------------------------------------------------------------------------------------------

    @cached_property
    def fusions(self) -> tuple[FusionChoice, ...]:
        """The values of a frame's last gene: ``none`` first."""
        pairs = [(feature, operation) for feature in self.features for operation in self.operations]
        return (FusionChoice.none(), *(FusionChoice(feature=f, operation=o) for f, o in pairs))

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The genome's layout, frame after frame; a gene's ``part`` is that of its network."""
        genes: list[Gene] = []
        for frame in range(1, self.length + 1):
            genes += [dataclasses.replace(gene, name=f"frame{frame}.{gene.name}") for gene in self.spatial.genes]
            part = len(self.spatial.stages) + 2
            genes.append(Gene(part=part, name=f"frame{frame}.fusion", field="fusion", values=self.fusions))
        return tuple(genes)

    @property
    def gene_names(self) -> tuple[str, ...]:
        return tuple(gene.name for gene in self.genes)

    @property
    def unordered_genes(self) -> tuple[int, ...]:
        """Which genes have choices without an order."""
        return kinds.places(self.genes)

    @property
    def gene_sizes(self) -> tuple[int, ...]:
        """How many choices each gene has."""
        return (*self.spatial.gene_sizes, len(self.fusions)) * self.length

    @cached_property
    def size(self) -> int:
        """The exact number of different video architectures."""
        return (self.spatial.size * len(self.fusions)) ** self.length

    @property
    def input_size(self) -> tuple[int, int]:
        return self.spatial.input_size

    @property
    def heatmap_size(self) -> tuple[int, int]:
        return self.key.heatmap_size

    @property
    def keypoints(self) -> int:
        return self.spatial.keypoints

    # Vectors --------------------------------------------------------------------------------------------------------

    def decode(self, vector: Sequence[int]) -> VideoArchitecture:
        """The video architecture of an integer vector.

        Raises:
            InputError: the vector is too long or short, or an entry is not an index of its gene.
        """
        count = len(self.spatial.genes) + 1
        if len(vector) != count * self.length:
            raise InputError(f"space {self.name}: a genome has {count * self.length} genes, got {len(vector)}")
        frames = []
        for frame in range(self.length):
            *network, fusion = vector[frame * count : (frame + 1) * count]
            if not 0 <= int(fusion) < len(self.fusions):
                last = len(self.fusions) - 1
                raise InputError(f"space {self.name}: frame{frame + 1}.fusion={fusion}; from 0 to {last} are possible")
            frames.append(PropagatedFrame(architecture=self.spatial.decode(network), fusion=self.fusions[int(fusion)]))
        return VideoArchitecture(key=self.key, frames=tuple(frames))

    def encode(self, architecture: VideoArchitecture) -> tuple[int, ...]:
        """The canonical vector of a member: ``decode(encode(a)) == a``, and equal networks have equal vectors.

        Raises:
            InputError: it is not a member; the message names the first thing that does not fit.
        """
        if architecture.key != self.key:
            raise InputError(f"space {self.name}: the key frame's network is {architecture.key.id}, not {self.key.id}")
        if architecture.length != self.length:
            raise InputError(f"space {self.name}: {architecture.length} propagated frames, {self.length} are asked")
        vector: list[int] = []
        for position, frame in enumerate(architecture.frames, 1):
            vector += self.encode_frame(frame, f"frame {position}")
        return tuple(vector)

    def encode_frame(self, frame: PropagatedFrame, where: str = "frame") -> tuple[int, ...]:
        """One frame's part of a vector.

        Raises:
            InputError: the frame's network or its fusion is not a choice.
        """
        if frame.fusion not in self.fusions:
            choices = ", ".join(map(str, self.fusions))
            raise InputError(f"space {self.name}: {where}: fusion {frame.fusion} is not a choice; {choices} are")
        return (*self.spatial.encode(frame.architecture), self.fusions.index(frame.fusion))

    def contains(self, architecture: VideoArchitecture) -> bool:
        """Whether the video architecture is a member, exactly (the key frame's network included)."""
        try:
            self.encode(architecture)
        except InputError:
            return False
        return True

    # Operators ------------------------------------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> VideoArchitecture:
        """A random member: each frame's network as the spatial space draws it, its fusion uniform over all choices."""
        return self._of([(self.spatial.sample(rng), self.sample_fusion(rng)) for _ in range(self.length)])

    def sample_fusion(self, rng: np.random.Generator) -> FusionChoice:
        """One of :attr:`fusions`."""
        return self.fusions[int(rng.integers(len(self.fusions)))]

    def mutate(
        self, architecture: VideoArchitecture, rng: np.random.Generator, rate: float | np.ndarray = 0.1
    ) -> VideoArchitecture:
        """As :meth:`SearchSpace.mutate`."""
        return operators.mutate(self, architecture, rng, rate)

    def crossover(
        self, first: VideoArchitecture, second: VideoArchitecture, rng: np.random.Generator
    ) -> VideoArchitecture:
        """Each gene from one of two parents, with equal probability."""
        return operators.crossover(self, first, second, rng)

    def smallest(self) -> VideoArchitecture:
        """The spatial space's smallest network in every frame, without fusion."""
        return self._of([(self.spatial.smallest(), FusionChoice.none())] * self.length)

    def largest(self) -> VideoArchitecture:
        """The spatial space's largest network in every frame, with the fusion that multiplies most in it."""
        network = self.spatial.largest()
        fusion = max(self.fusions, key=lambda choice: 0 if choice.is_none else fusion_cost(network, choice).macs)
        return self._of([(network, fusion)] * self.length)

    def _of(self, frames: Sequence[tuple[PoseArchitecture, FusionChoice]]) -> VideoArchitecture:
        return VideoArchitecture(
            key=self.key, frames=tuple(PropagatedFrame(architecture=a, fusion=fusion) for a, fusion in frames)
        )

    # Files ----------------------------------------------------------------------------------------------------------

    @cached_property
    def id(self) -> str:
        """Ten hexadecimal digits; the names do not enter."""
        fields = {**to_fields(self), "name": "", "spatial": {**to_fields(self.spatial), "name": ""}}
        return hashlib.sha256(canonical_json(fields).encode()).hexdigest()[:10]

    def replace(self, **changes: Any) -> VideoSearchSpace:
        """A copy with other fields, validated again."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **to_fields(self)}

    @classmethod
    def from_json(cls, value: Any, where: str = "video space") -> VideoSearchSpace:
        """The space in a JSON (or YAML) object.

        ``spatial`` may be the name of a space; ``name``, ``key`` and ``features`` have the defaults of
        :func:`get_video_space`.

        Raises:
            InputError: a field is unknown, missing or mistyped, or the choices exclude each other.
        """
        if not isinstance(value, dict) or "spatial" not in value:
            raise InputError(f"{where}: expected an object with the field spatial, a search space or its name")
        fields = dict(value)
        spatial = fields["spatial"]
        if isinstance(spatial, str):
            spatial = get_space(spatial)
        else:
            spatial = SearchSpace.from_json(spatial, where=f"{where}.spatial")
        key = spatial.largest()
        if "key" in fields:
            key = PoseArchitecture.from_json(fields["key"], where=f"{where}.key")
        defaults = {"name": _name(spatial), "features": _features(spatial)}
        return from_tagged(cls, {**defaults, **fields, "spatial": spatial, "key": key}, FORMAT, where)

    @classmethod
    def load(cls, path: Path | str) -> VideoSearchSpace:
        """The space in a JSON file."""
        return cls.from_json(read_json_object(Path(path)), where=str(path))


def get_video_space(
    name: str | Path,
    frames: int = 3,
    key: PoseArchitecture | None = None,
    *,
    features: Sequence[int] | None = None,
    operations: Sequence[Operation] = ALL_OPERATIONS,
) -> VideoSearchSpace:
    """The video space over a spatial one, or the one in a YAML or JSON file.

    Args:
        name: of a spatial space (``resnet-tiny``, …), or the path of a file with a spatial space. A file that holds a
            video space (it has a field ``spatial``) says everything itself.
        frames: T, the number of propagated frames.
        key: the key frame's network; by default the spatial space's largest. Where the spatial space does not say how
            many keypoints, they are as many as this network's.
        features: stages (from 1) after which a fusion may be; by default all whose size fits the heatmaps'.
        operations: what a fusion may be.

    Raises:
        InputError: there is no such space, or the parts do not fit together.
    """
    if is_file_name(name):
        content = read_yaml(Path(name))
        if isinstance(content, dict) and "spatial" in content:
            return VideoSearchSpace.from_json(content, where=str(name))
    spatial = get_space(name)
    if key is not None and not states_keypoints(name):
        spatial = dataclasses.replace(spatial, keypoints=key.keypoints)
    return VideoSearchSpace(
        name=_name(spatial),
        spatial=spatial,
        key=key or spatial.largest(),
        features=_features(spatial) if features is None else tuple(features),
        operations=tuple(operations),
        length=frames,
    )


def _name(spatial: SearchSpace) -> str:
    return f"{spatial.name}-video"


def _features(spatial: SearchSpace) -> tuple[int, ...]:
    """The stages whose output fits the heatmaps."""
    network, fitting = spatial.smallest(), []
    for feature in range(1, len(spatial.stages) + 1):
        try:
            resize_factors(network, feature)
        except InputError:
            continue
        fitting.append(feature)
    return tuple(fitting)
