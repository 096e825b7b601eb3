"""Running networks over clips: a video network, or an image network on every frame, and how good that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.data.clip_cache import ClipCache
from nas.data.coco import CocoKeypoints
from nas.data.codecs import Codec
from nas.data.flip import flip_average, flip_images
from nas.data.simcc import fitting_codec, packed
from nas.data.tensors import to_tensor
from nas.data.video_data import VideoData
from nas.evaluation.clips import ClipMeasure, ClipMetrics
from nas.evaluation.config import EvaluationConfig
from nas.processes.distributed import Processes
from supernet import UncalibratedSubnet, UncalibratedVideo, VideoPoseNet

__all__ = ["ClipEvaluator", "flat_metrics", "mirrored_maps", "predict_clips"]

Indices = NDArray[np.int64]
Maps = NDArray[np.float32]


@torch.inference_mode()
def predict_clips(
    net: nn.Module,
    clips: ClipCache,
    codec: Codec,
    flip_indices: NDArray[np.int64],
    config: EvaluationConfig | None = None,
    device: torch.device | None = None,
    index: Indices | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keypoints (n, F, K, 2) in crop pixels and their scores (n, F, K); 0 after a clip's end.

    With ``config.flip_test`` the clip and its mirror image are each run as a whole, the mirrored one with its own
    heatmaps handed on from frame to frame, and the heatmaps of each frame are averaged.

    Args:
        net: a :class:`VideoPoseNet`, whose T is at least the clips', or any network images (N, 3, H, W) → heatmaps,
            which then sees each frame alone. It is put into eval mode.
        flip_indices: (K,) the keypoint that each one becomes in a mirror.
        device: where the network is; None to look.
        index: these clips; None for all.

    Raises:
        TypeError: the network's BatchNorm is not calibrated.
        ValueError: the video network has fewer frames than the clips.
    """
    if isinstance(net, UncalibratedSubnet | UncalibratedVideo):
        raise TypeError("this network's BatchNorm is not calibrated: use calibrate or calibrate_video first")
    config, device = config or EvaluationConfig(), device or next(net.parameters()).device
    if isinstance(net, VideoPoseNet) and net.architecture.length < clips.frames:
        raise ValueError(f"the clips have {clips.frames} propagated frames, the network {net.architecture.length}")
    index, codec = np.arange(len(clips)) if index is None else index, fitting_codec(codec, net)
    shape, count = clips.rows[index].shape, len(flip_indices)
    places, scores = np.zeros((*shape, count, 2), np.float32), np.zeros((*shape, count), np.float32)
    shift = codec.flip_shift if config.flip_shift == "auto" else config.flip_shift
    mirror: list[int] = flip_indices.tolist()
    net.eval()
    for begin in range(0, len(index), config.batch_size):
        chosen = index[begin : begin + config.batch_size]
        chains = [_Chain(net, clips.previous_from_current(chosen), device, config.bf16, mirrored=False)]
        if config.flip_test:
            mirrored = mirrored_maps(clips.previous_from_current(chosen), clips.input_size[1])
            chains.append(_Chain(net, mirrored, device, config.bf16, mirrored=True))
        for position in range(shape[1]):
            lasting = np.flatnonzero(clips.present[chosen, position])
            if not len(lasting):
                break
            images = to_tensor(clips.crops.images(clips.rows[chosen[lasting], position]), device)
            found = [chain.step(images, lasting, position) for chain in chains]
            outputs = found[0] if len(found) == 1 else flip_average(found[0], found[1], mirror, shift)
            decoded = codec.decode_batch(packed(outputs).cpu().numpy())
            places[begin + lasting, position], scores[begin + lasting, position] = decoded
    return places, scores


