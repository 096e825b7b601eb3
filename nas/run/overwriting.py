"""No command writes over what it reads, or over what the user keeps under a name that it would write."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import InputError

__all__ = ["refuse_foreign_config", "refuse_foreign_results", "refuse_over_inputs"]

SECTIONS = {"run_dir", "seed", "space", "data", "search", "export"}
"""In every configuration that a stage has noted. A person writes down what is to be different, hardly ever all."""


def refuse_over_inputs(outputs: Iterable[Path], inputs: Iterable[Path | None], advice: str) -> None:
    """Refuse to write where something is read from; links and relative paths are seen through.

    Args:
        outputs: files and folders that the command writes.
        inputs: files and folders that it reads; None where it does not.
        advice: ends the message: which option names another place.

    Raises:
        InputError: an output is an input, or a folder that holds one.
    """
    given = [path for path in inputs if path is not None and path.exists()]
    for output in outputs:
        for path in given if output.exists() else []:
            if os.path.samefile(output, path) or output.resolve() in path.resolve().parents:
                raise InputError(f"{output}: is read by this command, which would write over it; {advice}")


def refuse_foreign_config(run_dir: Path) -> None:
    """Refuse to note a run's configuration over one that somebody has written by hand.

    Raises:
        InputError: the folder's ``config.yaml`` is such a one.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        return
    try:
        found: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return  # whoever reads it says so
    if isinstance(found, dict) and found and not found.keys() >= SECTIONS:
        raise InputError(
            f"{path}: was written by hand, and the run would note its whole configuration over it; give the file "
            "another name, or the run another folder (--run-dir)"
        )


def refuse_foreign_results(folder: Path, advice: str) -> None:
    """Refuse to write the results of an evaluation over others' files of the same names.

    Raises:
        InputError: ``results.json`` or ``keypoints.results.json`` is in the folder, and no evaluation wrote it.
    """
    path = folder / "results.json"
    if path.is_file():
        try:
            found: Any = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not {"settings", "weights"} <= found.keys():
            raise InputError(f"{path}: is there and was not made by vipnas evaluate; {advice}")
    elif (folder / "keypoints.results.json").exists():
        raise InputError(f"{folder / 'keypoints.results.json'}: is there and was not made by vipnas evaluate; {advice}")
