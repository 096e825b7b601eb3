"""The weight-sharing supernet: it owns the parameters of the largest network, and subnets are views of them.

The networks of a video's frames are subnets as well. All frame positions share one storage; a frame without fusion is
the image network, number for number. A fusion's projections are shared by all networks that have it: one for each pair
of a feature and an operation, of the stage's largest width, of which narrower stages read the leading channels.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from search_spaces import (
    FusionChoice,
    InputError,
    PoseArchitecture,
    PropagatedFrame,
    SearchSpace,
    VideoArchitecture,
    VideoSearchSpace,
)

from .calibration import UncalibratedSubnet, UncalibratedVideo
from .initial import initial_store
from .layout import Layout
from .networks import Fusion, PoseNet, PropagatedNet, SimCC, VideoPoseNet, build_frame, build_part, part_name
from .sharing import Reader, Sharing, fusion_prefix, read_all, readers, written_back
from .storage import check_names, open_storage, save_storage

__all__ = ["Network", "Supernet"]

CACHED_SUBNETS = 256

Network = PoseArchitecture | PropagatedFrame
"""What says which subnet is meant; a frame without fusion is its network alone."""


@dataclass(frozen=True, slots=True)
class _Subnet:
    """A static network on the meta device, with the readers that fill it."""

    net: PoseNet
    readers: dict[str, Reader]


class Supernet(nn.Module):
    """All networks of a search space in one set of weights.

    ``supernet(images, architecture)`` runs one of them; the architecture is an argument, never a state. Gradients reach
    the shared storage through the views. ``supernet.extract(architecture)`` gives a static network with copies.

    Args:
        space: of images, or of videos: then all propagated frames' networks, with their fusions; the key frame's
            network is not part of it.
        sharing: which weights a subnet reads.
        generator: draws the weights.
    """

    def __init__(
        self,
        space: SearchSpace | VideoSearchSpace,
        sharing: Sharing | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.video = space if isinstance(space, VideoSearchSpace) else None
        """The video space, where the networks are those of its frames."""
        self.space = space.spatial if isinstance(space, VideoSearchSpace) else space
        """What each network is a member of."""
        self.sharing = sharing or Sharing()
        self._layout = Layout.of(self.space)
        generator = generator or torch.Generator().manual_seed(0)
        store = initial_store(self.space, self.fusions, self._layout, self.sharing, generator)
        self._store = nn.ParameterDict()
        for name, value in store.items():
            self._store[_key(name)] = nn.Parameter(value)
        self._subnets: OrderedDict[Network, _Subnet] = OrderedDict()

    @property
    def fusions(self) -> tuple[FusionChoice, ...]:
        """Those that a network may have; none at all for images."""
        return () if self.video is None else self.video.fusions

    @property
    def bands(self) -> dict[int, int]:
        """Stage (from 1) → channels of its widest group, where a band of the grouped weights is stored."""
        return self._layout.bands

    @property
    def store(self) -> dict[str, Tensor]:
        """The shared storage: name → parameter."""
        return {key.replace("/", "."): value for key, value in self._store.items()}

    # Networks -------------------------------------------------------------------------------------------------------

    def forward(
        self, images: Tensor, network: Network, previous_heatmaps: Tensor | None = None
    ) -> Tensor | SimCC:
        """Heatmaps ``(N, K, H/4, W/4)``, or :class:`SimCC`, of one subnet.

        In train mode BatchNorm uses the statistics of the batch. In eval mode a subnet is not calibrated: its
        BatchNorm has mean 0 and variance 1, as after :meth:`extract`.

        Args:
            images: ``(N, 3, H, W)``.
            network: the subnet.
            previous_heatmaps: ``(N, K, H/4, W/4)`` of the frame before, resampled to this crop; not used without
                fusion.

        Raises:
            InputError: the network is not a member of the space.
            ValueError: there is a fusion, and there are no heatmaps.
        """
        subnet = self._subnet(network)
        if subnet.net.training != self.training:
            _set_mode(subnet.net, training=self.training)
        tensors = read_all(subnet.readers, self.store)
        if not self.training:
            tensors.update(_fresh_buffers(subnet.net, images.device))
        inputs = (images, previous_heatmaps) if isinstance(subnet.net, PropagatedNet) else (images,)
        return functional_call(subnet.net, tensors, inputs)

    def extract(self, network: Network) -> UncalibratedSubnet:
        """A static network with copies of the weights; its BatchNorm is to be calibrated.

        Raises:
            InputError: the network is not a member of the space.
        """
        store, subnet = self.store, self._subnet(network)
        with torch.no_grad():
            state = {name: read(store).detach().clone() for name, read in subnet.readers.items()}
        net = self._build(network)
        state.update(_fresh_buffers(net, next(iter(state.values())).device))
        net.load_state_dict(state, assign=True)
        for parameter in net.parameters():
            parameter.requires_grad_(True)
        return UncalibratedSubnet(net.train(self.training))

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
        """One part (0 the stem, s stage s, the last the head) with copies of the weights, its BatchNorm uncalibrated.

        For evaluators that reuse what candidates have in common; the architecture is not checked for membership.
        """
        part, store = build_part(architecture, index), self.store
        prefix = part_name(architecture, index)
        for name, read in readers(part, self.sharing, self._layout, prefix).items():
            part.get_parameter(name.removeprefix(prefix)).copy_(read(store))
        return part.train(self.training)

    @torch.no_grad()
    def extract_fusion(self, frame: PropagatedFrame) -> Fusion:
        """A frame's fusion, as :meth:`extract_part` gives a part."""
        fusion, prefix, store = Fusion(frame.architecture, frame.fusion), fusion_prefix(frame.fusion), self.store
        for name, read in readers(fusion, self.sharing, self._layout, prefix).items():
            fusion.get_parameter(name.removeprefix(prefix)).copy_(read(store))
        return fusion.train(self.training)

    def _subnet(self, network: Network) -> _Subnet:
        subnet = self._subnets.get(network)
        if subnet is None:
            net = self._build(network)
            _set_mode(net, training=self.training)
            subnet = self._subnets[network] = _Subnet(net, self._readers(net))
            if len(self._subnets) > CACHED_SUBNETS:
                self._subnets.popitem(last=False)
        else:
            self._subnets.move_to_end(network)
        return subnet

    def _build(self, network: Network) -> PoseNet:
        """The static network on the meta device. Raises InputError where it is no member: names what does not fit."""
        frame = network if isinstance(network, PropagatedFrame) else PropagatedFrame(architecture=network)
        if self.video is not None:
            self.video.encode_frame(frame)
        elif frame.fusion.is_none:
            self.space.encode(frame.architecture)
        else:
            raise InputError(f"space {self.space.name}: fusion {frame.fusion} is not a choice; it is a space of images")
        with torch.device("meta"):
            return build_frame(frame)

    def _readers(self, net: PoseNet) -> dict[str, Reader]:
        found = readers(net, self.sharing, self._layout)
        if isinstance(net, PropagatedNet):
            shared = fusion_prefix(net.frame.fusion)
            of_fusion = readers(net.fusion, self.sharing, self._layout, shared)
            found |= {f"fusion.{name.removeprefix(shared)}": read for name, read in of_fusion.items()}
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_subnets": OrderedDict()}  # readers are closures; they are made again

    # Weights from elsewhere -----------------------------------------------------------------------------------------

    def adopt(self, net: PoseNet) -> None:
        """Write a trained network's weights over those that it shares: the reverse of :meth:`extract`.

        Raises:
            InputError: its architecture is not a member of the space; or a weight is computed from larger kernels.
        """
        self._adopt(net, self._subnet(net.architecture).readers)

    def adopt_features(self, net: PoseNet) -> None:
        """As :meth:`adopt`, the stem and the stages alone: the head and the input size may be others than the space's.

        Raises:
            InputError: the stem and the stages are none of the space; or as there.
        """
        member = self.space.with_features_of(net.architecture)
        readers = self._subnet(member).readers
        self._adopt(net, {name: read for name, read in readers.items() if not name.startswith("head.")})

    def _adopt(self, net: PoseNet, readers: Mapping[str, Reader]) -> None:
        what = f"network {net.architecture.id}"
        self.load_store(written_back(readers, self.store, net, what), what)

    def load_spatial(self, supernet: Supernet) -> None:
        """Begin with the weights of an image supernet of the same space; the fusions stay as they are.

        Raises:
            InputError: it is of another space, or shares its weights by another rule.
        """
        space = self.space
        if supernet.space.id != space.id:
            raise InputError(
                f"temporal supernet: the image supernet is of the space {supernet.space.name!r} "
                f"({supernet.space.id}), not of {space.name!r} ({space.id})"
            )
        if supernet.sharing != self.sharing:
            raise InputError(f"temporal supernet: the image supernet has {supernet.sharing}, not {self.sharing}")
        self.load_store({**self.store, **supernet.store}, "image supernet")

    def load_store(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Copy weights into the storage; names and shapes must be equal."""
        store = self.store
        check_names(set(store), set(tensors), where)
        with torch.no_grad():
            for name, value in store.items():
                if value.shape != tensors[name].shape:
                    shapes = f"{tuple(tensors[name].shape)}, expected {tuple(value.shape)}"
                    raise InputError(f"{where}: {name} has shape {shapes}")
                value.copy_(tensors[name])

    # Files ----------------------------------------------------------------------------------------------------------

    def save(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write the weights as safetensors, with the space and the sharing rule in the header."""
        save_storage(path, self.video or self.space, self.sharing, self.store, metadata or {})

    @classmethod
    def load(
        cls, path: Path, space: SearchSpace | VideoSearchSpace | type[SearchSpace | VideoSearchSpace] | None = None
    ) -> Supernet:
        """The supernet in a file, of images or of videos.

        Args:
            path: a file that :meth:`save` wrote.
            space: what the file must hold: a space, or any one of this type; None takes the space of the file.

        Raises:
            InputError: no such file, not such a supernet, damaged, or of another space.
        """
        found, sharing, tensors = open_storage(path, space)
        supernet = cls(found, sharing)
        supernet.load_store(tensors, str(path))
        return supernet


def _key(name: str) -> str:
    return name.replace(".", "/")  # a parameter's name may not hold a dot


def _set_mode(net: nn.Module, *, training: bool) -> None:
    """As ``net.train(training)``; in training BatchNorm keeps no statistics, which nobody would read."""
    for layer in net.train(training).modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.track_running_stats = not training


def _fresh_buffers(net: nn.Module, device: torch.device) -> dict[str, Tensor]:
    """BatchNorm buffers that nobody shares: statistics of one subnet mean nothing to another."""
    buffers: dict[str, Tensor] = {}
    for path, layer in net.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            buffers[f"{path}.running_mean"] = torch.zeros(layer.num_features, device=device)
            buffers[f"{path}.running_var"] = torch.ones(layer.num_features, device=device)
            buffers[f"{path}.num_batches_tracked"] = torch.zeros((), dtype=torch.long, device=device)
    return buffers
