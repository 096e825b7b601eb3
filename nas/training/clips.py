"""What a training needs of clips: batches of them, from any source; and how heatmaps are handed on within a clip.

Crops of still images are clips of one frame: no frame is given, and the first is trained. Of a video's clips the key
frame is given, and the T frames after it are trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from torch import Tensor

from nas.data.batches import Batches
from nas.data.build_once import content_key
from nas.data.codecs import Codec, is_whole_part
from nas.data.loader import TrainingSet
from nas.data.pose_data import PoseData, mirror_identity
from nas.data.tensors import ClipTensors
from nas.data.video_data import VideoData
from nas.processes.distributed import Processes
from nas.training.config import RetrainConfig, TrainingConfig, VideoRetrainConfig
from nas.weights.files import pose_metadata as described
from search_spaces import InputError, PoseArchitecture
from search_spaces.parts import HeadOutput
from supernet import resample_heatmaps

__all__ = ["TrainingClips", "check_length", "propagate_heatmaps"]


class TrainingClips:
    """The training clips of ``data``. It goes to other processes by pickling, and each makes its own batches there.

    Args:
        data: which people, of images (clips of one frame) or of videos (of 1 + T).
        input_size: height and width of the networks' input.
        heatmap_size: of their output, which the targets have; None where it is SimCC.

    Raises:
        InputError: the input's size is no multiple of the heatmaps'.
    """

    def __init__(
        self, data: PoseData | VideoData, input_size: tuple[int, int], heatmap_size: tuple[int, int] | None
    ) -> None:
        self.data, self.input_size, self.heatmap_size = data, input_size, heatmap_size
        self.output: HeadOutput = "simcc" if heatmap_size is None else "heatmaps"
        if heatmap_size is not None:
            self._check_heatmaps(heatmap_size, input_size)

    def _check_heatmaps(self, heatmap_size: tuple[int, int], input_size: tuple[int, int]) -> None:
        if not is_whole_part(heatmap_size, input_size):
            whose, its = ("networks'", "their") if isinstance(self.data, VideoData) else ("network's", "its")
            raise InputError(
                f"input_size {input_size}: the {whose} heatmaps are {heatmap_size}, no whole part of it; choose a "
                f"height and a width that are multiples of {its} stride, such as 32"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Without what this process has read."""
        return TrainingClips, (self.data.unread(), self.input_size, self.heatmap_size)

    @classmethod
    def of(cls, data: PoseData | VideoData, architecture: PoseArchitecture) -> TrainingClips:
        """Those for a network, or for all networks of a space of which it is a member."""
        return cls(data, architecture.input_size, None if architecture.is_simcc else architecture.heatmap_size)

    @property
    def codec(self) -> Codec:
        return self.data.codec(self.input_size, self.output, self.heatmap_size)

    def codec_of(self, network: PoseArchitecture) -> Codec:
        """That of another network.

        Raises:
            InputError: its input's size is no multiple of its heatmaps'.
        """
        if not network.is_simcc:
            self._check_heatmaps(network.heatmap_size, network.input_size)
        return self.data.codec_of(network)

    @property
    def stride(self) -> tuple[float, float]:
        """Input pixels (x, y) a heatmap pixel."""
        x, y = self.codec.stride.tolist()
        return x, y

    @cached_property
    def _training_set(self) -> TrainingSet:
        return self.data.training_set(self.input_size, self.output, self.heatmap_size)

    @property
    def identity(self) -> dict[str, str]:
        """What a checkpoint remembers of the data: people, boxes, keypoints, and how they are shown."""
        clips = self._training_set
        return {
            "data": content_key(*clips.content),
            "codec": repr(self.codec),
            "augmentation": clips.description,
            **mirror_identity(self.data.config),
        }

    @property
    def pose_metadata(self) -> dict[str, str]:
        """What a file of weights says of the heatmaps: ``nas.weights.files.pose_metadata``."""
        return described(self.codec, self.data.train.keypoint_set.names, self.data.config.padding)

    def training_batches(self, config: TrainingConfig, processes: Processes) -> Batches:
        """This process's part of the stream: ``config.batch_size`` clips a step, by ``config.seed``."""
        if processes.is_first:
            mirrors = self.data.config.augmentation.flip_probability > 0
            self.data.tell_of_keypoints("train", mirrors=mirrors, evaluates=False)
        batches = Batches(
            self._training_set,
            config.batch_size,
            config.seed,
            rank=processes.rank,
            world_size=processes.world,
            workers=self.data.config.workers,
        )
        if not isinstance(config, RetrainConfig) or not config.final_epochs or config.epochs is None:
            return batches
        if self.data.config.final_augmentation is None:
            section = "video.retrain" if isinstance(config, VideoRetrainConfig) else "retrain"
            given = f"{section}.final_epochs is {config.final_epochs}"
            raise InputError(f"{given}, and data.final_augmentation does not say what these epochs are to show")
        return batches.ending((config.epochs - config.final_epochs) * batches.steps_per_epoch)


def propagate_heatmaps(
    clip: ClipTensors,
    given: Tensor | None,
    run: Callable[[int, Tensor | None], Tensor],
    stride: tuple[float, float],
    *,
    detached: bool = True,
) -> Iterator[tuple[int, Tensor]]:
    """Position and heatmaps of each frame, each given those of the frame before it.

    Args:
        given: ``(N, K, h, w)`` of the first frame, which is not run then; None to run that too, with nothing before it.
        run: position and the previous heatmaps as they lie in this frame's crop → heatmaps.
        stride: input pixels (x, y) a heatmap pixel.
        detached: no gradient flows from a frame into the one before it.
    """
    previous = given
    for position in range(0 if given is None else 1, clip.images.shape[1]):
        before = None
        if previous is not None:
            previous = (previous.detach() if detached else previous).float()
            before = resample_heatmaps(previous, clip.previous_from_current[:, position], stride)
        previous = run(position, before)
        yield position, previous


def check_length(clip: ClipTensors, length: int) -> None:
    """Raise InputError where clips do not have ``length`` frames after the key frame."""
    found = clip.images.shape[1] - 1
    if found != length:
        raise InputError(f"clips have {found} frames after the key frame, the video network {length}; choose T alike")
