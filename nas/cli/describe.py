"""Describe an architecture: what each part is made of, its parameters and its multiply-accumulates (MACs).

Of a video network: the network of each frame, and where the frame before comes in.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Literal

from nas.stages.architectures import ARCH_HELP

if TYPE_CHECKING:
    from search_spaces import PoseArchitecture, VideoArchitecture

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("architecture", metavar="ARCH", help=ARCH_HELP)
    parser.add_argument("--latency", action="store_true", help="measure each part on this machine too")
    runtimes = ("torch", "onnxruntime", "openvino")
    parser.add_argument("--runtime", choices=runtimes, default="torch", help="for --latency (default: torch)")
    parser.add_argument("--json", action="store_true", help="print the architecture itself, as a JSON file holds it")


def run(arguments: argparse.Namespace) -> int:
    from nas.stages.architectures import resolve_any_architecture
    from search_spaces import PoseArchitecture

    architecture = resolve_any_architecture(arguments.architecture)
    if arguments.json:
        print(json.dumps(architecture.to_json(), indent=2))
    elif isinstance(architecture, PoseArchitecture):
        _describe_image(architecture, arguments)
    else:
        _describe_video(architecture, arguments)
    return 0


def _describe_image(architecture: PoseArchitecture, arguments: argparse.Namespace) -> None:
    from nas.cli.output import print_table
    from search_spaces.complexity import count
    from search_spaces.words import architecture_lines

    complexity = count(architecture)
    made_of = [line.partition(": ")[2] for line in architecture_lines(architecture)]
    rows = [
        (part.name, text, ", ".join(f"{h} × {w}" for _, (h, w) in part.outputs), *_amounts(part.parameters, part.macs))
        for part, text in zip(architecture.parts, made_of, strict=True)
    ]
    height, width = architecture.input_size
    total = ("total", f"{architecture.keypoints} keypoints", "", *_amounts(complexity.parameters, complexity.macs))
    header: tuple[str, ...] = ("part", "made of (depth × width)", "output", "parameters", "MACs (M)")
    table: list[tuple[str, ...]] = [*rows, total]
    if arguments.latency:
        header = (*header, f"{arguments.runtime} ms")
        table = [(*row, text) for row, text in zip(table, _latencies(architecture, arguments.runtime), strict=True)]
    print_table(f"{architecture.id}: {architecture.family}, input {height} × {width}", header, table)


def _describe_video(architecture: VideoArchitecture, arguments: argparse.Namespace) -> None:
    from nas.cli.output import print_table
    from search_spaces.video_costs import count_video
    from search_spaces.words import architecture_lines

    complexity = count_video(architecture)
    networks = [architecture.key, *(frame.architecture for frame in architecture.frames)]
    fusions = ["key frame", *(str(frame.fusion) for frame in architecture.frames)]
    stages = ["; ".join(line.partition(": ")[2] for line in architecture_lines(one)[1:-1]) for one in networks]
    rows: list[tuple[str, ...]] = [
        (str(position), network.id, fusion, made_of, *_amounts(cost.parameters, cost.macs))
        for position, (network, fusion, made_of, cost) in enumerate(
            zip(networks, fusions, stages, complexity.by_frame, strict=True)
        )
    ]
    total = ("total", "", "", "", *_amounts(complexity.parameters, complexity.macs))
    header: tuple[str, ...] = ("frame", "network", "fusion", "stages (depth × width)", "parameters", "MACs (M)")
    table: list[tuple[str, ...]] = [*rows, total]
    if arguments.latency:
        header = (*header, f"{arguments.runtime} ms")
        latencies = _clip_latencies(architecture, arguments.runtime)
        table = [(*row, text) for row, text in zip(table, latencies, strict=True)]
    height, width = architecture.input_size
    title = f"{architecture.id}: key frame and {architecture.length} propagated frames, input {height} × {width}"
    print_table(title, header, table)


def _clip_latencies(architecture: VideoArchitecture, runtime: Literal["torch", "onnxruntime", "openvino"]) -> list[str]:
    """Of each frame's network, then of the whole clip."""
    from nas.latency import LatencyConfig, LatencyMeter
    from nas.latency.video import frame_latencies

    [measured] = frame_latencies(LatencyMeter(LatencyConfig(runtime=runtime)), [architecture])
    return [f"{ms:.2f}" for ms in (*measured["latency_by_position"], measured["latency_ms"])]


def _latencies(architecture: PoseArchitecture, runtime: Literal["torch", "onnxruntime", "openvino"]) -> list[str]:
    """Of each part alone, then of the whole network."""
    from nas.latency import LatencyConfig
    from nas.latency.parts import part_latencies

    return [f"{ms:.2f}" for ms in part_latencies(architecture, LatencyConfig(runtime=runtime))]


def _amounts(parameters: int, macs: int) -> tuple[str, str]:
    return f"{parameters:,}", f"{macs / 1e6:,.1f}"
