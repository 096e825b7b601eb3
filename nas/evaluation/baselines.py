"""What a video network is compared with: an image network that runs on every frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nas.data.build_once import content_key
from nas.data.instances import stack_instances
from nas.data.pose_data import sigma_identity
from nas.data.video_data import VideoData
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.prediction import ClipEvaluator
from nas.run.files import atomic_write_json
from nas.run.folder import RunFolder
from nas.weights.order import pose_network_in_order
from search_spaces import InputError

__all__ = ["TRAINED_ON", "Baseline", "evaluate_baselines", "read_baselines"]


TRAINED_ON = "key.safetensors"
"""In a video network's retraining folder: its key frame's network, to be evaluated beside it."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An image network on every frame of the validation clips."""

    network: str
    """Its id."""
    weights: str
    is_key: bool
    """Whether it is the key frame's network of the run."""
    ap: float
    """COCO's AP over all frames."""
    mean_oks: float
    ap_by_position: tuple[float, ...]
    """AP at each position of the clips, of which the network knows nothing."""
    latency_ms: float | None = None
    """Of one frame, where it was measured."""
    weights_key: str = ""
    """Of the content of the weights' file."""
    judged_on: str = ""
    """What identifies the people and how they were evaluated."""

    @property
    def is_key_trained_on(self) -> bool:
        """Whether it is the key frame's network of a retrained video network."""
        return not self.is_key and Path(self.weights).name == TRAINED_ON

    @property
    def clip_latency_ms(self) -> float | None:
        return None if self.latency_ms is None else self.latency_ms * len(self.ap_by_position)


def evaluate_baselines(
    run: RunFolder,
    data: VideoData,
    weights: Sequence[Path] = (),
    latencies_ms: Sequence[float | None] = (),
    config: EvaluationConfig | None = None,
) -> list[Baseline]:
    """Evaluate the run's key network, and these others, on every frame.

    What ``baselines.json`` in the run's folder holds of the same weights, evaluated in the same way on the same people,
    stands; such results of other networks come last. The file is written anew.

    Args:
        weights: files of image networks.
        latencies_ms: one a file of ``weights``, of one frame, or nothing. That of the key network is the search's.

    Raises:
        InputError: a network or the videos cannot be used.
    """
    config = config or EvaluationConfig(flip_test=False)
    people = stack_instances(data.val.people.instances)
    shown = (data.frames, data.config.video.frame_step, data.config.padding, data.config.codec, data.config.sigma)
    stated = "".join(sigma_identity(data.config).values())
    judged_on = content_key(*people.to_dict().values(), repr(shown) + stated, repr(config))
    known = [one for one in read_baselines(run) if one.judged_on == judged_on]
    given = list(zip(weights, latencies_ms or [None] * len(weights), strict=True))
    found = []
    for path, latency_ms in [*([(run.key, None)] if run.key.is_file() else []), *given]:
        net, weights_key = pose_network_in_order(path, data.keypoint_set.names), content_key(path.read_bytes())
        same = (_name(path, run), weights_key)
        baseline = next((one for one in known if (one.weights, one.weights_key) == same), None)
        if baseline is None:
            metrics = ClipEvaluator.of(data, net.architecture.input_size, config).metrics(net)
            baseline = Baseline(
                network=net.architecture.id,
                weights=_name(path, run),
                is_key=path == run.key,
                ap=metrics.ap,
                mean_oks=metrics.mean_oks if metrics.mean_oks == metrics.mean_oks else 0.0,
                ap_by_position=metrics.ap_by_position,
                weights_key=weights_key,
                judged_on=judged_on,
            )
        if baseline.is_key:
            latency_ms = _key_latency_ms(run)
        found.append(baseline if latency_ms is None else replace(baseline, latency_ms=latency_ms))
    evaluated = {one.weights for one in found}
    found += [one for one in known if one.weights not in evaluated]
    atomic_write_json(run.path / FILE, [asdict(one) for one in found])
    return found


FILE = "baselines.json"


def _name(path: Path, run: RunFolder) -> str:
    """Relative to the run's folder, where it lies in it: runs are moved."""
    return str(path.relative_to(run.path)) if path.is_relative_to(run.path) else str(path)


def _key_latency_ms(run: RunFolder) -> float | None:
    """The key frame's latency as it was measured with the front, or else as the search had it."""
    if not run.front.is_file():
        return None
    for record in run.load_front():
        for part in ("measured", "metrics"):
            latencies = record.get(part, {}).get("latency_by_position")
            if latencies:
                return float(latencies[0])
    return None


def read_baselines(run: RunFolder) -> list[Baseline]:
    """Those in the run's folder.

    Raises:
        InputError: the file is damaged.
    """
    path = run.path / FILE
    if not path.is_file():
        return []
    try:
        values: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return [Baseline(**{**value, "ap_by_position": tuple(value["ap_by_position"])}) for value in values]
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{path}: damaged; remove it, it is made again") from None
