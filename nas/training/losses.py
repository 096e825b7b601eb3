"""The losses on heatmaps, and which of them suits a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from search_spaces import InputError, PoseArchitecture

__all__ = ["HeatmapLoss", "heatmap_kl", "heatmap_loss", "heatmap_mse", "mixed_target"]

HeatmapLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Heatmaps (N, K, h, w), targets of that shape, weights (N, K) → a scalar."""
TINY = 1e-12


def heatmap_loss(name: str, architecture: PoseArchitecture) -> HeatmapLoss:
    """The loss ``mse`` or ``kl``; ``auto`` is what the network's heatmaps are made for.

    Raises:
        InputError: ``kl``, and the network's heatmaps are no distributions.
    """
    distributions = architecture.head.normalization == "softmax"
    if name == "kl" and not distributions:
        raise InputError("loss: kl needs a network whose head.normalization is softmax; choose mse or auto")
    return heatmap_kl if name == "kl" or (name == "auto" and distributions) else heatmap_mse


def heatmap_kl(heatmaps: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """The mean over batch and keypoints of w KL(target ‖ heatmap), both scaled to a sum of 1; a scalar, in float32.

    Its gradient with respect to the head's logits is that of the cross-entropy of where the keypoint is. Where the
    squared error has almost nothing to say (two places that look alike, half a peak on each), this one still has.

    Args:
        heatmaps: (N, K, h, w), positive.
        target: (N, K, h, w); what is negative in it (a teacher's may be) counts as 0.
        weights: (N, K), 0 where a keypoint is not labelled.
    """
    divergence: Tensor = _Divergence.apply(heatmaps, target)
    return (divergence * weights).mean()


class _Divergence(torch.autograd.Function):
    """KL(target ‖ heatmap) of each heatmap, (N, K) float32, and its gradient for the heatmaps alone.

    By hand, because autograd's passes over the heatmaps took a fifteenth of a training step on a CPU. Where a heatmap
    is positive and below TINY, the slope is that at TINY, and not 0: the place can still be found again.
    """

    @staticmethod
    def forward(ctx: Any, heatmaps: Tensor, target: Tensor) -> Tensor:
        found = heatmaps.float().flatten(2).clamp_min(0)
        scale = found.sum(dim=2, keepdim=True).clamp_min_(TINY)
        found.div_(scale).clamp_min_(TINY)
        wanted = target.float().flatten(2).clamp_min(0)
        wanted.div_(wanted.sum(dim=2, keepdim=True).clamp_min_(TINY))
        ratio = torch.div(wanted, found, out=found)
        ctx.save_for_backward(heatmaps, ratio, wanted.sum(dim=2, keepdim=True), scale)
        return ratio.clamp_min(TINY).log_().mul_(wanted).sum(dim=2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        heatmaps, ratio, total, scale = ctx.saved_tensors
        slope = (total - ratio).mul_(gradient[..., None] / scale).view(heatmaps.shape)
        return slope.masked_fill_(heatmaps <= 0, 0).to(heatmaps.dtype), None


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

    The squared distance to the mixture is, up to a constant, the mixture of the squared distances; so is, for
    heatmaps of equal sums, the divergence from it.
    """
    if share == 0:
        return target
    return target.lerp(teacher.detach().float(), share)
