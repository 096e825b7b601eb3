"""PoseTrack18: AP, MOTA, MOTP, precision and recall, as poseval gives them.

Sources of the definitions: poseval (github.com/leonid-pishchulin/poseval and its Python 3 fork by svenkreiss) and
motmetrics 1.4, which it calls. Needs neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from glob import escape, glob
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import MeasureInputError
from .posetrack_files import PoseTrackFrame, read_posetrack
from .posetrack_matching import EVALUATED_JOINTS, FrameMatch, match_frame
from .posetrack_tracks import JointTracks

__all__ = ["POSETRACK_NAMES", "evaluate_posetrack", "posetrack_per_joint"]

GROUPS = {
    "Head": ("head_top", "head_bottom", "nose"),
    "Shou": ("right_shoulder", "left_shoulder"),
    "Elb": ("right_elbow", "left_elbow"),
    "Wri": ("right_wrist", "left_wrist"),
    "Hip": ("right_hip", "left_hip"),
    "Knee": ("right_knee", "left_knee"),
    "Ankl": ("right_ankle", "left_ankle"),
}
POSETRACK_NAMES = (*GROUPS, "Total")

Floats = NDArray[np.float64]
Path_ = str | PathLike[str]


def evaluate_posetrack(ground_truth_dir: Path_, predictions_dir: Path_) -> dict[str, dict[str, float]]:
    """Per cent by joint group ``Head Shou Elb Wri Hip Knee Ankl Total``, under these names:

    - ``AP``, and ``AP_precision`` and ``AP_recall`` at the last rank;
    - ``MOTA``, ``MOTP``, ``precision`` and ``recall`` of the tracks (poseval's columns Prec and Rec).

    A joint that is predicted but nowhere labelled has AP NaN, which Total leaves out and Head does not, as in poseval.

    Args:
        ground_truth_dir: folder of PoseTrack18 files, one a sequence.
        predictions_dir: folder of files of the same names, with the same frames in the same order.

    Raises:
        MeasureInputError: a file is missing or cannot be read, or its frames are not those of the ground truth.
    """
    per_joint = posetrack_per_joint(ground_truth_dir, predictions_dir)
    return {
        name: {group: float(np.mean([values[joint] for joint in joints])) for group, joints in GROUPS.items()}
        | {"Total": values["total"]}
        for name, values in per_joint.items()
    }


def posetrack_per_joint(ground_truth_dir: Path_, predictions_dir: Path_) -> dict[str, dict[str, float]]:
    """The same by joint, with poseval's mean over joints as ``total``; arguments as :func:`evaluate_posetrack`."""
    sequences = list(_sequences(Path(ground_truth_dir), Path(predictions_dir)))
    tables = _average_precision([frame for sequence in sequences for frame in sequence]) | _tracking(sequences)
    return {
        name: dict(zip(EVALUATED_JOINTS, values.tolist(), strict=True)) | {"total": _mean_of_known(values)}
        for name, values in tables.items()
    }


def _mean_of_known(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _sequences(ground_truth_dir: Path, predictions_dir: Path) -> Iterable[list[FrameMatch]]:
    """Matches of the labelled frames of each sequence, in the order in which the folder lists the files.

    That order decides between equal scores, which moves AP by some thousandths of a point where scores are rounded.
    poseval takes it as the file system gives it, and so do we: sorted names would be tidier, and not poseval's figures.
    """
    for folder, name in ((ground_truth_dir, "ground truth"), (predictions_dir, "predictions")):
        if not folder.is_dir():
            raise MeasureInputError(f"{name}: {folder} is not a folder; give the folder of the PoseTrack18 files")
    files = list(map(Path, glob(f"{escape(str(ground_truth_dir))}/*.json")))
    if not files:
        raise MeasureInputError(f"ground truth: {ground_truth_dir} has no .json file; give the folder of the sequences")
    for file in files:
        if not (predictions_dir / file.name).is_file():
            raise MeasureInputError(f"predictions: {predictions_dir} has no {file.name}; every sequence needs a file")
    for file in files:
        truth, prediction = read_posetrack(file), read_posetrack(predictions_dir / file.name)
        _check_frames(truth, prediction, predictions_dir / file.name)
        labelled = [pair for pair in zip(truth, prediction, strict=True) if len(pair[0].track_ids)]
        yield [match_frame(true, predicted) for true, predicted in labelled]


def _check_frames(truth: Sequence[PoseTrackFrame], prediction: Sequence[PoseTrackFrame], name: Path) -> None:
    if len(truth) != len(prediction):
        raise MeasureInputError(f"{name}: has {len(prediction)} frames, the truth {len(truth)}; list every frame")
    for number, (true, predicted) in enumerate(zip(truth, prediction, strict=True)):
        ours, theirs = Path(predicted.file_name).name, Path(true.file_name).name
        if ours and theirs and ours != theirs:
            raise MeasureInputError(f"{name}: frame {number} is {ours}, in the ground truth {theirs}; keep its order")


def _average_precision(frames: Sequence[FrameMatch]) -> dict[str, Floats]:
    """AP, precision and recall by joint, each joint ranked by its own scores over all frames."""
    table = np.zeros((3, len(EVALUATED_JOINTS)))
    if frames:
        predicted = np.concatenate([frame.predicted for frame in frames])
        scores = np.concatenate([frame.scores for frame in frames])
        right = np.concatenate([frame.right for frame in frames])
        labelled = np.concatenate([frame.labelled for frame in frames]).sum(axis=0)
        for joint in range(len(EVALUATED_JOINTS)):
            chosen = predicted[:, joint]
            if chosen.any():
                table[:, joint] = _ranked(scores[chosen, joint], right[chosen, joint], int(labelled[joint]))
    return dict(zip(("AP", "AP_precision", "AP_recall"), 100 * table, strict=True))


def _ranked(scores: Floats, right: NDArray[np.bool_], positives: int) -> tuple[float, float, float]:
    """Area under the envelope of precision over recall, and both at the last rank."""
    hits = np.cumsum(right[np.argsort(scores)[::-1]])  # not stable: equal scores fall as they do in poseval
    precision = hits / np.arange(1, len(hits) + 1)
    if positives == 0:
        return float("nan"), float(precision[-1]), float("nan")
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    area = np.sum(np.diff(hits, prepend=0) / positives * envelope)
    return float(area), float(precision[-1]), float(hits[-1] / positives)


def _tracking(sequences: Sequence[Sequence[FrameMatch]]) -> dict[str, Floats]:
    """MOTA, MOTP, precision and recall by joint, from counts over all sequences."""
    tracks = [[_joint_tracks(sequence, joint) for sequence in sequences] for joint in range(len(EVALUATED_JOINTS))]
    total = {
        name: np.array([sum(getattr(part, name) for part in parts) for parts in tracks], dtype=np.float64)
        for name in ("misses", "switches", "false_positives", "objects", "detections", "distance")
    }
    errors = total["misses"] + total["switches"] + total["false_positives"]
    found = total["detections"]
    with np.errstate(divide="ignore", invalid="ignore"):
        objects = np.where(total["objects"] > 0, total["objects"], np.nan)
        claimed = np.where(found + total["false_positives"] > 0, found + total["false_positives"], np.nan)
        return {
            "MOTA": 100 * (1 - errors / objects),
            "MOTP": np.where(found == 0, 0.0, 100 * (1 - total["distance"] / found)),
            "precision": 100 * found / claimed,
            "recall": 100 * found / objects,
        }


def _joint_tracks(sequence: Sequence[FrameMatch], joint: int) -> JointTracks:
    tracks = JointTracks()
    for frame in sequence[:-1]:  # poseval leaves out the last frame of each sequence
        if len(frame.true_ids) == 0 or len(frame.predicted_ids) == 0:
            tracks.add_empty_frame()
            continue
        true, predicted = np.flatnonzero(frame.labelled[:, joint]), np.flatnonzero(frame.predicted[:, joint])
        distance = frame.distance[predicted[:, None], true[None], joint].T
        tracks.add_frame(frame.true_ids[true].tolist(), frame.predicted_ids[predicted].tolist(), distance)
    return tracks
