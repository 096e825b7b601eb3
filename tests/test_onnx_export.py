"""The ONNX writer against torch, by onnxruntime; and the equal forms of slow layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import nas.deploy.onnx as onnx_export_module
from nas.deploy.deployment import SubPixelDeconvolution, deployment_form, merge_groups
from nas.deploy.onnx import export_onnx, onnx_bytes
from nas.latency.meter import network_of
from search_spaces import PoseArchitecture, get_space, published, published_names, space_names
from supernet import SimCC


def run(data: bytes, *inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip((value.name for value in session.get_inputs()), inputs, strict=True)))[0]


def members() -> list[PoseArchitecture]:
    rng = np.random.default_rng(3)
    found = []
    for name in space_names():
        space = get_space(name)
        sample = [space.smallest(), space.sample(rng)]
        found += [member.replace(input_size=(64, 64)) for member in sample]
    return found


@pytest.mark.parametrize("architecture", members(), ids=lambda architecture: architecture.id)
def test_written_directly_and_equal(architecture: PoseArchitecture, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fallback(*args: object) -> bytes:
        raise AssertionError("this family is written directly")

    monkeypatch.setattr(onnx_export_module, "_torchscript_bytes", no_fallback)
    net = network_of(architecture)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    data = onnx_bytes(net, (images,))
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    expected = net(images)
    first = expected.x if isinstance(expected, SimCC) else expected
    assert torch.allclose(torch.from_numpy(run(data, images.numpy())), first, atol=1e-4 * float(first.std()))


def test_file_has_names_metadata_and_any_batch(tmp_path: Path) -> None:
    architecture = get_space("resnet-tiny").smallest()
    net, path = network_of(architecture), tmp_path / "model.onnx"
    export_onnx(net, path, architecture.input_size, batch=None, metadata={"architecture": architecture.id})
    model = onnx.load(path)
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["images", "heatmaps"]
    assert {entry.key: entry.value for entry in model.metadata_props} == {"architecture": architecture.id}
    for batch in (1, 3):
        heatmaps = run(path.read_bytes(), np.zeros((batch, 3, *architecture.input_size), np.float32))
        assert heatmaps.shape == (batch, 17, *architecture.heatmap_size)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_fixed_batch_is_fixed(tmp_path: Path) -> None:
    export_onnx(network_of(get_space("resnet-tiny").smallest()), tmp_path / "model.onnx", (128, 96), batch=2)
    with pytest.raises(Exception, match="Got: 1 Expected: 2"):
        run((tmp_path / "model.onnx").read_bytes(), np.zeros((1, 3, 128, 96), np.float32))


def test_wrong_file_is_refused_and_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network_of(get_space("resnet-tiny").smallest())
    other = onnx_bytes(network_of(get_space("resnet-tiny").largest()), (torch.zeros(1, 3, 128, 96),))
    monkeypatch.setattr(onnx_export_module, "onnx_bytes", lambda *args, **kwargs: other)
    with pytest.raises(RuntimeError, match="differs from torch by"):
        export_onnx(net, tmp_path / "model.onnx", (128, 96))
    assert not list(tmp_path.iterdir())


class Unusual(nn.Module):
    """Has an operation that the writer does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(self.conv(images))


@pytest.mark.parametrize("dynamic", [False, True])
def test_unknown_operation_goes_through_torchs_exporter(dynamic: bool) -> None:
    net, images = Unusual().eval(), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = net(images)
    found = run(onnx_bytes(net, (images,), dynamic_batch=dynamic), images.numpy())
    assert torch.allclose(torch.from_numpy(found), expected, atol=1e-6)


@pytest.mark.parametrize("kernel_size", [2, 3, 4])
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_sub_pixel_convolution_is_the_deconvolution(kernel_size: int, groups: int) -> None:
    padding, output_padding = {4: (1, 0), 3: (1, 1), 2: (0, 0)}[kernel_size]
    deconv = nn.ConvTranspose2d(
        6, 12, kernel_size, stride=2, padding=padding, output_padding=output_padding, groups=groups
    )
    x = torch.randn(2, 6, 5, 4)
    with torch.no_grad():
        assert torch.allclose(SubPixelDeconvolution(deconv)(x), deconv(x), atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_merged_groups_compute_the_same(factor: int, stride: int) -> None:
    conv = nn.Conv2d(16, 16, 5, stride, 2, groups=8)
    merged = merge_groups(conv, factor)
    assert merged.groups == 8 // factor
    x = torch.randn(2, 16, 9, 8)
    with torch.no_grad():
        assert torch.allclose(merged(x), conv(x), atol=1e-5)


@pytest.mark.parametrize("name", [n for n in published_names() if max(published(n).head.groups, default=1) > 1])
def test_deployment_form_computes_the_same(name: str) -> None:
    architecture = published(name).replace(input_size=(64, 64))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network_of(architecture)(images)
        net = deployment_form(network_of(architecture), "torch")
        difference = (net(images) - expected).abs().max() / expected.std()
    assert any(isinstance(layer, SubPixelDeconvolution) for layer in net.modules())
    assert difference < 1e-4
    untouched = deployment_form(network_of(architecture), "onnxruntime")
    assert any(isinstance(layer, nn.ConvTranspose2d) for layer in untouched.modules())
