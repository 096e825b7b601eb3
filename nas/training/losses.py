"""The losses on heatmaps and on SimCC, and which of them suits a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from nas.data.simcc import SHARPNESS
from search_spaces import InputError, PoseArchitecture

__all__ = [
    "HeatmapLoss",
    "MixedTarget",
    "heatmap_kl",
    "heatmap_loss",
    "heatmap_mse",
    "mixed_distributions",
    "mixed_target",
    "simcc_loss",
    "target_mixing",
]

HeatmapLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Heatmaps (N, K, h, w), targets of that shape, weights (N, K) → a scalar."""
MixedTarget = Callable[[Tensor, Tensor, float], Tensor]
"""Targets, what a teacher gives, the teacher's share → targets."""
TINY = 1e-12


def heatmap_loss(name: str, architecture: PoseArchitecture) -> HeatmapLoss:
    """The loss ``mse`` or ``kl``; ``auto`` is what the network's output is made for. Of SimCC ``kl`` is the only one.

    Raises:
        InputError: ``kl``, and the network's heatmaps are no distributions; or ``mse``, and the network gives SimCC.
    """
    if architecture.is_simcc:
        if name == "mse":
            raise InputError("loss: mse is for heatmaps; the network gives SimCC: choose kl or auto")
        split = architecture.parts[-1].outputs[0].size[1]
        return lambda output, target, weights: simcc_loss(output, target, weights, split)
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


def target_mixing(architecture: PoseArchitecture) -> MixedTarget:
    """How a teacher's output becomes part of the targets of a network."""
    if not architecture.is_simcc:
        return mixed_target
    split = architecture.parts[-1].outputs[0].size[1]
    return lambda target, teacher, share: mixed_distributions(target, teacher, share, split)


# SimCC, packed (``nas.data.simcc``) -------------------------------------------------------------------------------


def simcc_loss(output: Tensor, target: Tensor, weights: Tensor, split: int) -> Tensor:
    """KL(target ‖ output), each a softmax over the bins of an axis after multiplication by 10; a scalar, in float32.

    The mean over the bins of an axis, added for both axes and averaged over batch and keypoints: what MMPose's
    ``KLDiscretLoss`` of RTMPose gives, divided by the people.

    Args:
        output: (N, K, 1, 2W + 2H).
        target: of that shape.
        weights: (N, K), 0 where a keypoint is not labelled.
        split: 2W.
    """
    loss = torch.zeros((), device=output.device)
    for found, wanted in zip(_axes(output, split), _axes(target, split), strict=True):
        logarithms = F.log_softmax(found * SHARPNESS, dim=-1)
        divergence = F.kl_div(logarithms, F.softmax(wanted * SHARPNESS, dim=-1), reduction="none").mean(dim=-1)
        loss = loss + (divergence * weights).mean()
    return loss


def mixed_distributions(target: Tensor, teacher: Tensor, share: float, split: int) -> Tensor:
    """As :func:`mixed_target`, of SimCC: a target whose softmax in :func:`simcc_loss` is the mixture of both softmaxes.

    So the divergence from it is, up to a constant, the mixture of the divergences.
    """
    if share == 0:
        return target
    mixed = []
    for wanted, given in zip(_axes(target, split), _axes(teacher.detach(), split), strict=True):
        mixture = F.softmax(wanted * SHARPNESS, dim=-1).lerp(F.softmax(given * SHARPNESS, dim=-1), share)
        mixed.append(mixture.clamp_min(TINY).log() / SHARPNESS)
    return torch.cat(mixed, dim=-1).unsqueeze(2)


def _axes(packed: Tensor, split: int) -> tuple[Tensor, Tensor]:
    """(N, K, 2W) and (N, K, 2H) in float32."""
    both = packed.squeeze(2).float()
    return both[..., :split], both[..., split:]
