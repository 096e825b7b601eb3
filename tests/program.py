"""The program as a user calls it, for the tests of the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from nas.cli import main as cli_main
from tests.paths import REPO

__all__ = ["assert_one_line", "call", "vipnas"]


def vipnas(*arguments: str | Path, cwd: Path = REPO) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    words = [sys.executable, "-m", "nas", *map(str, arguments)]
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The same within this process: torch need not be imported again."""
    words = [str(word) for word in arguments]
    with redirect_stdout(StringIO()) as printed, redirect_stderr(StringIO()) as error:
        code = cli_main.main(words)
    return subprocess.CompletedProcess(words, code, printed.getvalue(), error.getvalue())


def assert_one_line(done: subprocess.CompletedProcess[str], *expected: str) -> None:
    """Exit code 2, and one line on stderr that says what is wrong."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("vipnas: error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for text in expected:
        assert text in done.stderr
