"""Files of the driver's that workers need on whatever node they are.

Where a worker's node sees the same files at the same paths (one machine, a shared disk), it reads them there. Where
not, the driver puts their bytes into Ray's object store, which brings them to a node once, and the first worker there
lays them into the node's cache folder, named by their content; the others, and later searches, find them.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.latency.calibration import cache_folder
from nas.data.build_once import build_once, content_key

__all__ = ["FilesMissing", "NodeFiles", "fetching", "file_digest", "portable", "put_files"]

_fetched: dict[str, Callable[[], Any]] = {}


class FilesMissing(Exception):  # noqa: N818 (said of files)
    """This node has neither the driver's files nor their bytes yet; ``digests`` names them."""

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__(f"{len(digests)} files are not on this node")
        self.digests = list(digests)


@dataclass(frozen=True)
class NodeFiles:
    """Some files of one folder, known by their content. Made by the driver, pickled to the workers."""

    folder: Path
    """Where the driver has them."""
    digests: Mapping[str, str]
    """File name → digest of its content."""

    @classmethod
    def of(cls, folder: Path, names: Sequence[str]) -> NodeFiles:
        """The files of these names, read once for their digests."""
        folder = folder.resolve()
        return cls(folder, {name: file_digest(folder / name) for name in names})

    @property
    def paths(self) -> dict[str, Path]:
        """Digest → the driver's file."""
        return {digest: self.folder / name for name, digest in self.digests.items()}

    def here(self) -> Path:
        """A folder of this node that holds the files.

        Raises:
            FilesMissing: they must be fetched first (see :func:`fetching`).
            OSError: the node's cache folder cannot be written.
        """
        if self._are_in(self.folder):
            return self.folder
        key = content_key(*(part for pair in sorted(self.digests.items()) for part in pair))
        entry = cache_folder() / "nodes" / key
        if not self._are_in(entry):
            if not _fetched.keys() >= set(self.digests.values()):
                raise FilesMissing(list(self.digests.values()))
            if entry.is_dir() and not self._are_in(entry):  # still, and not laid down meanwhile by another worker
                (entry / "manifest.json").unlink(missing_ok=True)  # of other content: it is built again
        return build_once(cache_folder() / "nodes", key, self._write)

    def _are_in(self, folder: Path) -> bool:
        try:
            return all(file_digest(folder / name) == digest for name, digest in self.digests.items())
        except OSError:
            return False

    def _write(self, entry: Path) -> None:
        for name, digest in self.digests.items():
            (entry / name).write_bytes(_fetched[digest]())


def portable(factory: Any) -> tuple[Any, dict[str, Path]]:
    """A factory that works on any node, and the files that it needs there, by digest.

    A factory that reads files has a method ``portable`` of its own which gives just that; another one needs none.
    """
    return factory.portable() if hasattr(factory, "portable") else (factory, {})


def file_digest(path: Path) -> str:
    """32 hexadecimal digits of a file's content; about a gigabyte a second."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def fetching(references: Mapping[str, Any]) -> Iterator[None]:
    """Within, missing files are taken from these references of Ray's object store, by digest."""
    import ray

    def fetch(reference: Any) -> Callable[[], Any]:
        return lambda: ray.get(reference).data

    _fetched.update({digest: fetch(reference) for digest, reference in references.items()})
    try:
        yield
    finally:
        _fetched.clear()


def put_files(paths: Mapping[str, Path]) -> dict[str, Any]:
    """References to the bytes of files in the object store, by digest."""
    import ray

    return {digest: ray.put(np.fromfile(path, dtype=np.uint8)) for digest, path in paths.items()}
