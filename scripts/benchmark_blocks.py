"""What kinds of block take on each runtime, by width and resolution: milliseconds, and milliseconds a GMAC.

    python scripts/benchmark_blocks.py [--runtimes onnxruntime openvino torch]

About eight minutes on two quiet cores. One block that keeps its width and its resolution, with its shortcut, one
thread, batch 1, float32, ReLU, in deployment form; a call of the runtime by itself is subtracted. The resolutions are
those of a 256×192 crop at strides 4 to 32 (of a 128×96 one at strides 2 to 16).

The dense kinds are built to cost the same: a fused inverted bottleneck of expansion 2 has 20 w² weights, a basic block
18 w². The depthwise ones have expansion 4, as MobileNetV4 (Qin et al. 2024) has it, and 8 w² besides the depthwise
convolutions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluators.complexity import count_module
from nas.latency import LatencyConfig, LatencyMeter
from nas.latency.blocks import draw_weights
from nas.latency.table import measure_alone, measure_call
from supernet import fold
from supernet.networks import ConvNorm

PLACES = {(64, 48): (16, 32, 64), (32, 24): (32, 64, 128), (16, 12): (64, 128, 256), (8, 6): (128, 256)}
"""(height, width) → widths that a network of some milliseconds may have there."""


class Residual(nn.Module):
    """Layers one after the other, added to their input."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.layers(x))


class CrossStage(nn.Module):
    """A basic block on half of the channels, the other half past it (CSPNet, Wang et al. 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.main, self.short = ConvNorm(width, half, 1), ConvNorm(width, half, 1)
        self.block, self.final = basic(half), ConvNorm(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.final(torch.cat([self.block(self.main(x)), self.short(x)], dim=1))


def basic(width: int) -> nn.Module:
    return Residual(ConvNorm(width, width, 3), ConvNorm(width, width, 3, activation=None))


def fused(width: int) -> nn.Module:
    return Residual(ConvNorm(width, 2 * width, 3), ConvNorm(2 * width, width, 1, activation=None))


def universal(start: int, middle: int) -> Callable[[int], nn.Module]:
    """The universal inverted bottleneck with these kernel sizes of its two depthwise convolutions, 0 for none."""

    def build(width: int) -> nn.Module:
        inner = 4 * width
        layers = [ConvNorm(width, width, start, groups=width, activation=None)] if start else []
        layers.append(ConvNorm(width, inner, 1))
        layers += [ConvNorm(inner, inner, middle, groups=inner)] if middle else []
        return Residual(*layers, ConvNorm(inner, width, 1, activation=None))

    return build


KINDS: dict[str, Callable[[int], nn.Module]] = {
    "basic": basic,
    "fused": fused,
    "basic in CSP": CrossStage,
    "inverted 3": universal(0, 3),
    "inverted 5": universal(0, 5),
    "convnext 3": universal(3, 0),
    "convnext 5": universal(5, 0),
    "extra 3": universal(3, 3),
    "no depthwise": universal(0, 0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime", "openvino", "torch"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for runtime in arguments.runtimes:
        print(f"\n{runtime}: ms (ms a GMAC)\n")
        print_table(LatencyMeter(LatencyConfig(runtime=runtime)))


def print_table(meter: LatencyMeter) -> None:
    places = [(size, width) for size, widths in PLACES.items() for width in widths]
    print("| kind | " + " | ".join(f"{width} at {height}×{wide}" for (height, wide), width in places) + " |")
    print("| --- |" + " --: |" * len(places))
    call_ms, generator = measure_call(meter), torch.Generator().manual_seed(0)
    for name, build in KINDS.items():
        cells = []
        for size, width in places:
            block = build(width)
            draw_weights(block, generator)
            gmacs = count_module(block, size, width).macs / 1e9
            features = torch.randn(1, width, *size, generator=generator)
            block_ms = measure_alone(meter, fold(block, in_place=True), (features,), name) - call_ms
            cells.append(f"{block_ms:.2f} ({block_ms / gmacs:.0f})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
