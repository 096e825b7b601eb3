"""How much the frames before tell: of the joints that are hidden in a frame, how many were seen a moment ago, and how
many frames are blurred where an earlier one was sharp.

    vipnas data synthesize DIR --train-images 0 --val-images 0
    python scripts/benchmark_temporal_need.py DIR --part val

Counts annotations and pixels; trains nothing. DIR is any PoseTrack18 folder whose files list hidden joints
(``occluded``), as the synthetic ones do.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.images import read_image_bgr
from nas.data.posetrack import Track, read_posetrack_videos
from nas.data.posetrack_folder import find_posetrack_annotations
from search_spaces.errors import InputError

BEFORE = 3
"""Frames that a network with memory may have seen before the current one."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--part", choices=("train", "val"), default="val")
    parser.add_argument("--videos", type=int, default=None, help="look at the first so many")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        videos = read_posetrack_videos(find_posetrack_annotations(arguments.folder, arguments.part))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    sequences = videos.sequences[: arguments.videos]
    tracks = [track for sequence in sequences for track in sequence.tracks]
    visibility = [np.stack([person.visibility for person in track.people]) for track in tracks]
    labelled = sum(int((seen > 0).sum()) for seen in visibility)
    hidden = sum(int((seen == 1).sum()) for seen in visibility)
    print(f"{len(sequences)} videos, {len(tracks)} tracks, {sum(map(len, tracks))} people in frames, {labelled} joints")
    print(f"hidden joints: {hidden / max(labelled, 1):.1%}")
    for reach in range(1, BEFORE + 1):
        pairs = [seen_before(seen, reach) for seen in visibility]
        known, candidates = (sum(pair[place] for pair in pairs) for place in (0, 1))
        print(f"  of those with {reach} frames before them, seen in one of these: {known / max(candidates, 1):.1%}")
    motion = np.concatenate([joint_motion(track) for track in tracks])
    quantiles = ", ".join(f"{q:.0%} {np.quantile(motion, q):.3f}" for q in (0.5, 0.9, 0.99))
    print(f"motion of a joint from frame to frame, in heights of the box: {quantiles}")
    ratios = np.array([ratio for track in tracks for ratio in relative_sharpness(track)])
    for limit in (0.75, 0.5):
        share = float((ratios < limit).mean())
        print(f"people with less than {limit} of the sharpness of one of the {BEFORE} frames before: {share:.1%}")
    return 0


def seen_before(visibility: NDArray[np.uint8], reach: int) -> tuple[int, int]:
    """Hidden joints (F, K) that were seen within the ``reach`` frames before, and all that have so many before them."""
    hidden = visibility[reach:] == 1
    frames = len(visibility) - reach
    if frames <= 0:
        return 0, 0
    seen = np.any([visibility[reach - back : reach - back + frames] == 2 for back in range(1, reach + 1)], axis=0)
    return int((hidden & seen).sum()), int(hidden.sum())


def joint_motion(track: Track) -> NDArray[np.float64]:
    """Distances from frame to frame of joints that are labelled in both, in units of the box's height."""
    places = np.stack([person.keypoints_px for person in track.people]).astype(np.float64)
    labelled = np.stack([person.visibility > 0 for person in track.people])
    heights = np.array([person.bbox_xywh[3] for person in track.people])
    moved = np.linalg.norm(np.diff(places, axis=0), axis=-1) / heights[1:, None]
    return moved[labelled[1:] & labelled[:-1]]


def relative_sharpness(track: Track) -> Iterator[float]:
    """Of each frame after the third, the sharpness of the person's box as a part of the best of the three before."""
    values = [sharpness(person.file, person.bbox_xywh) for person in track.people]
    for place in range(BEFORE, len(values)):
        yield values[place] / max(max(values[place - BEFORE : place]), 1e-9)


def sharpness(file: Path, bbox_xywh: tuple[float, float, float, float]) -> float:
    """Standard deviation of the Laplacian in a box of an image, a little smoothed against noise."""
    x, y, width, height = (max(round(value), 0) for value in bbox_xywh)
    grey = cv2.cvtColor(read_image_bgr(file), cv2.COLOR_BGR2GRAY)[y : y + height + 1, x : x + width + 1]
    return float(cv2.Laplacian(cv2.GaussianBlur(grey, (3, 3), 0), cv2.CV_64F).std())


if __name__ == "__main__":
    sys.exit(main())
