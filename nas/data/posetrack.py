"""People in videos: reading PoseTrack18 sequences into tracks, with ground-truth or detector boxes.

A sequence is one JSON file and a folder of frames. Not every frame has labels (PoseTrack18 labels every fourth one of
a validation video): a track goes on through short gaps with boxes between its neighbours' and no labels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluators import POSETRACK_KEYPOINTS, MeasureInputError, PoseTrackFrame, read_posetrack
from nas.data.categories import PersonCategories
from nas.data.coco import AREA_OF_BOX, CocoKeypoints, PersonInstance
from nas.data.config import KeypointLayout
from nas.data.detections import read_detections
from nas.data.geometry import clip_box_xywh, has_extent
from nas.data.images import StatedSize, read_image_bgr
from nas.data.keypoint_sets import COCO_KEYPOINT_SET, KeypointSet
from nas.data.posetrack_folder import frame_problem, images_root, sequence_files
from nas.data.posetrack_people import (
    TOO_SMALL,
    annotation_id,
    duplicate_track_ids,
    labelled_people,
    people_too_small,
    people_without_head_box,
    person_area,
    person_box,
)
from nas.data.track_boxes import Box, interpolated, linked, segments
from search_spaces.errors import InputError

__all__ = ["POSETRACK_KEYPOINT_SET", "PoseTrackVideos", "Track", "VideoSequence", "read_posetrack_videos"]

POSETRACK_KEYPOINT_SET = KeypointSet(POSETRACK_KEYPOINTS)
"""PoseTrack18's 17 keypoints, of which the ears are never labelled."""
SKELETON = ((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10))
"""Bones that PoseTrack18 and COCO have in common."""

PEOPLE = PersonCategories({1: "person"}, {"id": 1, "name": "person", "keypoints": list(POSETRACK_KEYPOINTS)})
"""Of PoseTrack18, which has no other category."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Track:
    """One person in consecutive frames of a sequence, without a gap."""

    track_id: int
    first: int
    """Place of the first frame in the sequence."""
    people: tuple[PersonInstance, ...] = field(repr=False)
    """One a frame. Where nothing is labelled the visibility is 0 and ``annotation_id`` is -1."""

    def __len__(self) -> int:
        return len(self.people)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoSequence:
    """One video."""

    file: Path
    """The PoseTrack18 file."""
    frames: tuple[PoseTrackFrame, ...] = field(repr=False)
    """All frames in order, with the annotations as they stand in the file."""
    tracks: tuple[Track, ...]

    @property
    def name(self) -> str:
        return self.file.stem


@dataclass(frozen=True, kw_only=True, eq=False)
class PoseTrackVideos:
    """Sequences and what a measure of AP needs."""

    sequences: tuple[VideoSequence, ...] = field(repr=False)
    annotations: Path
    """The file, or the folder of the files, that was read."""
    images: Path
    """What the frames' file names are relative to."""
    layout: KeypointLayout
    keypoint_set: KeypointSet = POSETRACK_KEYPOINT_SET
    """Of the layout."""

    @cached_property
    def people(self) -> CocoKeypoints:
        """Every labelled person of every frame as COCO has them: each frame is one image.

        The ground truth holds labelled people that no detector box was linked to, too; ``instances`` does not.
        """
        labelled = [
            person
            for sequence in self.sequences
            for track in sequence.tracks
            for person in track.people
            if person.annotation_id >= 0
        ]
        return CocoKeypoints(
            instances=tuple(labelled),
            ground_truth=self._ground_truth,
            keypoint_set=self.keypoint_set,
            skeleton=SKELETON,
            images=self.images,
        )

    @cached_property
    def _ground_truth(self) -> dict[str, Any]:
        images, annotations = [], []
        for sequence in self.sequences:
            for frame in sequence.frames:
                people = list(labelled_people(frame, self.layout))
                if people:
                    images.append({"id": int(frame.image_id), "file_name": frame.file_name})
                annotations += [_coco_annotation(frame, *person) for person in people]
        category = {"id": 1, "name": "person", "keypoints": list(self.keypoint_set.names)}
        category["skeleton"] = [[a + 1, b + 1] for a, b in SKELETON]
        return {"images": images, "annotations": annotations, "categories": [category]}

    def sample(self, limit: int | None, seed: int = 0) -> PoseTrackVideos:
        """Randomly chosen whole videos, until their tracks have at least ``limit`` frames (``None``: all)."""
        if limit is None:
            return self
        chosen: list[VideoSequence] = []
        for place in np.random.default_rng(seed).permutation(len(self.sequences)).tolist():
            if sum(len(track) for sequence in chosen for track in sequence.tracks) >= limit:
                break
            chosen.append(self.sequences[place])
        return replace(self, sequences=tuple(chosen))

    def require_head_boxes(self) -> None:
        """Raises InputError where an annotated person has no head box: PoseTrack's AP and MOTA measure by it."""
        for sequence in self.sequences:
            missing = people_without_head_box(sequence.frames)
            if missing:
                raise InputError(
                    f"{sequence.file}: {len(missing)} people have no bbox_head, the first in {missing[0].file_name}; "
                    "PoseTrack's AP and MOTA need head boxes (add them, or evaluate by COCO's AP)"
                )


