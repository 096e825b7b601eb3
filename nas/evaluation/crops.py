"""Evaluating one network on the crops of people: keypoints, person scores, COCO results and AP."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evaluators import KEYPOINT_AP_NAMES, CocoKeypointAP, oks_nms, rescore, soft_oks_nms
from evaluators.oks import oks
from nas.data.build_once import content_key
from nas.data.cache import CropCache
from nas.data.coco import CocoKeypoints
from nas.data.codecs import Codec
from nas.data.flip import flip_test
from nas.data.instances import InstanceArrays
from nas.data.keypoint_sets import KeypointSet
from nas.data.pose_data import PoseData
from nas.data.simcc import fitting_codec, packed
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.resampling import Resampling, standard_errors
from nas.processes.distributed import Processes, joined
from nas.processes.threads import threads_of
from nas.run.files import atomic_write_json
from nas.weights.files import load_metadata, load_network
from nas.weights.order import in_order
from search_spaces import PoseArchitecture
from search_spaces.parts import HeadOutput
from supernet import UncalibratedSubnet

__all__ = [
    "Evaluation",
    "EvaluationConfig",
    "Subject",
    "evaluate",
    "evaluate_network",
    "evaluate_subject",
    "hold_to_pycocotools",
    "keypoint_facts",
    "person_scores",
    "predict_keypoints",
    "suppress_doubles",
]

TABLE = ("AP", "AP50", "AP75", "APM", "APL", "AR")
"""The columns of the field's tables."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network gave for N people, and how good it is."""

    metrics: dict[str, float]
    """AP AP50 AP75 APM APL AR AR50 AR75 ARM ARL, from 0 to 1; -1 where nobody is of that size."""
    image_ids: NDArray[np.int64]
    """(N,)"""
    keypoints_px: NDArray[np.float32]
    """(N, K, 2) in pixels of the images."""
    keypoint_scores: NDArray[np.float32]
    """(N, K) maxima of the heatmaps, or of SimCC the lower of the two axes' maxima."""
    scores: NDArray[np.float64]
    """(N,) of the people, after rescoring."""
    kept: NDArray[np.int64]
    """Which people were left by the suppression of doubles."""
    category_ids: NDArray[np.int64]
    """(N,) of the boxes that the people were seen in; AP is over all of them as one class."""

    def oks(self, true: InstanceArrays, sigmas: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) of each person, in ground-truth boxes; 0 where a person has no labelled keypoint."""
        return oks(self.keypoints_px, true.keypoints_px, true.visibility, true.areas, sigmas)

    def results(self) -> list[dict[str, Any]]:
        """COCO's result format, of the people that were kept."""
        points = np.concatenate([self.keypoints_px, self.keypoint_scores[..., None]], axis=-1).astype(float)
        return [
            {
                "image_id": int(self.image_ids[i]),
                "category_id": int(self.category_ids[i]),
                "keypoints": points[i].reshape(-1).tolist(),
                "score": float(self.scores[i]),
            }
            for i in self.kept
        ]


def evaluate_network(
    net: nn.Module,
    crops: CropCache,
    people: CocoKeypoints,
    codec: Codec,
    config: EvaluationConfig | None = None,
    *,
    ap: CocoKeypointAP | None = None,
    processes: Processes | None = None,
) -> Evaluation:
    """Run a network on crops, and evaluate it against the ground truth. The network is put into eval mode.

    There is no flip test where it is not known what the people's keypoints become in a mirror.

    Args:
        net: images (N, 3, H, W) → heatmaps or SimCC; trained or calibrated.
        crops: one a person of ``people``.
        ap: the measure, where the caller keeps it for several evaluations.
        processes: share the crops among these; all of them get the result.

    Raises:
        TypeError: the network is a subnet whose BatchNorm is not calibrated.
    """
    if isinstance(net, UncalibratedSubnet):
        raise TypeError("this subnet's BatchNorm is not calibrated: use supernet.calibrate(subnet, batches) first")
    config = (config or EvaluationConfig()).mirroring(people.keypoint_set.can_mirror)
    processes = processes or Processes()
    shares = np.array_split(np.arange(len(crops)), processes.world)
    mine = predict_keypoints(net, crops, codec, people.flip_indices, config, processes.device, shares[processes.rank])
    parts = processes.gather(mine)
    crop_px, keypoint_scores = (np.concatenate(values) for values in zip(*parts, strict=True))
    keypoints_px = crops.to_image_px(crop_px)
    scores = person_scores(keypoint_scores, crops.instances.scores, config)
    image_ids, areas = crops.instances.image_ids, crops.padded_sizes_px.prod(axis=-1)
    kept = suppress_doubles(image_ids, keypoints_px, scores, areas, people.sigmas, config)
    ap = ap or CocoKeypointAP(people.ground_truth, people.sigmas)
    metrics = ap.evaluate_arrays(image_ids[kept], keypoints_px[kept], scores[kept])
    category_ids = np.array([instance.category_id for instance in people.instances], dtype=np.int64)
    return Evaluation(metrics, image_ids, keypoints_px, keypoint_scores, scores, kept, category_ids)


