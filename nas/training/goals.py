"""What the networks of a supernet learn in one step, where their outputs may be of several forms.

Heatmaps of each size, of inputs of each size, and SimCC have targets of their own, by their own codec, and a loss of
their own. The largest network teaches those whose output it has: its heatmaps are brought to the size of others', and
to what their inputs show; between heatmaps and SimCC nothing is taught.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nas.data.codecs import Codec
from nas.data.resizing import Resizing
from nas.data.tensors import ClipBatch, ClipTensors
from nas.training.losses import HeatmapLoss, MixedTarget, heatmap_loss, target_mixing
from search_spaces import PoseArchitecture, SearchSpace
from search_spaces.layers import Size

__all__ = ["Goals", "OutputForm", "OutputKey", "of_each_output", "output_forms", "resized_heatmaps"]


class OutputKey(NamedTuple):
    """What tells the forms of a space's outputs apart."""

    input_size: Size
    heatmap_size: Size | None
    """None of SimCC."""

    @classmethod
    def of(cls, architecture: PoseArchitecture) -> OutputKey:
        return cls(architecture.input_size, None if architecture.is_simcc else architecture.heatmap_size)


@dataclass(frozen=True)
class OutputForm:
    """How networks with one form of output are taught."""

    codec: Codec
    loss: HeatmapLoss
    mix: MixedTarget
    has_fixed_sum: bool
    """Whether heatmaps sum to 2πσ², as targets do: those of a softmax."""


def of_each_output(space: SearchSpace) -> list[PoseArchitecture]:
    """Networks of a space that between them have every form of output, the largest first."""
    return [network.replace(input_size=size) for size in reversed(space.sizes) for network in space.of_each_head()]


def output_forms(
    networks: Sequence[PoseArchitecture], codec: Codec, codec_of: Callable[[PoseArchitecture], Codec], loss: str
) -> dict[OutputKey, OutputForm]:
    """The forms of these networks' outputs.

    Args:
        codec: of the first network, by which batches come with targets.
        codec_of: of the others.
        loss: as of :func:`~nas.training.losses.heatmap_loss`.

    Raises:
        InputError: the loss or the data's codec does not suit one of them.
    """
    found: dict[OutputKey, OutputForm] = {}
    for number, network in enumerate(networks):
        if (key := OutputKey.of(network)) not in found:
            its = codec_of(network) if number else codec
            fixed = network.head.normalization == "softmax"
            found[key] = OutputForm(its, heatmap_loss(loss, network), target_mixing(network), fixed)
    return found


class Goals:
    """The targets of one batch.

    Args:
        forms: as :func:`output_forms` gives them; the first is that of the batch's own targets.
        clip: the batch's tensors.
        batch: what other targets are drawn from.
        share: of a teacher's output in the targets of whom it teaches.
    """

    def __init__(self, forms: dict[OutputKey, OutputForm], clip: ClipTensors, batch: ClipBatch, share: float) -> None:
        self._forms, self._batch, self._share = forms, batch, share
        self._device = clip.targets.device
        self._truth = {next(iter(forms)): (clip.targets, clip.weights)}
        self._taught: dict[int, tuple[OutputKey, Tensor]] = {}
        self._mixed: dict[tuple[int, OutputKey], Tensor] = {}

    def loss(self, position: int, network: PoseArchitecture, output: Tensor) -> Tensor:
        """Of what the network gives for the frames at that position of the clips."""
        key = OutputKey.of(network)
        form = self._forms[key]
        target, weights = self._target(position, key)
        return form.loss(output, target, weights)

    def teach(self, position: int, network: PoseArchitecture, output: Tensor) -> None:
        """From now on the network's output is part of the targets at that position, where it can be."""
        self._taught[position] = (OutputKey.of(network), output.detach())
        self._mixed.clear()

    def _target(self, position: int, key: OutputKey) -> tuple[Tensor, Tensor]:
        form = self._forms[key]
        if key not in self._truth:
            self._truth[key] = self._batch.targets(form.codec, self._device)
        target, weights = (values[:, position] for values in self._truth[key])
        teacher, output = self._taught.get(position, (key, None))
        if output is None or not self._share or (teacher.heatmap_size is None) != (key.heatmap_size is None):
            return target, weights
        if (position, key) not in self._mixed:
            if teacher != key:
                output = resized_heatmaps(output, self._forms[teacher], form)
            self._mixed[position, key] = form.mix(target, output, self._share)
        return self._mixed[position, key], weights


def resized_heatmaps(heatmaps: Tensor, given: OutputForm, wanted: OutputForm) -> Tensor:
    """Heatmaps (N, K, h, w) of one form as another has them, float32: what lies at a place of the input stays there.

    Where the other's input is smaller, they are those of the crops that training makes of these for it.

    Along each axis by a triangle as wide as a pixel of the coarser heatmaps. Distributions get the sum that theirs
    have; of others the height of peaks stays, but for what the triangle blurs.
    """
    inputs = Resizing(given.codec.input_size, wanted.codec.input_size)
    # x, y: the wanted heatmap's pixel in those of the given one, and where its first pixel lies
    ratios = [float(ratio) for ratio in wanted.codec.stride * inputs.step / given.codec.stride]
    origins = [float(origin) for origin in inputs.origin / given.codec.stride]
    sizes = wanted.codec.heatmap_size
    rows, columns = (
        _triangles(heatmaps.shape[axis], sizes[axis - 2], ratios[3 - axis], origins[3 - axis]).to(heatmaps.device)
        for axis in (2, 3)
    )
    found = rows @ heatmaps.float() @ columns.T
    if given.has_fixed_sum and wanted.has_fixed_sum:
        found = found * (ratios[0] * ratios[1] * (wanted.codec.sigma / given.codec.sigma) ** 2)
    return found


def _triangles(before: int, after: int, ratio: float, origin: float) -> Tensor:
    """(after, before): the weights of the pixels before around each pixel after, which is ``ratio`` of them; the first
    one lies at ``origin``."""
    distances = (torch.arange(before) - (torch.arange(after)[:, None] * ratio + origin)).abs()
    weights = (1 - distances / max(1.0, ratio)).clamp_min(0)
    return weights / weights.sum(dim=1, keepdim=True)