def read_posetrack_videos(
    annotations: Path,
    images: Path | None = None,
    detections: Path | None = None,
    *,
    score_threshold: float = 0.0,
    layout: KeypointLayout = "posetrack",
    longest_gap: int = 4,
) -> PoseTrackVideos:
    """Read one PoseTrack18 file, or all of a folder.

    Args:
        images: what the frames' file names are relative to; found beside the annotations where it is not given.
        detections: person boxes in COCO's detection format, linked to the tracks frame by frame by their overlap, in
            place of the annotated boxes. Boxes that overlap nobody are not used.
        layout: keypoints as PoseTrack18 has them, or the 13 + nose that COCO has too in COCO's places.
        longest_gap: a track goes on through so many frames without its person; through more, it ends and starts anew.

    Raises:
        InputError: a file cannot be read, frames are missing, a track id stands twice in a frame, a box lies outside.
    """
    annotations = Path(annotations)
    files = sequence_files(annotations)
    contents = {file: _read(file) for file in files}
    root = images_root(annotations, (frame.file_name for frame in contents[files[0]])) if images is None else images
    if not any(len(frame.track_ids) for frames in contents.values() for frame in frames):
        raise InputError(f"{annotations}: no frame has an annotated person; give labelled PoseTrack18 sequences")
    _require_own_ids(contents)
    _tell_areas(contents)
    boxes = None if detections is None else _detected(Path(detections), contents, score_threshold)
    sequences = [_sequence(file, frames, Path(root), boxes, layout, longest_gap) for file, frames in contents.items()]
    videos = PoseTrackVideos(
        sequences=tuple(sequences),
        annotations=annotations,
        images=Path(root),
        layout=layout,
        keypoint_set=POSETRACK_KEYPOINT_SET if layout == "posetrack" else COCO_KEYPOINT_SET,
    )
    if not any(sequence.tracks for sequence in sequences):
        raise InputError(f"{detections}: no box overlaps an annotated person; do the two files belong together?")
    return videos


def _read(file: Path) -> list[PoseTrackFrame]:
    try:
        frames = read_posetrack(file)
    except MeasureInputError as error:
        raise InputError(str(error)) from None
    problem = frame_problem(file, frames)
    if problem is not None:
        raise InputError(problem)
    for frame in frames:
        twice = duplicate_track_ids(frame)
        if twice:
            raise InputError(
                f"{file}: track_id {twice[0]} stands twice in {frame.file_name}; a person has one box a frame"
            )
    return frames


def _require_own_ids(contents: Mapping[Path, Sequence[PoseTrackFrame]]) -> None:
    """Boxes and results name an image by its id alone."""
    owner: dict[Any, Path] = {}
    for file, frames in contents.items():
        for frame in frames:
            if isinstance(frame.image_id, bool) or not isinstance(frame.image_id, int):
                raise InputError(f"{file}: image id {frame.image_id!r} must be a whole number")
            if frame.image_id in owner:
                raise InputError(
                    f"{file}: image id {frame.image_id} is used in {owner[frame.image_id].name}, too; every frame "
                    "needs an id of its own"
                )
            owner[frame.image_id] = file


def _tell_areas(contents: Mapping[Path, Sequence[PoseTrackFrame]]) -> None:
    small = [(file, *found) for file, frames in contents.items() for found in people_too_small(frames)]
    if small:
        file, frame, row = small[0]
        more = f" (the first of {len(small)} such; `vipnas data check` lists them)" if len(small) > 1 else ""
        who = f"{frame.file_name}: track {int(frame.track_ids[row])}"
        _log.warning("%s: %s: area is %g: %s%s", file, who, frame.areas[row], TOO_SMALL, more)


def _detected(
    path: Path, contents: Mapping[Path, Sequence[PoseTrackFrame]], score_threshold: float
) -> dict[int, list[tuple[Box, float]]]:
    sizes = {int(frame.image_id): frame.image_size for frames in contents.values() for frame in frames}
    found: dict[int, list[tuple[Box, float]]] = {}
    for box in read_detections(path, PEOPLE, sizes, score_threshold):
        found.setdefault(box.image_id, []).append((box.bbox_xywh, box.score))
    return found


