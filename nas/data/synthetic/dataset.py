"""Makes the synthetic data set in a folder: which images and videos, by how many processes, and all or nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.run.files import atomic_write_json
from search_spaces.errors import InputError

from .workers import make_all
from .writer import Task, write_annotations

__all__ = ["SyntheticConfig", "SyntheticSummary", "synthesize"]

Progress = Callable[[int, int], None]
CONTENT_VERSION = 2
"""Raised whenever the same configuration would give other files."""
_MARK = "synthetic.json"
_SMALLEST, _LARGEST = 64, 2048


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """What to make. The content depends on everything here but ``workers``."""

    train_images: int = 1600
    """Still images in the training set; 0 for none."""
    val_images: int = 400
    """Still images in the validation set; 0 for none."""
    videos_train: int = 40
    """Videos in the training set; 0 for none."""
    videos_val: int = 12
    """Videos in the validation set; 0 for none."""
    frames: int = 16
    """Frames a video, every one of them labelled."""
    frames_val: int | None = None
    """Frames a validation video; None for as many as the others have."""
    image_size: tuple[int, int] = (256, 320)
    """Height and width in pixels, each from 64 to 2048."""
    seed: int = 0
    """Same seed, same files, whatever the number of workers."""
    workers: int | None = None
    """Processes that draw; None for one a processor."""

    def __post_init__(self) -> None:
        for field in ("train_images", "val_images", "videos_train", "videos_val", "seed"):
            _require_integer(field, getattr(self, field), 0)
        _require_integer("frames", self.frames, 2)
        if self.frames_val is not None:
            _require_integer("frames_val", self.frames_val, 2)
        if self.workers is not None:
            _require_integer("workers", self.workers, 1)
        if len(self.image_size) != 2:
            raise InputError(f"synthetic: image_size={self.image_size}; give height and width, such as 256, 320")
        for side in self.image_size:
            _require_integer("image_size", side, _SMALLEST, _LARGEST)
        if max(self.frames, self.frames_val or 0) > 9999 or max(self.videos_train, self.videos_val) > 99999:
            raise InputError("synthetic: at most 9,999 frames a video and 99,999 videos a split fit the file names")
        if not any((self.train_images, self.val_images, self.videos_train, self.videos_val)):
            raise InputError("synthetic: no images and no videos asked for; give at least one of them a number above 0")

    def content(self) -> dict[str, Any]:
        """What the files depend on, for ``synthetic.json``."""
        value = asdict(self)
        del value["workers"]
        if self.frames_val in (None, self.frames):
            del value["frames_val"]
        value["image_size"] = list(self.image_size)
        return {"content_version": CONTENT_VERSION, **value}


@dataclass(frozen=True, kw_only=True)
class SyntheticSummary:
    """What lies in ``folder`` and how much of it."""

    folder: Path
    images: Path
    train_annotations: Path
    val_annotations: Path
    posetrack: Path
    train_images: int
    val_images: int
    train_persons: int
    val_persons: int
    train_videos: int
    val_videos: int
    video_frames: int
    video_persons: int
    reused: bool
    """Whether the folder held this very data set already, so that nothing was drawn."""


def _require_integer(field: str, value: object, low: int, high: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        allowed = f"a whole number of at least {low}" if high is None else f"whole numbers from {low} to {high}"
        raise InputError(f"synthetic: {field}={value!r}; give {allowed}")


def synthesize(folder: Path, config: SyntheticConfig, progress: Progress | None = None) -> SyntheticSummary:
    """Draw the data set into ``folder``, or reuse it if it is there already.

    It is drawn into a hidden folder beside ``folder`` that is renamed at the end, so ``folder`` never holds a part.

    Args:
        folder: gets ``images/*.jpg``, ``annotations/person_keypoints_{train,val}.json`` (COCO), ``posetrack/images``,
            ``posetrack/annotations`` (PoseTrack18) and ``synthetic.json``.
        progress: called with (pictures done, pictures in all), video frames included.

    Raises:
        InputError: ``folder`` is a file, or holds something else.
        OSError: the disk is full or cannot be written; nothing is left behind.
    """
    folder = Path(folder)
    summary = _existing(folder, config)
    if summary is not None:
        return summary
    parent = folder.resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=parent, prefix=f".{folder.resolve().name}.partial-"))
    try:
        counts = _draw(partial, config, progress)
        atomic_write_json(partial / _MARK, {**config.content(), "counts": counts})
        partial.chmod(0o755)  # mkdtemp makes private folders
        os.replace(partial, folder)  # onto nothing or an empty folder
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return _summary(folder, counts, reused=False)


def _existing(folder: Path, config: SyntheticConfig) -> SyntheticSummary | None:
    """The summary of the same data set made before; None if the folder is free."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder for the synthetic data set")
    if not folder.exists() or not any(folder.iterdir()):
        return None
    try:
        found = json.loads((folder / _MARK).read_text(encoding="utf-8"))
        counts = dict(found.pop("counts"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{folder}: holds files that are no synthetic data set; give an empty or new folder") from None
    wanted = config.content()
    different = sorted(key for key in {**wanted, **found} if wanted.get(key) != found.get(key))
    if different:
        key = different[0]
        raise InputError(
            f"{folder}: holds a synthetic data set with {key}={found.get(key)}, but {wanted.get(key)} is asked for; "
            "delete it or give another folder"
        )
    return _summary(folder, counts, reused=True)


def _summary(folder: Path, counts: dict[str, int], reused: bool) -> SyntheticSummary:
    annotations = folder / "annotations"
    return SyntheticSummary(
        folder=folder,
        images=folder / "images",
        train_annotations=annotations / "person_keypoints_train.json",
        val_annotations=annotations / "person_keypoints_val.json",
        posetrack=folder / "posetrack",
        reused=reused,
        **counts,
    )


def _tasks(folder: Path, config: SyntheticConfig) -> list[Task]:
    tasks = []
    for split, images, videos, length in (
        ("train", config.train_images, config.videos_train, config.frames),
        ("val", config.val_images, config.videos_val, config.frames_val or config.frames),
    ):

        def task(first: int, count: int, frames: int, split: str = split) -> Task:
            return Task(folder, split, config.image_size, config.seed, frames, first, count)

        tasks += [task(index, 1, length) for index in range(videos)]
        tasks += [task(start, min(16, images - start), 0) for start in range(0, images, 16)]
    return tasks


def _draw(folder: Path, config: SyntheticConfig, progress: Progress | None) -> dict[str, int]:
    tasks = _tasks(folder, config)
    total = sum(task.pictures for task in tasks)
    results: list[list[Any]] = [[] for _ in tasks]
    done = 0
    for split in ("train", "val"):
        (folder / "posetrack" / "annotations" / split).mkdir(parents=True)
        (folder / "posetrack" / "images" / split).mkdir(parents=True)
    (folder / "images").mkdir()
    workers = min(config.workers or os.cpu_count() or 1, len(tasks))
    for place, result in make_all(tasks, workers):
        results[place] = result
        done += tasks[place].pictures
        if progress is not None:
            progress(done, total)
    return write_annotations(folder, tasks, results)
