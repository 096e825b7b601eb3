"""What doubles the resolution quickest in a head: a deconvolution, or repeated or bilinear pixels and a convolution.

    python scripts/benchmark_heads.py [--runtime onnxruntime]

About a minute on a quiet core. Milliseconds of all layers of a head, one thread, batch 1, without the convolution to
the keypoints' maps; the shapes are those of heads of the package's spaces and of the published networks.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.latency import LatencyConfig, LatencyMeter
from nas.latency.blocks import draw_weights
from nas.latency.device import Subject
from nas.latency.kept import BLOCK_PROTOCOL
from supernet import fold
from supernet.networks.blocks import ConvNorm
from supernet.networks.head import UpsampledConvNorm

SHAPES = (
    (96, 48, 2, 1), (192, 64, 2, 1), (608, 144, 3, 1), (608, 144, 3, 16), (160, 160, 3, 160), (2048, 256, 3, 1),
)  # fmt: skip
"""Channels of the features, of 8 × 6, and of the layers; how many layers; groups."""


class Bilinear(ConvNorm):
    """As :class:`UpsampledConvNorm`, with bilinear sampling in place of the repetition."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))


def layers_of(kind: str, channels: int, width: int, count: int, groups: int) -> nn.Module:
    """In deployment form, with random weights."""
    layers = []
    for _ in range(count):
        if kind == "deconvolution":
            layers.append(ConvNorm(channels, width, 4, groups=groups, transposed=True))
        else:
            layer = UpsampledConvNorm if kind == "nearest" else Bilinear
            layers.append(layer(channels, width, 3, groups=groups))
        channels = width
    module = nn.Sequential(*layers)
    draw_weights(module, torch.Generator().manual_seed(0))
    return fold(module, in_place=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", choices=("torch", "onnxruntime", "openvino"), default="onnxruntime")
    arguments = parser.parse_args()
    meter = LatencyMeter(LatencyConfig(runtime=arguments.runtime))
    kinds = ("deconvolution", "nearest", "bilinear")
    print("| features → layers, groups | " + " | ".join(kinds) + " |\n" + "| --- " * 4 + "|")
    for channels, width, count, groups in SHAPES:
        features = torch.randn(1, channels, 8, 6, generator=torch.Generator().manual_seed(1))
        cells = []
        for kind in kinds:
            module = layers_of(kind, channels, width, count, groups)
            [reading] = meter.times([Subject(module, (features,), kind)], BLOCK_PROTOCOL)
            cells.append(f"{reading.latency_ms:.3f}")
        print(f"| {channels} → {count} × {width}, {groups} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
