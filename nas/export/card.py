"""The card of an exported network: what it is, what it was measured at, how it is used."""

from __future__ import annotations

from typing import Any

from nas.data.pose_data import PoseData
from nas.data.tensors import IMAGE_MEAN, IMAGE_STD
from search_spaces import PoseArchitecture
from search_spaces.complexity import count
from search_spaces.words import architecture_lines

from .config import ExportConfig

__all__ = ["card", "triple"]


def card(
    architecture: PoseArchitecture,
    record: dict[str, Any],
    metrics: dict[str, float],
    config: ExportConfig,
    data: PoseData,
    latency_source: str,
) -> str:
    """Markdown for people; ``latency_source`` says where the latency comes from."""
    height, width = architecture.input_size
    heatmap_height, heatmap_width = architecture.heatmap_size
    cost, codec = count(architecture), data.codec(architecture.input_size)
    measured = record.get("measured", {})
    latency = measured.get("latency_ms", record["objectives"].get("latency_ms"))
    lines = [
        f"# Network {architecture.id}",
        "",
        f"A {architecture.family} pose network found by a search; {cost.parameters / 1e6:.3f} M parameters, "
        f"{cost.macs / 1e6:,.1f} M multiply-accumulates at {height}×{width}.",
        "",
        "| part | what |",
        "| --- | --- |",
        *(f"| {line.replace(': ', ' | ', 1)} |" for line in architecture_lines(architecture)),
        "",
        "## Figures",
        "",
        f"- AP {metrics['AP']:.3f}, AP50 {metrics['AP50']:.3f}, AR {metrics['AR']:.3f} with **inherited** weights, "
        f"BatchNorm calibrated on {config.calibration_crops} crops, on {len(data.val.instances)} people, no flip test. "
        "Retraining is what the network is meant for: `vipnas retrain`.",
    ]
    if latency is not None:
        where = "pareto.json of the run names the machine and the runtime"
        lines.append(f"- Latency {latency:.2f} ms, {latency_source}; {where}.")
    return "\n".join(
        [
            *lines,
            "",
            "## Use",
            "",
            f"Input `images`: (N, 3, {height}, {width}) float32, RGB, minus {triple(IMAGE_MEAN)}, divided by "
            f"{triple(IMAGE_STD)} (grey levels from 0 to 255). Output `heatmaps`: (N, {architecture.keypoints}, "
            f"{heatmap_height}, {heatmap_width}); codec `{codec.name}`, sigma {codec.sigma:g}.",
            f"Keypoints: {', '.join(data.val.keypoint_names)}.",
            "",
            "```python",
            "from pathlib import Path",
            "from nas.weights import load_network",
            "",
            'net = load_network(Path("weights.safetensors"))  # a torch module in eval mode',
            "```",
            "",
        ]
    )


def triple(values: tuple[float, ...]) -> str:
    """Three numbers for a card."""
    return "(" + ", ".join(f"{value:.3f}" for value in values) + ")"
