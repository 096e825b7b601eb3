"""The optimizer of short trainings."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from nas.processes.distributed import Processes
from nas.training.muon import ADAM_SHARE, Muon, orthogonalized


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 40), (2, 40, 5), (1, 17, 1)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    result = orthogonalized(matrices * 1e-6)  # gradients are small
    values = u.transpose(1, 2) @ result @ v.transpose(1, 2)  # diagonal if the directions are kept
    diagonal = values.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(values, torch.diag_embed(diagonal), atol=1e-3, rtol=0)
    assert diagonal.max() < 1.3
    assert diagonal.median() > 0.6
    torch.testing.assert_close(result, orthogonalized(matrices), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("shape", [(2, 128, 128), (1, 128, 1152), (1, 640, 130)])
def test_large_matrices_are_iterated_in_bfloat16_as_well(shape: tuple[int, int, int]) -> None:
    scales = torch.logspace(0, -2, shape[2])  # gradients have few strong directions
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scales
    reduced, exact = orthogonalized(matrices, bf16=True), orthogonalized(matrices)
    assert reduced.dtype == torch.float32
    assert not torch.equal(reduced, exact)
    assert torch.linalg.svdvals(reduced).max() < 1.35
    assert (reduced * exact).sum() / reduced.norm() / exact.norm() > 0.99


def test_a_zero_gradient_moves_nothing() -> None:
    assert torch.equal(orthogonalized(torch.zeros(1, 4, 6)), torch.zeros(1, 4, 6))


def test_vectors_follow_adam() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    muon = Muon([ours], lr=0.05)
    adam = torch.optim.Adam([theirs], lr=0.05 * ADAM_SHARE)
    for _ in range(5):
        gradient = torch.randn(5, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step()
        adam.step()
    torch.testing.assert_close(ours, theirs)


def test_the_first_step_of_a_convolution_is_orthogonal_and_of_the_learning_rate() -> None:
    weight = nn.Parameter(torch.zeros(6, 2, 3, 3).contiguous(memory_format=torch.channels_last))
    gradient = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    weight.grad = gradient
    Muon([weight], lr=0.02).step()
    expected = -0.02 * orthogonalized(gradient.flatten(1)[None])[0]
    torch.testing.assert_close(weight.detach().flatten(1), expected, rtol=1e-3, atol=1e-6)


def test_processes_share_the_work() -> None:
    shapes = [(8, 3, 3, 3), (8, 8), (8, 8), (4, 40), (5,)]
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    gradients = [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(3)]
    meeting, given = threading.Barrier(2, timeout=60), {}

    class Together(Processes):
        def add_up(self, tensor: Tensor) -> None:
            given[self.rank] = tensor.clone()
            assert 0 < (tensor != 0).float().mean() < 1, "a part of the work, not all of it"
            meeting.wait()
            tensor.copy_(given[0] + given[1])
            meeting.wait()

    def trained(processes: Processes) -> list[Tensor]:
        parameters = [nn.Parameter(value.clone()) for value in start]
        groups = [{"params": parameters[:-1]}, {"params": parameters[-1:]}]  # one has no matrix
        muon = Muon(groups, lr=0.02, processes=processes)
        for step in gradients:
            for parameter, gradient in zip(parameters, step, strict=True):
                parameter.grad = gradient.clone()
            muon.step()
        return [parameter.detach() for parameter in parameters]

    alone = trained(Processes())
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(trained, [Together(0, 2), Together(1, 2)])
    for a, b, c in zip(alone, first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        assert torch.equal(b, c)


def one_by_one(parameters: list[nn.Parameter], steps: list[list[Tensor]], lr: float, weight_decay: float) -> None:
    """Muon as its equations have it, a parameter at a time."""
    for parameter, gradients in zip(parameters, zip(*steps, strict=True), strict=True):
        value, first, second = parameter.detach().clone(), torch.zeros_like(parameter), torch.zeros_like(parameter)
        for step, gradient in enumerate(gradients, 1):
            value *= 1 - lr * weight_decay
            if value.dim() > 1:
                first = 0.9 * first + gradient
                update = orthogonalized((gradient + 0.9 * first).flatten(1)[None])[0]
                value -= lr * max(1.0, update.shape[0] / update.shape[1]) ** 0.5 * update.view(value.shape)
            else:
                first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
                scale = (second / (1 - 0.999**step)).sqrt() + 1e-8
                value -= lr * ADAM_SHARE / (1 - 0.9**step) * first / scale
        parameter.data = value


def test_all_parameters_at_once_are_updated_as_each_alone() -> None:
    shapes = [(8, 3, 3, 3), (8, 8), (8, 8), (4, 40), (40, 4), (5,), (7,)]
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    steps = [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(4)]
    together, alone = ([nn.Parameter(value.clone()) for value in start] for _ in range(2))
    muon = Muon(together, lr=0.02, weight_decay=0.1)
    for gradients in steps:
        for parameter, gradient in zip(together, gradients, strict=True):
            parameter.grad = gradient.clone()
        muon.step()
    one_by_one(alone, steps, 0.02, 0.1)
    for found, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_its_state_comes_back() -> None:
    def trained(break_after: int | None) -> nn.Linear:
        generator = torch.Generator().manual_seed(0)
        net = nn.Linear(4, 3)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        muon = Muon(net.parameters(), lr=0.02, weight_decay=0.1)
        for step in range(6):
            if step == break_after:
                state = muon.state_dict()
                muon = Muon(net.parameters(), lr=0.02, weight_decay=0.1)
                muon.load_state_dict(state)
            muon.zero_grad()
            net(torch.randn(8, 4, generator=generator)).square().sum().backward()
            muon.step()
        return net

    whole, parts = trained(None), trained(3)
    assert torch.equal(whole.weight, parts.weight)
    assert torch.equal(whole.bias, parts.bias)
