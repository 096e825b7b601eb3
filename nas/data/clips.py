"""Clips: a key frame and the T frames after it in which one person is seen, each frame with its own box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.data.coco import PersonInstance
from nas.data.geometry import compose_affine, invert_affine
from nas.data.posetrack import PoseTrackVideos
from search_spaces.errors import InputError

__all__ = [
    "Clip",
    "distinct_people",
    "previous_from_current",
    "require_clips",
    "training_clips",
    "validation_clips",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """One person from a key frame on."""

    file: Path
    """The sequence's annotation file."""
    track_id: int
    first_frame: int
    """Place of the key frame in the sequence."""
    people: tuple[PersonInstance, ...] = field(repr=False)
    """The person in the key frame and in the frames after it: 1 + T, or fewer where the track ends."""

    def __len__(self) -> int:
        return len(self.people)

    @property
    def is_labelled(self) -> bool:
        """Whether anything is labelled in any frame."""
        return any(person.annotation_id >= 0 for person in self.people)


def training_clips(videos: PoseTrackVideos, frames: int, *, frame_step: int = 1, stride: int = 1) -> tuple[Clip, ...]:
    """All windows of 1 + ``frames`` frames of every track in which something is labelled, in the tracks' order.

    Args:
        frames: T, the propagated frames.
        frame_step: a clip shows every frame (1), every second (2), …
        stride: frames from the beginning of one clip to that of the next.

    Raises:
        InputError: no track is long enough.
    """
    require_clips(videos, frames, frame_step)
    length = frames * frame_step + 1
    clips = [
        Clip(
            file=sequence.file,
            track_id=track.track_id,
            first_frame=track.first + begin,
            people=track.people[begin : begin + length : frame_step],
        )
        for sequence in videos.sequences
        for track in sequence.tracks
        for begin in range(0, len(track) - length + 1, stride)
    ]
    return tuple(clip for clip in clips if clip.is_labelled)


def validation_clips(videos: PoseTrackVideos, frames: int, *, frame_step: int = 1) -> tuple[Clip, ...]:
    """Each labelled person of each frame in exactly one clip: windows one after the other from each track's beginning.

    The last one of a track may be shorter; a window's unlabelled end, which nothing depends on, is left out.

    Raises:
        InputError: no track is long enough for one whole clip.
    """
    require_clips(videos, frames, frame_step)
    clips = []
    for sequence in videos.sequences:
        for track in sequence.tracks:
            for phase in range(min(frame_step, len(track))):
                shown = range(phase, len(track), frame_step)
                for begin in range(0, len(shown), frames + 1):
                    people = _without_unlabelled_end([track.people[p] for p in shown[begin : begin + frames + 1]])
                    place = track.first + shown[begin]
                    if people:
                        clips.append(
                            Clip(file=sequence.file, track_id=track.track_id, first_frame=place, people=people)
                        )
    return tuple(clips)


def _without_unlabelled_end(people: Sequence[PersonInstance]) -> tuple[PersonInstance, ...]:
    labelled = [place for place, person in enumerate(people) if person.annotation_id >= 0]
    return tuple(people[: labelled[-1] + 1]) if labelled else ()


def require_clips(videos: PoseTrackVideos, frames: int, frame_step: int = 1) -> None:
    """Raises InputError where T is below 1, or no track has 1 + T frames in which its person is seen."""
    if frames < 1:
        raise InputError(f"frames: a clip has at least 1 propagated frame, got {frames}")
    longest = max((len(track) for sequence in videos.sequences for track in sequence.tracks), default=0)
    if longest < frames * frame_step + 1:
        possible = max(longest - 1, 0) // frame_step
        step = f" with frame_step {frame_step}" if frame_step > 1 else ""
        advice = f"choose at most {possible}" if possible else "give longer videos"
        raise InputError(
            f"--frames {frames}{step}: the longest track of {videos.annotations} has {longest} consecutive frames; "
            f"{advice}"
        )


def distinct_people(clips: Sequence[Clip], frames: int) -> tuple[list[PersonInstance], NDArray[np.int64]]:
    """Everybody in the clips once, by sequence, track and image id, and where each clip's frames are among them.

    Returns:
        N people, and their rows (C, 1 + frames), -1 where a clip has ended. The people do not depend on the clips'
        order.
    """
    keys: dict[int, tuple[str, int, int]] = {}
    of_id: dict[int, PersonInstance] = {}
    for clip in clips:
        for person in clip.people[: frames + 1]:
            keys[id(person)] = (str(clip.file), clip.track_id, person.image_id)
            of_id[id(person)] = person
    order = sorted(keys, key=keys.__getitem__)
    row_of = {identity: row for row, identity in enumerate(order)}
    rows = np.full((len(clips), frames + 1), -1, dtype=np.int64)
    for index, clip in enumerate(clips):
        found = [row_of[id(person)] for person in clip.people[: frames + 1]]
        rows[index, : len(found)] = found
    return [of_id[identity] for identity in order], rows


def previous_from_current(warps: NDArray[np.float64]) -> NDArray[np.float32]:
    """(N, F, 2, 3) from input pixels of each frame's crop to those of the frame before; of the first, the identity.

    Args:
        warps: (N, F, 2, 3) from pixels of the video's frames to input pixels of the crops.
    """
    maps = np.empty(warps.shape, dtype=np.float32)
    maps[:, 0] = np.eye(2, 3)
    maps[:, 1:] = compose_affine(warps[:, :-1], invert_affine(warps[:, 1:]))
    return maps
