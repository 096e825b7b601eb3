"""A folder as the one that the runs were made in: data, settings and runs lie at the same relative paths."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.before.people import write_people, write_videos

__all__ = ["MADE", "afresh", "begin_search", "lay_out", "pack", "undisturbed", "working_in"]

HERE = Path(__file__).resolve().parent
MADE = Path(os.environ.get("VIPNAS_BEFORE", HERE))
"""What ``make.py`` has made; the variable names what it made on another machine."""


def lay_out(folder: Path, with_runs: bool = True) -> None:
    """Data, settings and the runs of before."""
    write_people(folder / "data" / "people")
    write_videos(folder / "data" / "videos")
    shutil.copytree(HERE / "settings", folder / "settings")
    if with_runs:
        unpack(Path(shutil.copytree(MADE / "runs", folder / "runs")))


def afresh(run: str) -> Path:
    """The run, in the current folder, in the state of its interruption."""
    shutil.rmtree(Path("runs") / run, ignore_errors=True)
    return unpack(Path(shutil.copytree(MADE / "runs" / run, Path("runs") / run)))


def pack(folder: Path) -> None:
    """Checkpoints are made of hundreds of small tensors, half of the file is empty; nothing else is changed."""
    for file in folder.rglob("checkpoint.pt"):
        file.with_name("checkpoint.pt.gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))
        file.unlink()


def unpack(folder: Path) -> Path:
    """The inverse of :func:`pack`; the folder."""
    for file in folder.rglob("checkpoint.pt.gz"):
        file.with_name("checkpoint.pt").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    return folder


def undisturbed() -> dict[str, Any]:
    """What came out where nothing was interrupted."""
    return dict(json.loads(gzip.decompress((MADE / "undisturbed.json.gz").read_bytes())))


def begin_search(run: Path, new: Path) -> None:
    """A run folder whose supernet is trained, and nothing was searched yet."""
    new.mkdir()
    for name in ("config.yaml", "space.json", "video_space.json"):
        if (run / name).is_file():
            shutil.copyfile(run / name, new / name)
    for weights in run.glob("*.safetensors"):
        shutil.copyfile(weights, new / weights.name)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """The paths in a run's configuration are relative to where its commands are given."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
