"""The card of an exported network: whose weights it has, what it is, what it was measured at, how it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.data.codecs import Codec
from nas.data.simcc import SimCCCodec
from nas.data.tensors import IMAGE_MEAN, IMAGE_STD
from nas.report.describe import latency_protocol, machine_text
from nas.weights.meaning import HeatmapMeaning
from search_spaces import PoseArchitecture, VideoArchitecture
from search_spaces.complexity import count
from search_spaces.video_costs import count_video
from search_spaces.words import architecture_lines

from .metadata import artifact_metadata

__all__ = ["Figures", "card"]

@dataclass(frozen=True, kw_only=True)
class Figures:
    """How good and how quick a network is, as far as it was measured."""

    accuracy: Sequence[str] = ()
    """Sentences."""
    ap_by_position: Sequence[float] = ()
    """Of a video network, the key frame first; -1 where there was nobody to evaluate by."""
    record: Mapping[str, Any] | None = None
    """The search's evaluation of the architecture, which has its latency."""
    latency_source: str = ""
    """Where that latency comes from, in words."""
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    """What it was measured on and by, as ``Fingerprint.to_json`` has it, with ``batch``; empty where nobody knows."""
    is_video: bool = False
    """Whether the latency is that of a clip."""

    @property
    def _measured(self) -> Mapping[str, Any]:
        return (self.record or {}).get("measured", {})

    @property
    def latency_ms(self) -> float | None:
        """Of an image, or of a whole clip."""
        value = self._measured.get("latency_ms", (self.record or {}).get("objectives", {}).get("latency_ms"))
        return None if value is None else float(value)

    @property
    def latency_by_position(self) -> Sequence[float]:
        found = self._measured.get("latency_by_position")
        return found or (self.record or {}).get("metrics", {}).get("latency_by_position") or []

    @property
    def latency_text(self) -> str:
        """Milliseconds, whence, on what machine, and how they were measured; empty where nobody has measured them."""
        if self.latency_ms is None:
            return ""
        clip = " a clip" if self.is_video else ""
        return f"{self.latency_ms:.2f} ms{clip}, {self._how_measured}"

    @property
    def latencies_by_network(self) -> list[str]:
        """The same of each network, of a clip of each frame's own; empty where they are not known."""
        if not self.is_video:
            return [self.latency_text] if self.latency_text else []
        return [f"{ms:.2f} ms this frame, {self._how_measured}" for ms in self.latency_by_position]

    @property
    def _how_measured(self) -> str:
        unknown = "pareto.json of the run names machine and runtime"
        machine = machine_text(self.fingerprint) if self.fingerprint else unknown
        parts = [self.latency_source, machine]
        if "measured" in self.latency_source:
            parts.append(latency_protocol(self.fingerprint))
        return "; ".join(parts)


def card(
    architecture: PoseArchitecture | VideoArchitecture,
    first_line: str,
    figures: Figures,
    meaning: HeatmapMeaning,
    weights_name: str,
    *,
    has_predict: bool,
) -> str:
    """Markdown for people.

    Args:
        first_line: whose weights these are (:mod:`nas.export.origin`).
        weights_name: of the file of weights; empty where there is none.
        has_predict: whether ``predict.py`` lies beside it.
    """
    is_video, lines = isinstance(architecture, VideoArchitecture), [first_line, ""]
    if isinstance(architecture, VideoArchitecture):
        lines += [f"# Video network {architecture.id}", "", *_video_parts(architecture, figures)]
    else:
        lines += [f"# Network {architecture.id}", "", *_image_parts(architecture)]
    lines += ["", "## Figures", "", *(f"- {sentence}." for sentence in figures.accuracy)]
    if figures.latency_text:
        lines.append(f"- Latency {figures.latency_text}.")
    lines += ["", "## Use", "", *_use(architecture, meaning)]
    if weights_name:
        lines += ["", *_code(is_video, weights_name)]
    lines += ["", *_without_the_package(architecture, meaning, has_predict)]
    return "\n".join([*lines, ""])


def _image_parts(architecture: PoseArchitecture) -> Iterator[str]:
    height, width = architecture.input_size
    cost = count(architecture)
    yield (
        f"A {architecture.family} pose network; {cost.parameters / 1e6:.3f} M parameters, "
        f"{cost.macs / 1e6:,.1f} M multiply-accumulates at {height}×{width}."
    )
    yield from ("", "| part | what |", "| --- | --- |")
    yield from (f"| {line.replace(': ', ' | ', 1)} |" for line in architecture_lines(architecture))


