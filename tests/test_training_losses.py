"""The losses on heatmaps."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from nas.training.losses import heatmap_kl, heatmap_loss, heatmap_mse
from search_spaces import InputError, PoseArchitecture, get_space
from supernet import PoseNet


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


WEIGHTS = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])


def test_kl_is_the_divergence_of_the_normalized_heatmaps() -> None:
    logits, target = random(2, 3, 4, 5), random(2, 3, 4, 5, seed=1).exp()
    wanted = (target / target.sum(dim=(2, 3), keepdim=True)).flatten(2)
    expected = torch.nn.functional.kl_div(logits.flatten(2).log_softmax(2), wanted, reduction="none").sum(2)
    heatmaps = 7 * logits.flatten(2).softmax(2).view_as(logits)
    torch.testing.assert_close(heatmap_kl(heatmaps, 3 * target, WEIGHTS), (expected * WEIGHTS).mean())
    torch.testing.assert_close(heatmap_kl(target, target, WEIGHTS), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_its_gradient_is_that_of_the_cross_entropy() -> None:
    logits, target = random(2, 3, 4, 5).requires_grad_(), random(2, 3, 4, 5, seed=1).exp()
    heatmap_kl(logits.flatten(2).softmax(2).view_as(logits), target, WEIGHTS).backward()
    wanted = target / target.sum(dim=(2, 3), keepdim=True)
    found = logits.detach().flatten(2).softmax(2).view_as(logits)
    torch.testing.assert_close(logits.grad, (found - wanted) * WEIGHTS[..., None, None] / WEIGHTS.numel())


def test_empty_targets_negative_targets_and_certain_heatmaps_stay_finite() -> None:
    heatmaps = torch.zeros(1, 3, 2, 2)
    heatmaps[0, :, 0, 0] = 1.0
    target = torch.zeros(1, 3, 2, 2)
    target[0, 1, 1, 1], target[0, 2, 0, 0], target[0, 2, 1, 1] = 1.0, 1.0, -1.0
    leaf = heatmaps.requires_grad_()
    loss = heatmap_kl(leaf, target, torch.tensor([[0.0, 1.0, 1.0]]))
    loss.backward()
    assert loss.isfinite()
    assert leaf.grad is not None
    assert bool(leaf.grad.isfinite().all())
    assert float(heatmap_kl(heatmaps[:, 2:], target[:, 2:], torch.ones(1, 1)).detach()) == pytest.approx(0, abs=1e-6)


def plain_kl(heatmaps: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """The same by autograd."""
    positive = [x.flatten(2).clamp_min(0) for x in (heatmaps, target)]
    found, wanted = (flat / flat.sum(2, keepdim=True) for flat in positive)
    return ((wanted * (wanted.clamp_min(1e-30) / found.clamp_min(1e-30)).log()).sum(2) * weights).mean()


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "sliced", "bfloat16"])
def test_the_gradient_by_hand_is_autograds(layout: str) -> None:
    given, target = random(2, 6, 4, 5).exp(), random(2, 3, 4, 5, seed=1).relu()
    given[0, 0, 0, 0] = -0.5
    if layout == "channels last":
        given = given.contiguous(memory_format=torch.channels_last)
    leaf = given.to(torch.bfloat16 if layout == "bfloat16" else torch.float32).requires_grad_()
    reference = leaf.detach().float().requires_grad_()
    part = slice(0, 6, 2) if layout == "sliced" else slice(0, 3)
    ours, plain = heatmap_kl(leaf[:, part], target, WEIGHTS), plain_kl(reference[:, part], target, WEIGHTS)
    torch.testing.assert_close(ours, plain)
    ours.backward()
    plain.backward()
    assert leaf.grad is not None
    assert reference.grad is not None
    assert leaf.grad.dtype == leaf.dtype
    assert float(leaf.grad[0, 0, 0, 0]) == 0  # clamped
    tolerance = 0.01 if layout == "bfloat16" else 1e-5
    torch.testing.assert_close(leaf.grad.float(), reference.grad, rtol=tolerance, atol=1e-6)


def softmax(architecture: PoseArchitecture, normalization: str) -> PoseArchitecture:
    return architecture.replace(head=dataclasses.replace(architecture.head, normalization=normalization))


def test_auto_takes_the_loss_that_the_head_is_made_for() -> None:
    plain = softmax(get_space("resnet-tiny").smallest(), "none")
    normalized = softmax(plain, "softmax")
    assert heatmap_loss("auto", plain) is heatmap_loss("mse", normalized) is heatmap_mse
    assert heatmap_loss("auto", normalized) is heatmap_loss("kl", normalized) is heatmap_kl
    with pytest.raises(InputError, match="softmax"):
        heatmap_loss("kl", plain)


@pytest.mark.parametrize("input_size", [(128, 96), (256, 192)])
def test_a_softmax_head_gives_distributions_with_the_sum_of_a_target(input_size: tuple[int, int]) -> None:
    from nas.data.codecs import Codec

    architecture = softmax(get_space("resnet-tiny").smallest(), "softmax").replace(input_size=input_size)
    with torch.no_grad():
        heatmaps = PoseNet(architecture).eval()(random(2, 3, *input_size))
    codec = Codec.of("dark", input_size)
    middle = torch.tensor([[[input_size[1] / 2, input_size[0] / 2]]])
    target, _ = codec.encode(middle, torch.ones(1, 1))
    assert bool((heatmaps > 0).all())
    torch.testing.assert_close(heatmaps.sum(dim=(2, 3)), target.sum().expand(2, 17), rtol=1e-2, atol=0)


def test_ids_of_older_networks_stay_and_the_field_is_read() -> None:
    plain = softmax(get_space("resnet-tiny").smallest(), "none")
    assert "normalization" not in plain.to_json()["head"]
    normalized = softmax(plain, "softmax")
    assert normalized.to_json()["head"]["normalization"] == "softmax"
    assert PoseArchitecture.from_json(normalized.to_json()) == normalized != plain
    assert normalized.id != plain.id