@torch.inference_mode()
def predict_keypoints(
    net: nn.Module,
    crops: CropCache,
    codec: Codec,
    flip_indices: NDArray[np.int64],
    config: EvaluationConfig,
    device: torch.device,
    rows: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keypoints (n, K, 2) in crop pixels and their scores (n, K), of all crops or of ``rows``."""
    rows, codec = np.arange(len(crops)) if rows is None else rows, fitting_codec(codec, net)
    mirror: list[int] = flip_indices.tolist()
    shift = codec.flip_shift if config.flip_shift == "auto" else config.flip_shift
    net.eval()

    def outputs_of(images: Tensor) -> Any:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            return net(images).float()

    count = len(mirror)
    places, scores = [np.empty((0, count, 2), np.float32)], [np.empty((0, count), np.float32)]
    for begin in range(0, len(rows), config.batch_size):
        images = crops.tensor(rows[begin : begin + config.batch_size]).to(device)
        outputs = flip_test(outputs_of, images, mirror, shift) if config.flip_test else outputs_of(images)
        found_px, values = codec.decode_batch(packed(outputs).cpu().numpy())
        places.append(found_px)
        scores.append(values)
    return np.concatenate(places), np.concatenate(scores)


def person_scores(
    keypoint_scores: NDArray[np.floating], box_scores: NDArray[np.floating], config: EvaluationConfig
) -> NDArray[np.float64]:
    """The scores (N,) of people with keypoint scores (N, K) and box scores (N,), by which AP ranks them."""
    if config.score == "box":
        return np.asarray(box_scores, dtype=np.float64)
    if config.score == "keypoint":
        return np.asarray(keypoint_scores, dtype=np.float64).mean(axis=1)
    return rescore(box_scores, keypoint_scores, config.keypoint_threshold)


def suppress_doubles(
    image_ids: NDArray[np.int64],
    keypoints_px: NDArray[np.floating],
    scores: NDArray[np.float64],
    areas: NDArray[np.float64],
    sigmas: NDArray[np.float64],
    config: EvaluationConfig,
) -> NDArray[np.int64]:
    """Indices of the people to keep, image by image, the best first; arrays (N, …) in any order.

    Args:
        areas: the official code takes that of the padded box, which is what the crop shows.
    """
    if config.oks_nms == "none":
        return np.arange(len(scores))
    suppress = oks_nms if config.oks_nms == "hard" else soft_oks_nms
    order = np.argsort(image_ids, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(image_ids[order])) + 1)
    kept = [
        rows[suppress(keypoints_px[rows], scores[rows], areas[rows], config.oks_threshold, sigmas=sigmas)]
        for rows in groups
    ]
    return np.concatenate(kept)


def hold_to_pycocotools(evaluated: Evaluation, people: CocoKeypoints) -> None:
    """Compare the ten numbers with pycocotools', which defines them; about a second for 5,000 images.

    Several categories that count as one kind are compared as one class.

    Raises:
        RuntimeError: they differ: a fault of ours.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    results = [{**result, "category_id": people.category_id} for result in evaluated.results()]
    if not results:
        return
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"info": {}, **people.ground_truth}
        truth.createIndex()
        official = COCOeval(truth, truth.loadRes(results), "keypoints")
        official.params.kpt_oks_sigmas = np.asarray(people.sigmas)
        official.evaluate()
        official.accumulate()
        official.summarize()
    for name, value in zip(KEYPOINT_AP_NAMES, official.stats, strict=True):
        if abs(evaluated.metrics[name] - float(value)) > 1e-6:
            raise RuntimeError(f"{name} is {evaluated.metrics[name]!r}, and {float(value)!r} by pycocotools")


