"""The card of an exported video network: what runs on each frame, what it was measured at, how it is used."""

from __future__ import annotations

from typing import Any

from nas.data.tensors import IMAGE_MEAN, IMAGE_STD
from nas.data.video_data import VideoData
from nas.video_evaluation import ClipMetrics
from search_spaces import VideoArchitecture
from search_spaces.video_costs import count_video

from .card import triple

__all__ = ["video_card"]


def video_card(
    architecture: VideoArchitecture,
    record: dict[str, Any],
    metrics: ClipMetrics,
    calibration_clips: int,
    data: VideoData,
    latency_source: str,
) -> str:
    """Markdown for people; ``latency_source`` says where the latency comes from."""
    cost = count_video(architecture)
    measured = record.get("measured", {})
    latency = measured.get("latency_ms", record["objectives"].get("latency_ms"))
    whole = metrics.metrics
    lines = [
        f"# Video network {architecture.id}",
        "",
        f"A key frame and {architecture.length} propagated frames, each with a network of its own, found by a search; "
        f"{cost.parameters / 1e6:.3f} M parameters, {cost.macs / 1e6:,.1f} M multiply-accumulates a clip.",
        "",
        *_frame_table(architecture, record, metrics),
        "",
        "## Figures",
        "",
        f"- AP {whole['AP']:.3f}, AP50 {whole['AP50']:.3f}, AR {whole['AR']:.3f} over all frames, mean OKS "
        f"{metrics.mean_oks:.3f}, with **inherited** weights in the propagated frames, BatchNorm calibrated on "
        f"{calibration_clips} clips, on {len(data.val_clips)} clips, no flip test. Retraining is what the "
        "network is meant for: `vipnas retrain`.",
    ]
    if latency is not None:
        where = "pareto.json of the run names the machine and the runtime"
        lines.append(f"- Latency {latency:.2f} ms a clip, {latency_source}; {where}.")
    return "\n".join([*lines, "", *_use(architecture, data)])


def _frame_table(architecture: VideoArchitecture, record: dict[str, Any], metrics: ClipMetrics) -> list[str]:
    cost = count_video(architecture)
    found = record.get("measured", {}).get("latency_by_position")
    found = found or record.get("metrics", {}).get("latency_by_position") or []
    networks = [architecture.key, *(frame.architecture for frame in architecture.frames)]
    fusions = ["key frame", *(str(frame.fusion) for frame in architecture.frames)]
    header = ("frame", "network", "fusion", "parameters", "MACs", "latency", "AP")
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    for position, (network, fusion, part) in enumerate(zip(networks, fusions, cost.by_frame, strict=True)):
        latency = f"{found[position]:.2f} ms" if position < len(found) else "–"
        ap = metrics.ap_by_position[position]
        cells = (str(position), network.id, fusion, f"{part.parameters / 1e6:.3f} M", f"{part.macs / 1e6:,.1f} M",
                 latency, f"{ap:.3f}" if ap >= 0 else "–")  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _use(architecture: VideoArchitecture, data: VideoData) -> list[str]:
    (height, width), (heatmap_height, heatmap_width) = architecture.input_size, architecture.heatmap_size
    codec = data.codec(architecture.input_size)
    return [
        "## Use",
        "",
        "`vipnas predict VIDEO --model .` runs it, a key frame every "
        f"{architecture.length + 1} frames or when a person is new or lost.",
        "",
        f"Input `images` of each frame: (N, 3, {height}, {width}) float32, RGB, minus {triple(IMAGE_MEAN)}, divided by "
        f"{triple(IMAGE_STD)} (grey levels from 0 to 255). A frame with fusion also takes `previous_heatmaps`, those "
        "of the frame before, resampled to the present crop. Output `heatmaps`: (N, "
        f"{architecture.keypoints}, {heatmap_height}, {heatmap_width}); codec `{codec.name}`, sigma {codec.sigma:g}.",
        f"Keypoints: {', '.join(data.keypoint_set.names)}.",
        "",
        "```python",
        "from pathlib import Path",
        "from nas.video_weights import load_video_network",
        "",
        'net = load_video_network(Path("weights.safetensors"))  # a torch module in eval mode; net.step(...) online',
        "```",
        "",
    ]
