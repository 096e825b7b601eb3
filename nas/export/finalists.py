"""The export of a run's finalists: trained weights, written beside them as retraining does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nas.finalists.outcome import read_finalists
from nas.run.folder import RunFolder
from nas.search.record.front import spread
from search_spaces import InputError

from .config import ExportConfig
from .trained import BEST, ExportedWeights, export_beside

__all__ = ["are_finalists", "export_finalists"]


def are_finalists(run: RunFolder, ids: Sequence[str]) -> bool:
    """Whether the run has trained finalists, and each of these beginnings of ids is one of theirs."""
    if not run.finalists_file.is_file():
        return False
    trained = _trained(run)
    return all(any(known.startswith(one) for known in trained) for one in ids)


def export_finalists(
    run: RunFolder,
    config: ExportConfig,
    ids: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[ExportedWeights]:
    """Write the front of the finalists, or those whose ids begin with ``ids``, into ``RUN/finalists/ID``.

    Neither the supernet nor data are needed.

    Args:
        config: ``networks`` of the front, spread over it; ``formats`` to write beside the weights.

    Raises:
        InputError: there are no finalists, several begin so, or a file there is no export of these weights.
        RuntimeError: an ONNX file gives other numbers than torch.
    """
    chosen = [_one(run, prefix) for prefix in ids]
    if not ids:
        found = read_finalists(run)
        front = [{"id": one["id"], "objectives": one} for one in found["finalists"] if one["id"] in found["front"]]
        chosen = [str(one["id"]) for one in spread(front, config.networks, "latency_ms")]
    exported = []
    for done, identity in enumerate(chosen):
        if progress:
            progress(done, len(chosen))
        exported.append(export_beside(run.finalist(identity) / BEST, config.formats))
    if progress:
        progress(len(chosen), len(chosen))
    return exported


def _trained(run: RunFolder) -> list[str]:
    return [str(entry["id"]) for entry in read_finalists(run)["finalists"] if entry["ap"] is not None]


def _one(run: RunFolder, prefix: str) -> str:
    found = [identity for identity in _trained(run) if identity.startswith(prefix)]
    if len(found) != 1:
        what = "no trained network has" if not found else f"{len(found)} networks have"
        raise InputError(f"{run.finalists_file}: {what} an id that begins with {prefix!r}")
    return found[0]
