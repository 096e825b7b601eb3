"""Where a local Ray keeps its sockets: the kernel takes paths of 107 bytes, and batch systems make long folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.run.stopped import Stopped
from nas.search.workers import ray_session
from search_spaces.errors import InputError
from tests.paths import REPO

TASK = """
from nas.search.workers.ray_session import RaySession
with RaySession(cpus=1):
    import ray

    assert ray.get(ray.remote(lambda: 1).remote()) == 1
    print(ray._private.worker._global_node._session_dir)
"""


def test_ray_runs_where_the_job_has_a_temporary_folder_with_a_long_path(tmp_path: Path, quiet_ray: Path) -> None:
    long = tmp_path / ("a-folder-of-the-job-" * 4)
    long.mkdir()
    environment = {**os.environ, "TMPDIR": str(long), "PYTHONPATH": str(REPO)}
    environment.pop("RAY_TMPDIR", None)
    done = subprocess.run([sys.executable, "-c", TASK], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    session = Path(done.stdout.splitlines()[-1])
    assert not session.is_relative_to(long)
    assert not session.parent.exists(), "it is removed when the process ends"


def test_a_short_temporary_folder_stays_rays_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/" + "t" * (ray_session.LONGEST_TEMPORARY - 1))
    assert ray_session._short_folder() is None


def test_without_any_short_folder_the_variable_and_its_length_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_session, "SHORT_ROOTS", (str(tmp_path / "absent"),))
    monkeypatch.setenv("RAY_TMPDIR", "/" + "t" * 60)
    with pytest.raises(InputError, match=r"TMPDIR: its path has 61 bytes.*RAY_TMPDIR"):
        ray_session._short_folder()


@pytest.mark.parametrize("slow", [1, 3])
def test_a_ray_that_starts_too_slowly_is_started_again(monkeypatch: pytest.MonkeyPatch, slow: int) -> None:
    import ray

    calls: list[str] = []

    def init(**_: object) -> None:
        calls.append("init")
        if calls.count("init") <= slow:
            raise Exception("The current node timed out during startup. This could happen because …")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
    if slow < ray_session.STARTS:
        ray_session._start_local(1, {})
    else:
        with pytest.raises(Stopped, match=r"Ray does not start in time.*--search.workers 0"):
            ray_session._start_local(1, {})
    assert calls == ["init", "shutdown"] * slow + ["init"] * (slow < ray_session.STARTS)


def test_another_failure_of_ray_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def init(**_: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RuntimeError, match="no such thing"):
        ray_session._start_local(1, {})
