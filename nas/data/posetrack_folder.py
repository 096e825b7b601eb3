"""Where the files of PoseTrack18 lie, and whether a sequence lists all of its frames."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from evaluators import PoseTrackFrame
from search_spaces.errors import InputError

__all__ = ["find_posetrack_annotations", "frame_problem", "images_root", "sequence_files"]

_ROOTS = ("", "posetrack", "posetrack_data")


def find_posetrack_annotations(folder: Path, part: str) -> Path:
    """The folder ``annotations/{part}`` with PoseTrack18 files: in ``folder``, its posetrack/ or its posetrack_data/.

    Raises:
        InputError: there is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name one that has annotations/{part}/*.json of PoseTrack18")
    for root in _ROOTS:
        annotations = folder / root / "annotations" / part
        if any(annotations.glob("*.json")):
            return annotations
    raise InputError(f"{folder / 'annotations' / part}: no .json file there; PoseTrack18 has one a sequence")


def sequence_files(annotations: Path) -> list[Path]:
    """The file itself, or the files of a folder by name.

    Raises:
        InputError: there is none.
    """
    if annotations.is_file():
        return [annotations]
    if not annotations.is_dir():
        raise InputError(f"{annotations}: no such file or folder; give PoseTrack18 annotations")
    files = sorted(annotations.glob("*.json"))
    if not files:
        raise InputError(f"{annotations}: no .json file there; PoseTrack18 has one a sequence")
    return files


def images_root(annotations: Path, file_names: Iterable[str]) -> Path:
    """What the frames' names (``images/val/NAME/000000.jpg``) are relative to: the first place that has one of them.

    Looked for in the annotations' folder and up to three above it, as in DIR/annotations/val/NAME.json or
    DIR/posetrack_data/annotations/val/NAME.json. Where none has one, the usual place: reading then names what is
    missing.
    """
    folder = annotations if annotations.is_dir() else annotations.parent
    places = [folder, *folder.resolve().parents[:3]]
    names = list(file_names)
    for place in places:
        if any(name and (place / name).is_file() for name in names):
            return place
    return folder.resolve().parents[1] if len(folder.resolve().parents) > 1 else folder


def frame_problem(file: Path, frames: Sequence[PoseTrackFrame]) -> str | None:
    """What is wrong with the numbers of the frames, as their names give them: gaps, or another order.

    Sequences of every second or fourth frame are no problem if they keep their step.
    """
    if not frames:
        return f"{file}: lists no image; give a PoseTrack18 sequence"
    found = [re.search(r"(\d+)$", Path(frame.file_name).stem) for frame in frames]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) < len(frames) or len(numbers) < 2:
        return None
    step = min(later - earlier for earlier, later in pairwise(numbers))
    if step < 1:
        return f"{file}: its images are not in the order of their numbers; sort them"
    for place, (earlier, later) in enumerate(pairwise(numbers)):
        if later - earlier != step:
            return (
                f"{file}: frames are missing between {frames[place].file_name} and "
                f"{Path(frames[place + 1].file_name).name}; list every frame, the unlabelled ones too"
            )
    return None
