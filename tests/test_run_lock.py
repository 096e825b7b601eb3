"""One writer a folder: who is refused, by which name, and that a killed holder holds nothing."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nas.run.files import atomic_write_text, remove_partial
from nas.run.lock import RunLock
from search_spaces.errors import InputError

from .paths import REPO

HOLDER = """
import sys, time
from pathlib import Path
from nas.run.lock import RunLock
lock = RunLock(Path(sys.argv[1]), "a search")
print("held", flush=True)
time.sleep(60)
"""


def test_the_second_is_refused_by_name_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(arguments, cwd=REPO, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        name = rf"a search \(process {holder.pid} on {socket.gethostname()}\) is writing to this folder"
        with pytest.raises(InputError, match=name):
            RunLock(tmp_path, "a training")
        holder.kill()
    with RunLock(tmp_path, "a training"):
        assert f"a training (process {os.getpid()} on " in (tmp_path / ".lock").read_text()
    with RunLock(tmp_path, "a training"):
        pass


def test_a_folder_that_cannot_be_made_is_the_users_affair(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        RunLock(tmp_path / "file", "a search")


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), RunLock(tmp_path, "a search"):
        assert "cannot lock" in caplog.text


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; import nas.run.files\n"
        "os.fsync = lambda file: os.kill(os.getpid(), 9)\n"
        "nas.run.files.atomic_write_text(Path(sys.argv[1]), 'half')\n"
    )
    path = tmp_path / "checkpoint.pt"
    atomic_write_text(path, "whole")
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, str(path)], cwd=REPO, check=False)
    assert len(list(tmp_path.iterdir())) == 3
    remove_partial(path)
    assert [left.name for left in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert path.read_text() == "whole"
