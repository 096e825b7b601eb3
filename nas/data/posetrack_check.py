"""``vipnas data check`` on videos: everything that is wrong with PoseTrack18 sequences, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from evaluators import MeasureInputError, PoseTrackFrame, read_posetrack
from nas.data.coco_problems import Problem, as_problem
from nas.data.geometry import clip_box_xywh, has_extent
from nas.data.images import read_image_bgr
from nas.data.posetrack_folder import find_posetrack_annotations, frame_problem, images_root, sequence_files
from nas.data.posetrack_people import (
    TOO_SMALL,
    duplicate_track_ids,
    people_too_small,
    people_without_head_box,
    person_box,
)
from nas.processes.cores import available_cores
from search_spaces.errors import InputError

__all__ = ["check_posetrack", "posetrack_parts"]


def posetrack_parts(folder: Path) -> list[Path]:
    """The folders of PoseTrack18 files for training and for validation in ``folder``; none, one or both."""
    found = []
    for part in ("train", "val"):
        try:
            found.append(find_posetrack_annotations(folder, part))
        except InputError:
            continue
    return found


def check_posetrack(annotations: Path, *, decode_images: bool = True) -> list[Problem]:
    """Problems of the sequences of one folder, or of one file.

    Args:
        decode_images: decode every frame; otherwise only look whether the files are there.
    """
    try:
        files = sequence_files(annotations)
    except InputError as error:
        return [as_problem(error)]
    problems: list[Problem] = []
    owners: dict[int, Path] = {}
    for file in files:
        try:
            frames = read_posetrack(file)
        except MeasureInputError as error:
            problems.append(as_problem(error))
            continue
        problems += _identity_problems(file, frames, owners)
        root = images_root(annotations, (frame.file_name for frame in frames))
        files_wrong, size = _file_problems(file, frames, root, decode_images)
        problems += files_wrong + _people_problems(file, frames, size)
    return problems


def _identity_problems(file: Path, frames: Sequence[PoseTrackFrame], owners: dict[int, Path]) -> list[Problem]:
    """Frame numbers, ids of frames (``owners`` collects them over all files) and ids of tracks."""
    problems = []
    gap = frame_problem(file, frames)
    if gap is not None:
        problems.append(as_problem(InputError(gap)))
    for frame in frames:
        if frame.image_id in owners:
            message = (
                f"image id {frame.image_id} is used in {owners[frame.image_id].name}, too; give each frame its own"
            )
            problems.append(Problem("error", str(file), message))
        owners[frame.image_id] = file
        for track_id in duplicate_track_ids(frame):
            message = f"track_id {track_id} stands twice in {frame.file_name}; a person has one box a frame"
            problems.append(Problem("error", str(file), message))
    return problems


Size = tuple[int, int]


def _file_problems(
    file: Path, frames: Sequence[PoseTrackFrame], root: Path, decode: bool
) -> tuple[list[Problem], Size | None]:
    """Frames that are absent, do not decode, or are not of the size of the first; and that size, height and width."""
    absent = [root / frame.file_name for frame in frames if not (root / frame.file_name).is_file()]
    problems = []
    if absent:
        message = (
            f"no such frame, but {file} names it ({len(absent)} of {len(frames)} are absent); check the image folder"
        )
        problems.append(Problem("error", str(absent[0]), message))
    there = [frame for frame in frames if (root / frame.file_name).is_file()]
    with ThreadPoolExecutor(available_cores()) as pool:
        chosen = there if decode else there[:1]
        found = list(pool.map(lambda frame: _decoded_size(root / frame.file_name), chosen))
    problems += [size for size in found if isinstance(size, Problem)]
    sizes = [(frame, size) for frame, size in zip(chosen, found, strict=True) if not isinstance(size, Problem)]
    for frame, size in sizes:
        expected, source = (
            frame.image_size or sizes[0][1],
            "the annotations say" if frame.image_size else "the first is",
        )
        if size != expected:
            message = f"is {size[1]} × {size[0]} px, {source} {expected[1]} × {expected[0]}; correct either"
            problems.append(Problem("error", str(root / frame.file_name), message))
    return problems, sizes[0][1] if sizes else frames[0].image_size if frames else None


def _decoded_size(path: Path) -> Size | Problem:
    try:
        height, width = read_image_bgr(path).shape[:2]
    except InputError as error:
        return as_problem(error)
    return height, width


def _people_problems(file: Path, frames: Sequence[PoseTrackFrame], size: Size | None) -> list[Problem]:
    """Boxes that are missing or outside, and head boxes that are missing."""
    problems = []
    people = sum(len(frame.track_ids) for frame in frames)
    if not people:
        problems.append(
            Problem("warning", str(file), "no frame has an annotated person; nothing is trained or evaluated")
        )
    for frame in frames:
        for row in np.flatnonzero((frame.keypoints_px[..., 2] > 0).any(axis=1)).tolist():
            who = f"{frame.file_name}: track {int(frame.track_ids[row])}"
            if not np.isfinite(frame.bboxes_xywh[row]).all():
                message = f"{who} has no bbox; one around the keypoints is taken"
                problems.append(Problem("warning", str(file), message))
            box = person_box(frame, row)
            inside = clip_box_xywh(box, size) if size is not None else np.array(box)
            if not has_extent(inside):
                message = f"{who}: the box {list(box)} has no extent inside the image; correct it or remove the person"
                problems.append(Problem("error", str(file), message))
    for frame, row in people_too_small(frames):
        who = f"{frame.file_name}: track {int(frame.track_ids[row])}"
        problems.append(Problem("warning", str(file), f"{who}: area is {frame.areas[row]:g}: {TOO_SMALL}"))
    headless = people_without_head_box(frames)
    if headless:
        message = (
            f"{len(headless)} of {people} people have no bbox_head, the first in {headless[0].file_name}; "
            "PoseTrack's AP and MOTA cannot be measured"
        )
        problems.append(Problem("warning", str(file), message))
    return problems
