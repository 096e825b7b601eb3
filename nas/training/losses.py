"""The losses on heatmaps."""

from __future__ import annotations

from torch import Tensor

__all__ = ["heatmap_mse", "mixed_target"]


def heatmap_mse(heatmaps: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """The mean over batch, keypoints and pixels of w (p - t)², as MMPose 1.x has it; a scalar, in float32.

    Args:
        heatmaps: (N, K, h, w), any floating type.
        target: (N, K, h, w).
        weights: (N, K), 0 where a keypoint is not labelled.
    """
    difference = (heatmaps.float() - target).square()
    return (difference.mean(dim=(2, 3)) * weights).mean()


def mixed_target(target: Tensor, teacher: Tensor, share: float) -> Tensor:
    """``share`` of the teacher's heatmaps (detached), the rest of the ground truth.

    The squared distance to the mixture is, up to a constant, the mixture of the squared distances.
    """
    if share == 0:
        return target
    return target.lerp(teacher.detach().float(), share)
