"""A device that is none: a command whose milliseconds are a made-up function of the ONNX file.

A file takes 0.01 ms by itself, 0.05 ms a node, and 1 ms for a hundred thousand weights; passes differ a little.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import onnx

__all__ = ["calls_of", "made_up_ms", "stub_device", "write_program"]

STUB = '''#!{python}
import json, os, sys
sys.path.insert(0, {repo!r})
from pathlib import Path
from tests.device_fixture import made_up_ms
files = [Path(word) for word in sys.argv[1:]]
with open({log!r}, "a") as log:
    log.write(f"{{len(files)}}\\n")
fails = Path({fails!r})
if fails.exists():
    limit = int(fails.read_text())
    if sum(1 for _ in open({log!r})) > limit:
        sys.exit("first line\\nthe board is on fire")
name = Path({name!r})
passes = {{file.name: [made_up_ms(file) * factor for factor in (0.99, 1.0, 1.02)] for file in files}}
print(json.dumps({{**({{"fingerprint": name.read_text()}} if name.exists() else {{}}), **passes}}))
'''


def made_up_ms(file: Path) -> float:
    """What a network takes on the made-up device."""
    graph = onnx.load(str(file)).graph
    weights = sum(1 if not one.dims else _product(one.dims) for one in graph.initializer)
    return 0.01 + 0.05 * len(graph.node) + weights / 1e5


def _product(dims: list[int]) -> int:
    product = 1
    for one in dims:
        product *= one
    return product


def stub_device(folder: Path, name: str | None = "toy board") -> Path:
    """The command; ``device-name`` beside it is its fingerprint, ``fails-after`` lets it fail after so many calls."""
    if name is not None:
        (folder / "device-name").write_text(name, encoding="utf-8")
    text = STUB.format(
        python=sys.executable,
        repo=str(Path(__file__).resolve().parent.parent),
        log=str(folder / "calls"),
        fails=str(folder / "fails-after"),
        name=str(folder / "device-name"),
    )
    return write_program(folder / "measure.py", text)


def write_program(path: Path, text: str) -> Path:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def calls_of(folder: Path) -> list[int]:
    """The number of files of each call so far."""
    path = folder / "calls"
    return [int(line) for line in path.read_text(encoding="utf-8").split()] if path.exists() else []
