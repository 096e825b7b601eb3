"""How a network is evaluated. No torch here: help texts and checks answer at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from nas.run.ranges import PositiveInt, Ranged, Share

__all__ = ["EvaluationConfig"]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Ranged):
    """Options of the official test script, with its defaults.

    Raises:
        InputError: a value is out of its range; the message names it.
    """

    flip_test: bool = True
    """Average the heatmaps of a crop and of its mirror image; not where the keypoints' mirror pairs are not known
    (`data.flip_pairs`)."""
    flip_shift: bool | Literal["auto"] = "auto"
    """Move the mirrored heatmaps by a pixel; `auto` does so for all codecs but udp, as published. SimCC is not
    moved."""
    batch_size: PositiveInt = 64
    """Persons that are run at once."""
    bf16: bool = False
    """Compute in bfloat16: faster where the processor has it, and not quite the same numbers."""
    score: Literal["box-keypoint", "box", "keypoint"] = "box-keypoint"
    """A person's score: the box's, the mean of the keypoints', or the box's times the mean of the better keypoints'."""
    keypoint_threshold: Share = 0.2
    """With `box-keypoint`, keypoints that do not score more than this do not count."""
    oks_nms: Literal["hard", "soft", "none"] = "hard"
    """Leave out people whose keypoints lie on a better one's; `soft` keeps the 20 that overlap least in an image."""
    oks_threshold: Share = 0.9
    """Object keypoint similarity from which two people are one."""
    threads: PositiveInt | None = None
    """Threads of the computation in each process; null leaves torch's own choice."""
    device: str = "auto"
    """`auto` is the GPU if there is one; or cpu, cuda, cuda:1."""

    def mirroring(self, possible: bool) -> EvaluationConfig:
        """These options, without the flip test where people cannot be mirrored (``KeypointSet.can_mirror``)."""
        return self if possible or not self.flip_test else replace(self, flip_test=False)