def _video_parts(architecture: VideoArchitecture, figures: Figures) -> Iterator[str]:
    cost = count_video(architecture)
    yield (
        f"A key frame and {architecture.length} propagated frames, each with a network of its own; "
        f"{cost.parameters / 1e6:.3f} M parameters, {cost.macs / 1e6:,.1f} M multiply-accumulates a clip."
    )
    networks = [architecture.key, *(frame.architecture for frame in architecture.frames)]
    fusions = ["key frame", *(str(frame.fusion) for frame in architecture.frames)]
    header = ("frame", "network", "fusion", "parameters", "MACs", "latency", "AP")
    yield from ("", f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}")
    for position, (network, fusion, part) in enumerate(zip(networks, fusions, cost.by_frame, strict=True)):
        latencies, aps = figures.latency_by_position[position:], figures.ap_by_position[position:]
        cells = (
            str(position), network.id, fusion, f"{part.parameters / 1e6:.3f} M", f"{part.macs / 1e6:,.1f} M",
            f"{latencies[0]:.2f} ms" if latencies else "–", f"{aps[0]:.3f}" if aps and aps[0] >= 0 else "–",
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def _use(architecture: PoseArchitecture | VideoArchitecture, meaning: HeatmapMeaning) -> Iterator[str]:
    height, width = architecture.input_size
    of_each, fused = "", ""
    if isinstance(architecture, VideoArchitecture):
        of_each = " of each frame"
        fused = (
            " A frame with fusion also takes `previous_heatmaps`, those of the frame before, resampled to the present "
            "crop."
        )
        yield (
            "`vipnas predict VIDEO --model .` runs it, a key frame every "
            f"{architecture.length + 1} frames or when a person is new or lost."
        )
        yield ""
    codec = meaning.codec
    yield (
        f"Input `images`{of_each}: (N, 3, {height}, {width}) float32, RGB, minus {_triple(IMAGE_MEAN)}, divided by "
        f"{_triple(IMAGE_STD)} (grey levels from 0 to 255).{fused} {_output(architecture, codec)} Crops are "
        f"{meaning.padding:g} times the person's box."
    )
    yield f"Keypoints: {', '.join(meaning.keypoint_names)}."
    if meaning.assumed:
        options = ", ".join(f"--{name}" for name in meaning.assumed)
        yield f"**Assumed**, since the file of the weights does not say it: {', '.join(meaning.assumed)} ({options})."


def _output(architecture: PoseArchitecture | VideoArchitecture, codec: Codec) -> str:
    """Names, shapes and meaning of what comes out."""
    if isinstance(codec, SimCCCodec) and isinstance(architecture, PoseArchitecture):
        (x, y), sigmas = architecture.parts[-1].outputs, codec.axis_sigmas
        return (
            f"Outputs `simcc_x`: (N, {x.channels}, {x.size[1]}) and `simcc_y`: (N, {y.channels}, {y.size[0]}), scores "
            f"over bins of half an input pixel along the width and the height; codec `{codec.label}`, sigmas "
            f"{sigmas[0]:.4g} and {sigmas[1]:.4g} bins. A keypoint lies at both maxima, and its score is the lower of "
            "them."
        )
    height, width = architecture.heatmap_size
    return (
        f"Output `heatmaps`: (N, {architecture.keypoints}, {height}, {width}); codec `{codec.label}`, sigma "
        f"{codec.sigma:g}."
    )


def _code(is_video: bool, weights_name: str) -> list[str]:
    online = "; net.step(...) online" if is_video else ""
    return [
        "```python",
        "from pathlib import Path",
        "from nas.weights.files import load_network",
        "",
        f'net = load_network(Path("{weights_name}"))  # a torch module in eval mode{online}',
        "```",
    ]


def _without_the_package(
    architecture: PoseArchitecture | VideoArchitecture, meaning: HeatmapMeaning, has_predict: bool
) -> Iterator[str]:
    """What every deployed file says of itself, for who has this card alone."""
    yield from ("## Without this package", "")
    yield "What the deployed files (ONNX, OpenVINO, `.pt2`) say of themselves; W and H are the crop's width and height."
    if has_predict:
        yield "`predict.py`, beside `model.onnx`, does it with numpy, onnxruntime and OpenCV."
    yield from ("", "| | |", "| --- | --- |")
    facts = artifact_metadata(meaning, architecture.id)
    yield from (f"| `{name}` | {value.replace('|', '/')} |" for name, value in facts.items())


def _triple(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in values) + ")"