def evaluate(
    architecture: PoseArchitecture | None,
    weights: Path,
    data: PoseData,
    config: EvaluationConfig | None = None,
    out: Path | None = None,
) -> dict[str, float]:
    """Evaluate the network in a file on the validation people of ``data``; several processes share the work.

    A network whose keypoints lie in another order than the people's is put in order by their names.

    Writes ``results.json`` (measures and settings) and ``keypoints.results.json`` (COCO's format) into ``out``. The
    measures are held to pycocotools'.

    Args:
        architecture: what the file must hold; None takes the file's.

    Returns:
        The measures of the field's tables: AP, AP50, AP75, APM, APL, AR, from 0 to 1.

    Raises:
        InputError: the weights or the data cannot be used.
    """
    config = config or EvaluationConfig()
    with threads_of(config), joined(config.device) as processes:
        net, metadata = load_network(weights, architecture or PoseArchitecture), load_metadata(weights)
        net = in_order(net, metadata, data.val.keypoint_names, str(weights), tells=processes.is_first)
        found = net.architecture
        net = net.to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        size = None if found.is_simcc else found.heatmap_size
        subject = Subject(net=net, name=found.id, input_size=found.input_size, heatmap_size=size)
        return evaluate_subject(subject, weights, data, config, out, processes)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network to evaluate, in whichever runtime."""

    net: nn.Module
    """Images (N, 3, H, W) → heatmaps or SimCC, the keypoints in the data's order."""
    name: str
    """The architecture's id."""
    input_size: tuple[int, int]
    heatmap_size: tuple[int, int] | None
    """None where it gives SimCC."""

    def codec(self, data: PoseData) -> Codec:
        """For what it takes and gives."""
        output: HeadOutput = "simcc" if self.heatmap_size is None else "heatmaps"
        return data.codec(self.input_size, output, self.heatmap_size)


def evaluate_subject(
    subject: Subject,
    file: Path,
    data: PoseData,
    config: EvaluationConfig,
    out: Path | None,
    processes: Processes,
    facts: Callable[[], Mapping[str, Any]] = dict,
) -> dict[str, float]:
    """What :func:`evaluate` does with a network of these processes.

    Args:
        file: that the network is from.
        facts: what else goes into ``results.json``; the first process asks for it when all are done.
    """
    if processes.is_first:
        data.tell_of_keypoints("val", mirrors=config.flip_test, evaluates=True)
    crops, codec = data.validation_crops(subject.input_size), subject.codec(data)
    evaluated = evaluate_network(subject.net, crops, data.val, codec, config, processes=processes)
    if processes.is_first:
        hold_to_pycocotools(evaluated, data.val)
    if out is not None and processes.is_first:
        errors = _errors(evaluated, data.val)
        _write(out, evaluated, errors, subject, file, data, config, facts())
    processes.barrier()
    return {name: evaluated.metrics[name] for name in TABLE}


def keypoint_facts(keypoints: KeypointSet) -> dict[str, Any]:
    """For ``results.json``: by which tolerances AP was measured, which of them are guesses, and what was mirrored."""
    names = keypoints.names
    return {
        "sigmas": dict(zip(names, keypoints.sigmas.round(10).tolist(), strict=True)),
        "guessed_sigmas": list(keypoints.guessed_sigmas),
        "flip_pairs": [[names[left], names[right]] for left, right in keypoints.flip_pairs],
        "can_mirror": keypoints.can_mirror,
    }


def _errors(evaluated: Evaluation, people: CocoKeypoints) -> dict[str, float]:
    kept, resampling = evaluated.kept, Resampling(CocoKeypointAP(people.ground_truth, people.sigmas))
    resamples = resampling.ap(evaluated.image_ids[kept], evaluated.keypoints_px[kept], evaluated.scores[kept])
    return standard_errors(AP=resamples)


def _write(
    out: Path,
    evaluated: Evaluation,
    errors: dict[str, float],
    subject: Subject,
    file: Path,
    data: PoseData,
    config: EvaluationConfig,
    facts: Mapping[str, Any],
) -> None:
    summary = {
        "metrics": {**evaluated.metrics, **errors},
        "persons": len(evaluated.scores),
        "kept": len(evaluated.kept),
        "architecture": subject.name,
        "weights": str(file),
        "weights_key": content_key(file.read_bytes()),
        "annotations": str(data.val_files[0]),
        "detections": None if data.config.detections is None else str(data.config.detections),
        "codec": subject.codec(data).label,
        "settings": asdict(config.mirroring(data.val.keypoint_set.can_mirror)),
        **keypoint_facts(data.val.keypoint_set),
        **facts,
    }
    atomic_write_json(out / "results.json", summary)
    atomic_write_json(out / "keypoints.results.json", evaluated.results(), indent=None)
