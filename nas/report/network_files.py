"""Links to the files of a run's trained networks: what is to be taken away."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nas.run.folder import RunFolder

from .labels import Labels
from .records import read_each

__all__ = ["network_files"]

WEIGHTS = "best.safetensors"


def network_files(
    run: RunFolder, results: Mapping[str, Mapping[str, Any]], labels: Labels, stage: str = "retrain"
) -> str:
    """A list with a line a trained network, in the order of their letters: AP, and files relative to the report.

    Empty where there is none.

    Args:
        results: architecture id → ``results.json`` of its training.
        stage: the folder of the run where they lie.

    Raises:
        InputError: a file that describes an export is damaged.
    """
    facts = read_each(run.path / stage, "facts.json")
    lines = []
    for key, result in sorted(results.items(), key=lambda one: labels.position(one[0])):
        folder = run.path / stage / key
        if not (folder / WEIGHTS).is_file():
            continue
        ap = (result.get("best") or {}).get("AP")
        figure = f", AP {ap:.3f}" if isinstance(ap, float) else ""
        names = [WEIGHTS, *(name for name in facts.get(key, {}).get("files", []) if isinstance(name, str))]
        links = [_link(f"{stage}/{key}/{name}", name) for name in names if (folder / name).is_file()]
        lines.append(f"<li><b>{html.escape(labels.named(key))}</b>{figure}: {', '.join(links)}</li>")
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def _link(path: str, text: str) -> str:
    return f'<a href="{quote(path)}">{html.escape(text)}</a>'