def _coco_annotation(frame: PoseTrackFrame, row: int, keypoints: NDArray[np.float64]) -> dict[str, Any]:
    box = person_box(frame, row)
    return {
        "id": annotation_id(frame, row),
        "image_id": int(frame.image_id),
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
        "bbox": list(box),
        "area": person_area(frame, row, box),
    }


def _sequence(
    file: Path,
    frames: Sequence[PoseTrackFrame],
    root: Path,
    detections: Mapping[int, list[tuple[Box, float]]] | None,
    layout: KeypointLayout,
    longest_gap: int,
) -> VideoSequence:
    sizes = _frame_sizes(frames, root)
    seen = _annotated_boxes(file, frames, sizes)
    if detections is not None:
        present = [detections.get(frame.image_id, []) for frame in frames]
        seen = linked({track: interpolated(boxes, longest_gap) for track, boxes in seen.items()}, present)
    labels = [dict(_by_track(frame, layout)) for frame in frames]
    tracks = [
        Track(
            track_id=track_id,
            first=first,
            people=tuple(
                _person(
                    frames[first + place], root, sizes[first + place], box, score, labels[first + place].get(track_id)
                )
                for place, (box, score) in enumerate(boxes)
            ),
        )
        for track_id, of_track in seen.items()
        for first, boxes in segments(interpolated(of_track, longest_gap))
    ]
    _require_frames(file, tracks)
    return VideoSequence(file=file, frames=tuple(frames), tracks=tuple(tracks))


def _frame_sizes(frames: Sequence[PoseTrackFrame], root: Path) -> list[StatedSize | None]:
    """Of every frame. PoseTrack18's own files do not say, the first frame does; None where it is not there."""
    if not frames:
        return []
    first, size = root / frames[0].file_name, None
    if frames[0].image_size is not None:
        size = StatedSize(*frames[0].image_size, "the first frame's annotations say")
    elif first.is_file():
        height, width = read_image_bgr(first).shape[:2]
        size = StatedSize(height, width, "the first frame of the video is")
    return [size if frame.image_size is None else StatedSize(*frame.image_size) for frame in frames]


def _annotated_boxes(
    file: Path, frames: Sequence[PoseTrackFrame], sizes: Sequence[StatedSize | None]
) -> dict[int, dict[int, tuple[Box, float]]]:
    """Of each track, its boxes by the place of the frame, clipped to the image as those of still images are."""
    seen: dict[int, dict[int, tuple[Box, float]]] = {}
    for place, (frame, size) in enumerate(zip(frames, sizes, strict=True)):
        for row, track_id in enumerate(frame.track_ids.tolist()):
            box = person_box(frame, row)
            if size is not None:
                x, y, width, height = clip_box_xywh(box, (size.height, size.width)).tolist()
                box = (x, y, width, height)
            if has_extent(box):
                seen.setdefault(track_id, {})[place] = (box, 1.0)
            elif (frame.keypoints_px[row, :, 2] > 0).any():
                raise InputError(
                    f"{file}: the box of track {track_id} in {frame.file_name} has no extent inside the image; "
                    "correct it or remove the person"
                )
    return seen


_Label = tuple[NDArray[np.float64], int, float]  # keypoints (17, 3), annotation id, area


def _by_track(frame: PoseTrackFrame, layout: KeypointLayout) -> Iterator[tuple[int, _Label]]:
    for row, keypoints in labelled_people(frame, layout):
        area = person_area(frame, row, person_box(frame, row))
        yield int(frame.track_ids[row]), (keypoints, annotation_id(frame, row), area)


def _person(
    frame: PoseTrackFrame, root: Path, size: StatedSize | None, box: Box, score: float, label: _Label | None
) -> PersonInstance:
    keypoints, identity, area = label or (np.zeros((len(POSETRACK_KEYPOINTS), 3)), -1, AREA_OF_BOX * box[2] * box[3])
    return PersonInstance(
        image_id=int(frame.image_id),
        file=root / frame.file_name,
        bbox_xywh=box,
        keypoints_px=keypoints[:, :2].astype(np.float32),
        visibility=keypoints[:, 2].astype(np.uint8),
        area=area,
        score=score,
        annotation_id=identity,
        image_size=size,
    )


def _require_frames(file: Path, tracks: Sequence[Track]) -> None:
    needed = dict.fromkeys(person.file for track in tracks for person in track.people)
    absent = [path for path in needed if not path.is_file()]
    if absent:
        raise InputError(
            f"{absent[0]}: no such frame, but {file} names it ({len(absent)} of {len(needed)} are absent); "
            "check the image folder"
        )