class _Chain:
    """A batch of clips run frame after frame; clips end at different frames, and none comes back."""

    def __init__(self, net: nn.Module, maps: Maps, device: torch.device, bf16: bool, *, mirrored: bool) -> None:
        self.net, self.device, self.bf16, self.mirrored = net, device, bf16, mirrored
        self.maps = torch.from_numpy(maps)
        self.clips: Indices = np.arange(len(maps))
        self.heatmaps: Tensor | None = None

    def step(self, images: Tensor, clips: Indices, position: int) -> Any:
        """Heatmaps (n, K, h, w), of an image network perhaps SimCC, float32, of the frames (n, 3, H, W) of those clips
        that have this position."""
        if self.mirrored:
            images = flip_images(images)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            if isinstance(self.net, VideoPoseNet):
                previous = self.heatmaps
                if previous is not None and len(clips) < len(self.clips):
                    previous = previous[torch.from_numpy(np.searchsorted(self.clips, clips)).to(self.device)]
                maps = self.maps[torch.from_numpy(clips), position].to(self.device)
                found = self.net.step(images, previous, position, maps).float()
            else:
                found = self.net(images).float()
        self.clips, self.heatmaps = clips, found
        return found


def mirrored_maps(previous_from_current: Maps, width: int) -> Maps:
    """The affine maps (…, 2, 3) between crops, as they are between the mirror images of the crops.

    Args:
        previous_from_current: as ``ClipTensors.previous_from_current``.
        width: of the crops, in pixels; pixel x of a crop is pixel ``width - 1 - x`` of its mirror image.
    """
    sign, far = np.array([[-1.0], [1.0]]), np.array([width - 1.0, 0.0])
    linear, offset = previous_from_current[..., :2].astype(np.float64), previous_from_current[..., 2]
    moved = offset + linear @ far
    return np.concatenate([sign * linear * sign.T, (sign[:, 0] * moved + far)[..., None]], axis=-1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class ClipEvaluator:
    """Evaluates networks on the same clips. Called, it is the ``evaluator`` of ``retrain_video``; it can be pickled.

    There is no flip test where it is not known what the people's keypoints become in a mirror.
    """

    clips: ClipCache
    people: CocoKeypoints
    """The ground truth of all videos that the clips are of."""
    codec: Codec
    config: EvaluationConfig = field(default_factory=EvaluationConfig)

    @staticmethod
    def of(data: VideoData, input_size: tuple[int, int], config: EvaluationConfig | None = None) -> ClipEvaluator:
        """By all validation clips of ``data``, for networks of this input (height, width).

        Raises:
            InputError: the videos cannot be used.
        """
        clips = data.validation_clips(input_size)
        return ClipEvaluator(clips, data.val.people, data.codec(input_size), config or EvaluationConfig())

    @cached_property
    def measure(self) -> ClipMeasure:
        return ClipMeasure(self.clips, self.people, self.config)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "measure"}  # it is made anew

    def predict(
        self, net: nn.Module, processes: Processes | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As :func:`predict_clips`, of all clips; the processes share them, and all get the result."""
        device = None if processes is None else processes.device
        processes = processes or Processes()
        share = np.array_split(np.arange(len(self.clips)), processes.world)[processes.rank]
        config = self.config.mirroring(self.people.keypoint_set.can_mirror)
        mine = predict_clips(net, self.clips, self.codec, self.people.flip_indices, config, device, share)
        places, scores = zip(*processes.gather(mine), strict=True)
        return np.concatenate(places), np.concatenate(scores)

    def metrics(self, net: nn.Module, processes: Processes | None = None) -> ClipMetrics:
        """All measures of a network."""
        return self.measure.evaluate(*self.predict(net, processes))

    def __call__(self, net: nn.Module, processes: Processes | None = None) -> dict[str, float]:
        """``AP`` and its kin, ``mean_oks``, and the AP of each position as ``AP_frame0`` (the key frame) …"""
        return flat_metrics(self.metrics(net, processes))


def flat_metrics(found: ClipMetrics) -> dict[str, float]:
    """The measures as one dictionary of numbers; a mean OKS of nobody is 0."""
    positions = {f"AP_frame{position}": value for position, value in enumerate(found.ap_by_position)}
    return {**found.metrics, "mean_oks": float(np.nan_to_num(found.mean_oks)), **positions}
