"""The temporal supernet: the networks of all propagated frames, with their fusions, in one set of weights.

All frame positions share one spatial storage. A fusion's projections are shared by all networks that have it: one for
each pair of a feature and an operation, of the stage's largest width, of which narrower stages read the leading
channels.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from search_spaces import (
    FusionChoice,
    InputError,
    PoseArchitecture,
    PropagatedFrame,
    VideoArchitecture,
    VideoSearchSpace,
)

from .calibration import UncalibratedSubnet, UncalibratedVideo
from .networks import Fusion, PoseNet, PropagatedNet, VideoPoseNet, build_frame, build_part, initialize, part_name
from .sharing import Reader, Sharing, readers
from .spatial import SpatialSharing
from .storage import SharedStorage, open_storage
from .supernet import Supernet

__all__ = ["TemporalSupernet"]


class TemporalSupernet(SharedStorage[PropagatedFrame]):
    """All propagated frames of a video space in one set of weights; the key frame's network is not part of it."""

    FORMAT = "vipnas-temporal-supernet/1"

    def __init__(
        self, space: VideoSearchSpace, sharing: Sharing | None = None, generator: torch.Generator | None = None
    ) -> None:
        spatial = SpatialSharing(space.spatial, sharing or Sharing())
        generator = generator or torch.Generator().manual_seed(0)
        super().__init__({**spatial.initial_store(generator), **_initial_fusions(space, generator)})
        self.space, self.sharing, self._spatial = space, spatial.sharing, spatial

    def forward(
        self,
        images: Tensor,
        previous_heatmaps: Tensor | None,
        architecture: PoseArchitecture,
        fusion: FusionChoice | None = None,
    ) -> Tensor:
        """Heatmaps ``(N, K, h, w)`` of one frame's network; see :meth:`Supernet.forward` for BatchNorm.

        Args:
            images: ``(N, 3, H, W)``.
            previous_heatmaps: ``(N, K, h, w)`` of the frame before, resampled to this crop; not used without fusion.
            architecture: the frame's network.
            fusion: where the heatmaps come in; None for nowhere.

        Raises:
            InputError: the architecture or the fusion is not a member of the space.
            ValueError: there is a fusion, and there are no heatmaps.
        """
        frame = PropagatedFrame(architecture=architecture, fusion=fusion or FusionChoice.none())
        if frame.fusion.is_none:
            return self._run(frame, images)
        if previous_heatmaps is None:
            raise ValueError(f"a network with the fusion {fusion} needs the previous frame's heatmaps")
        return self._run(frame, images, previous_heatmaps)

    def extract(self, frame: PropagatedFrame) -> UncalibratedSubnet:
        """A static network with copies of the weights; its BatchNorm is to be calibrated."""
        return self._extract(frame)

    def extract_video(
        self, architecture: VideoArchitecture, key: PoseNet, stride: tuple[float, float] | None = None
    ) -> UncalibratedVideo:
        """A static video network: copies of the key frame's (calibrated) network and of the frames' weights.

        Args:
            stride: see :class:`VideoPoseNet`.

        Raises:
            InputError: it is not a member of the space, or the key frame's network is another one.
        """
        if key.architecture != architecture.key:
            raise InputError(f"video: the key frame's network is {key.architecture.id}, not {architecture.key.id}")
        with torch.device("meta"):
            net = VideoPoseNet(architecture, stride=stride)
        net.key = copy.deepcopy(key).eval()
        net.frames = nn.ModuleList(self.extract(frame).module for frame in architecture.frames)
        return UncalibratedVideo(net)

    @torch.no_grad()
    def extract_part(self, architecture: PoseArchitecture, index: int) -> nn.Module:
        """As :meth:`Supernet.extract_part`."""
        part, prefix, store = build_part(architecture, index), part_name(architecture, index), self.store
        for name, read in self._spatial.readers(part, prefix).items():
            part.get_parameter(name.removeprefix(prefix)).copy_(read(store))
        return part.train(self.training)

    @torch.no_grad()
    def extract_fusion(self, frame: PropagatedFrame) -> nn.Module:
        """A frame's fusion, as :meth:`extract_part` gives a part."""
        fusion, prefix, store = Fusion(frame.architecture, frame.fusion), _prefix(frame.fusion), self.store
        for name, read in readers(fusion, self.sharing, {}, frozenset(), prefix=prefix).items():
            fusion.get_parameter(name.removeprefix(prefix)).copy_(read(store))
        return fusion.train(self.training)

    def load_spatial(self, supernet: Supernet) -> None:
        """Begin with the weights of an image supernet of the same spatial space; the fusions stay as they are.

        Raises:
            InputError: it is of another space, or shares its weights by another rule.
        """
        space = self.space.spatial
        if supernet.space.id != space.id:
            raise InputError(
                f"temporal supernet: the image supernet is of the space {supernet.space.name!r} "
                f"({supernet.space.id}), not of {space.name!r} ({space.id})"
            )
        if supernet.sharing != self.sharing:
            raise InputError(f"temporal supernet: the image supernet has {supernet.sharing}, not {self.sharing}")
        self.load_store({**self.store, **supernet.store}, "image supernet")

    def adopt(self, net: PoseNet) -> None:
        """Write a trained image network's weights over those that it shares, such as the key frame's.

        Raises:
            InputError: its architecture is not one of the frames'; or a weight is computed from larger kernels.
        """
        frame = PropagatedFrame(architecture=net.architecture, fusion=FusionChoice.none())
        self._adopt(frame, net, f"network {net.architecture.id}")

    def _network(self, key: PropagatedFrame) -> PoseNet:
        self.space.encode_frame(key)  # names what does not fit
        return build_frame(key)

    def _readers(self, net: nn.Module, prefix: str = "") -> dict[str, Reader]:
        if not isinstance(net, PropagatedNet):
            return self._spatial.readers(net, prefix)
        found = {n: read for n, read in self._spatial.readers(net, prefix).items() if not n.startswith("fusion.")}
        shared = _prefix(net.frame.fusion)
        of_fusion = readers(net.fusion, self.sharing, {}, frozenset(), prefix=shared)
        return {**found, **{f"fusion.{name.removeprefix(shared)}": read for name, read in of_fusion.items()}}

    # Files ----------------------------------------------------------------------------------------------------------

    def save(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write the weights as safetensors, with the video space and the sharing rule in the header."""
        self._save(path, self.space, self.sharing, metadata or {})

    @classmethod
    def load(cls, path: Path, space: VideoSearchSpace | None = None) -> TemporalSupernet:
        """The temporal supernet in a file.

        Args:
            path: a file that :meth:`save` wrote.
            space: what the file must hold; None takes the space of the file.

        Raises:
            InputError: no such file, not a temporal supernet, damaged, or of another space.
        """
        found, sharing, tensors = open_storage(path, cls.FORMAT, "temporal supernet", space, VideoSearchSpace.from_json)
        supernet = cls(found, sharing)
        supernet.load_store(tensors, str(path))
        return supernet


def _prefix(fusion: FusionChoice) -> str:
    """What stands before the names of a fusion's parameters in the storage."""
    return f"fusions.{fusion.feature}.{fusion.operation}."


def _initial_fusions(space: VideoSearchSpace, generator: torch.Generator) -> dict[str, Tensor]:
    """The fusions' parameters at each stage's largest width."""
    store: dict[str, Tensor] = {}
    widest = space.spatial.largest()
    for choice in space.fusions:
        if not choice.is_none:
            fusion = Fusion(widest, choice)
            initialize(fusion, generator)
            store.update({f"{_prefix(choice)}{name}": value.detach() for name, value in fusion.named_parameters()})
    return store
