"""An architecture in words, for tables, hover texts and cards."""

from __future__ import annotations

from .architecture import PoseArchitecture
from .complexity import count
from .parts import Head, Stage
from .video import VideoArchitecture
from .video_costs import count_video

__all__ = ["architecture_lines", "comparison_rows", "network_lines"]


def _stage_text(stage: Stage) -> str:
    groups = f" g{stage.groups}" if stage.groups > 1 else ""
    expansion = f" e{stage.expansion}" if stage.expansion > 1 else ""
    flags = f"{' att' if stage.attention else ''}{' pyramid' if stage.pyramid else ''}"
    kind = f" {stage.block}" if stage.block else ""
    widths = "/".join(str(stage.width * 2**branch) for branch in range(stage.branches))
    modules = f"{stage.modules} × " if stage.branches > 1 else ""
    return f"{modules}{stage.depth} × {widths}{kind}{expansion} k{stage.kernel_size}{groups}{flags}"


def _head_text(head: Head) -> str:
    groups = f" g{head.groups[0]}" if head.groups and head.groups[0] > 1 else ""
    upsampling = f" {head.upsampling}" if head.upsampling != "deconvolution" else ""
    layers = f"{len(head.widths)} × {head.widths[0] if head.widths else 0}{groups}{upsampling}"
    if head.output == "heatmaps":
        return f"{layers}{f', k{head.kernel_size}' if head.kernel_size > 1 else ''}"
    before = f"{layers}, " if head.widths else ""
    return f"{before}SimCC k{head.kernel_size}{f' att {head.attention}' if head.attention else ''}"


def architecture_lines(architecture: PoseArchitecture) -> list[str]:
    """One line a part: depth × width, kernel size, groups, attention; of several branches modules × depth × widths."""
    lines = [f"stem: {architecture.stem.width} k{architecture.stem.kernel_size}"]
    lines += [f"stage {index}: {_stage_text(stage)}" for index, stage in enumerate(architecture.stages, 1)]
    return [*lines, f"head: {_head_text(architecture.head)}"]


def network_lines(network: PoseArchitecture | VideoArchitecture) -> list[str]:
    """As :func:`architecture_lines`, after the input's size; of a video network one line a frame: its network, fusion
    and MACs."""
    if isinstance(network, PoseArchitecture):
        height, width = network.input_size
        return [f"input: {height}×{width}", *architecture_lines(network)]
    key, *frames = count_video(network).by_frame
    lines = [f"key frame: {network.key.id}, {key.macs / 1e6:,.1f} MMACs"]
    for position, (frame, cost) in enumerate(zip(network.frames, frames, strict=True), 1):
        lines.append(f"frame {position}: {frame.architecture.id}, {frame.fusion}, {cost.macs / 1e6:,.1f} MMACs")
    return lines


def comparison_rows(architectures: list[PoseArchitecture]) -> list[tuple[str, list[str]]]:
    """(row title, one cell an architecture): parts, parameters and MACs."""
    depth = max(len(a.stages) for a in architectures)
    rows: list[tuple[str, list[str]]] = [
        ("input", [f"{a.input_size[0]}×{a.input_size[1]}" for a in architectures]),
        ("stem", [f"{a.stem.width} k{a.stem.kernel_size}" for a in architectures]),
    ]
    for index in range(depth):
        cells = [_stage_text(a.stages[index]) if index < len(a.stages) else "–" for a in architectures]
        rows.append((f"stage {index + 1}", cells))
    rows.append(("head", [_head_text(a.head) for a in architectures]))
    costs = [count(a) for a in architectures]
    rows.append(("parameters", [f"{cost.parameters / 1e6:.3f} M" for cost in costs]))
    rows.append(("MACs", [f"{cost.macs / 1e6:,.1f} M" for cost in costs]))
    return rows
