"""The weight-sharing supernet: it owns the parameters of the largest network, and subnets are views of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from search_spaces import PoseArchitecture, SearchSpace

from .calibration import UncalibratedSubnet
from .networks import PoseNet, build_part, part_name
from .sharing import Reader, Sharing
from .spatial import SpatialSharing
from .storage import SharedStorage, open_storage

__all__ = ["Supernet"]


class Supernet(SharedStorage[PoseArchitecture]):
    """All networks of a search space in one set of weights.

    ``supernet(images, architecture)`` runs one of them; the architecture is an argument, never a state. Gradients reach
    the shared storage through the views. ``supernet.extract(architecture)`` gives a static network with copies.
    """

    FORMAT = "vipnas-supernet/1"

    def __init__(
        self, space: SearchSpace, sharing: Sharing | None = None, generator: torch.Generator | None = None
    ) -> None:
        spatial = SpatialSharing(space, sharing or Sharing())
        super().__init__(spatial.initial_store(generator or torch.Generator().manual_seed(0)))
        self.space, self.sharing, self._spatial = space, spatial.sharing, spatial

    @property
    def bands(self) -> dict[int, int]:
        """Stage (from 1) → channels of its widest group, where a band of the grouped weights is stored."""
        return self._spatial.bands

    def forward(self, images: Tensor, architecture: PoseArchitecture) -> Tensor:
        """Heatmaps ``(N, K, H/4, W/4)`` of one subnet.

        In train mode BatchNorm uses the statistics of the batch. In eval mode a subnet is not calibrated: its
        BatchNorm has mean 0 and variance 1, as after :meth:`extract`.

        Raises:
            InputError: the architecture is not a member of the space.
        """
        return self._run(architecture, images)

    def extract(self, architecture: PoseArchitecture) -> UncalibratedSubnet:
        """A static network with copies of the weights; its BatchNorm is to be calibrated."""
        return self._extract(architecture)

    def adopt(self, net: PoseNet) -> None:
        """Write a trained network's weights over those that it shares: the reverse of :meth:`extract`.

        Raises:
            InputError: its architecture is not a member of the space; or a weight is computed from larger kernels.
        """
        self._adopt(net.architecture, net, f"network {net.architecture.id}")

    @torch.no_grad()
    def extract_part(self, architecture: PoseArchitecture, index: int) -> nn.Module:
        """One part (0 the stem, s stage s, the last the head) with copies of the weights, its BatchNorm uncalibrated.

        For evaluators that reuse what candidates have in common; the architecture is not checked for membership.
        """
        part, store = build_part(architecture, index), self.store
        prefix = part_name(architecture, index)
        for name, read in self._readers(part, prefix).items():
            part.get_parameter(name.removeprefix(prefix)).copy_(read(store))
        return part.train(self.training)

    def _network(self, key: PoseArchitecture) -> PoseNet:
        self.space.encode(key)  # names what does not fit
        return PoseNet(key)

    def _readers(self, net: nn.Module, prefix: str = "") -> dict[str, Reader]:
        return self._spatial.readers(net, prefix)

    # Files ----------------------------------------------------------------------------------------------------------

    def save(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write the weights as safetensors, with the space and the sharing rule in the header."""
        self._save(path, self.space, self.sharing, metadata or {})

    @classmethod
    def load(cls, path: Path, space: SearchSpace | None = None) -> Supernet:
        """The supernet in a file.

        Args:
            path: a file that :meth:`save` wrote.
            space: what the file must hold; None takes the space of the file.

        Raises:
            InputError: no such file, not a supernet, damaged, or of another space.
        """
        found, sharing, tensors = open_storage(path, cls.FORMAT, "supernet", space, SearchSpace.from_json)
        supernet = cls(found, sharing)
        supernet.load_store(tensors, str(path))
        return supernet
