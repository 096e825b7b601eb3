"""ARCH on the command line: a published name, a JSON file, or RUN:id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from search_spaces import InputError, PoseArchitecture, VideoArchitecture, published, published_names, space_names
from search_spaces.video import any_architecture, load_any_architecture

__all__ = [
    "ARCH_HELP",
    "AnyArchitecture",
    "find_in_run",
    "resolve_any_architecture",
    "resolve_architecture",
    "resolve_video_architecture",
]

AnyArchitecture = PoseArchitecture | VideoArchitecture

ARCH_HELP = "a published name (vipnas spaces), a JSON file, or RUN:id (the beginning of an id is enough)"


def resolve_architecture(text: str) -> PoseArchitecture:
    """The architecture of an image network that ``text`` names.

    Raises:
        InputError: as :func:`resolve_any_architecture`, or it is of a video network.
    """
    found = resolve_any_architecture(text)
    if isinstance(found, VideoArchitecture):
        raise InputError(
            f"{text}: is a video network's architecture, and this is for image networks; where video networks are "
            "possible, --frames says so"
        )
    return found


def resolve_video_architecture(text: str) -> VideoArchitecture:
    """The architecture of a video network that ``text`` names.

    Raises:
        InputError: as :func:`resolve_any_architecture`, or it is of an image network.
    """
    found = resolve_any_architecture(text)
    if isinstance(found, PoseArchitecture):
        raise InputError(f"{text}: is an image network's architecture; with video.frames name a video network's")
    return found


def resolve_any_architecture(text: str) -> AnyArchitecture:
    """The architecture, of an image or a video network, that ``text`` names.

    Raises:
        InputError: there is no such name, file, run or id; or an id's beginning fits several.
    """
    if text in published_names():
        return published(text)
    path = Path(text)
    if text in space_names():
        raise InputError(f"{text}: is a search space, of many networks; `vipnas spaces {text}` shows it")
    if path.suffix in (".yaml", ".yml") and path.is_file():
        raise InputError(f"{text}: is no architecture; if it is a search space, `vipnas spaces {text}` shows it")
    if path.is_file() or text.endswith(".json"):
        return load_any_architecture(path)
    run, colon, prefix = text.rpartition(":")
    if colon:
        return find_in_run(Path(run), prefix)
    if path.is_dir():
        raise InputError(f"{text}: is a folder; name a network in it, as {text.rstrip('/')}:id")
    try:
        return published(text)
    except InputError as error:
        raise InputError(f"{error}; or give a JSON file, or RUN:id") from None


def find_in_run(run: Path, prefix: str) -> AnyArchitecture:
    """The architecture of a run folder whose id begins with ``prefix``.

    Raises:
        InputError: no such folder; nothing in it has that id; or several do.
    """
    if not run.is_dir():
        raise InputError(f"{run}: no such run folder")
    if not prefix.isalnum():
        raise InputError(f"{run}: write the id of a network after the colon, not {prefix!r}")
    found = {a.id: a for a in _architectures(run, prefix)}
    if not found:
        raise InputError(f"{run}: no network whose id begins with {prefix!r}; evaluations.jsonl and export/ have them")
    if len(found) > 1:
        some = ", ".join(sorted(found)[:4])
        raise InputError(f"{run}: {len(found)} networks have an id that begins with {prefix!r} ({some}); write more")
    return next(iter(found.values()))


def _architectures(run: Path, prefix: str) -> Iterator[AnyArchitecture]:
    """Of the journal's evaluations, and of exported and retrained networks (whose run may have lost its journal)."""
    from nas.search.record.journal import read_journal

    journal = run / "evaluations.jsonl"
    if journal.is_file():
        for record in read_journal(journal):
            if record["id"].startswith(prefix):
                yield any_architecture(record["architecture"], where=f"{journal}: {record['id']}")
    for stage in ("export", "finalists", "retrain"):
        for path in sorted((run / stage).glob(f"{prefix}*/architecture.json")):
            yield load_any_architecture(path)
