"""Processes that a training starts itself: they share one supernet, and their errors and interruptions come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.processes.local import run_on_processes
from nas.training.config import RetrainConfig
from nas.training.retrain import retrain
from nas.training.supernet import train_supernet
from search_spaces import InputError
from tests.paths import REPO
from tests.training_fixture import pose_data, quick_config, small_space


def fail_on_second(progress: object) -> None:
    if os.environ["RANK"] == "1":
        raise InputError("the second process has no data")
    signal.pause()


def die(progress: object) -> None:
    os._exit(7)


def stop_the_parent(parent: int, progress: object) -> None:
    if os.environ["RANK"] == "0":
        os.kill(parent, signal.SIGTERM)
    signal.pause()


def test_two_processes_train_and_retrain(tmp_path: Path) -> None:
    data, space, seen = pose_data(tmp_path / "coco"), small_space(), []
    supernet = train_supernet(
        space, data, quick_config(steps=4, processes=2), tmp_path / "run", progress=lambda *now: seen.append(now)
    )
    assert not supernet.training
    assert (tmp_path / "run" / "supernet.safetensors").is_file()
    assert seen[-1][0] == 1.0
    config = RetrainConfig(epochs=2, batch_size=4, warmup_steps=1, bf16=False, processes=2, validate_every=2)
    result = retrain(space.smallest(), data, config, tmp_path / "retrain")
    assert result.path.is_file()


def test_an_error_of_any_process_is_raised_here() -> None:
    with pytest.raises(InputError, match="second process"):
        run_on_processes(2, fail_on_second, (), None)


def test_a_process_that_dies_is_noticed() -> None:
    with pytest.raises(RuntimeError, match="code 7"):
        run_on_processes(2, die, (), None)


def test_sigterm_ends_the_processes() -> None:
    with pytest.raises(KeyboardInterrupt):
        run_on_processes(2, stop_the_parent, (os.getpid(),), None)


GROUP = """
import sys, time
from pathlib import Path
from nas.processes.interruption import noticing_interruption
from nas.processes.local import run_on_processes

def save_when_asked(folder, progress):
    import os
    with noticing_interruption() as interruption:
        (folder / f"ready{os.environ['RANK']}").touch()
        while not interruption.requested:
            time.sleep(0.05)
        time.sleep(1.0)  # a step that is not to be broken off
        (folder / f"saved{os.environ['RANK']}").touch()
    raise KeyboardInterrupt

if __name__ == "__main__":
    try:
        run_on_processes(2, save_when_asked, (Path(sys.argv[1]),), None)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("group", [True, False])
def test_ctrl_c_at_a_terminal_lets_every_process_save(tmp_path: Path, group: bool) -> None:
    script = tmp_path / "script.py"
    script.write_text(GROUP)
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], start_new_session=True, env=environment)
    deadline = time.monotonic() + 60
    while not all((tmp_path / f"ready{rank}").exists() for rank in (0, 1)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (os.killpg if group else os.kill)(parent.pid, signal.SIGINT)
    assert parent.wait(60) == 130
    assert all((tmp_path / f"saved{rank}").exists() for rank in (0, 1))
