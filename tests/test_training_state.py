"""What a training keeps: averages, checkpoints, metrics."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nas.processes.interruption import noticing_interruption
from nas.training import checkpoint
from nas.training.checkpoint import CheckpointWriter, load_checkpoint, save_checkpoint
from nas.training.ema import MovingAverage
from nas.training.metrics import MetricsLog
from search_spaces import InputError

IDENTITY: dict[str, Any] = {"kind": "test", "learning_rate": 0.1}


def test_the_average_follows_its_formula() -> None:
    value = nn.Parameter(torch.tensor([4.0]))
    count = torch.tensor(0)
    average = MovingAverage({"value": value, "count": count}, decay=0.5)
    expected = 4.0
    for update in range(6):
        with torch.no_grad():
            value.fill_(float(update))
        count += 1
        average.update()
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update
    assert average.average["value"].item() == pytest.approx(expected)
    assert average.average["count"].item() == 6


def test_the_applied_average_goes_away_again() -> None:
    value = nn.Parameter(torch.tensor([1.0]))
    average = MovingAverage({"value": value}, decay=0.9)
    with torch.no_grad():
        value.fill_(5.0)
    with average.applied():
        assert value.item() == 1.0
    assert value.item() == 5.0
    average.copy_to_live()
    assert value.item() == 1.0


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    state = {"step": 3, "weights": {"a": torch.arange(3.0)}, "memory": {"validations": [{"AP": 0.5}]}}
    save_checkpoint(tmp_path / "checkpoint.pt", IDENTITY, state)
    found = load_checkpoint(tmp_path / "checkpoint.pt", IDENTITY)
    assert torch.equal(found.pop("weights")["a"], state.pop("weights")["a"])  # type: ignore[index]
    assert found == state
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_is_of_the_moment_when_it_was_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write, path = threading.Event(), tmp_path / "checkpoint.pt"
    write = checkpoint.save_checkpoint
    monkeypatch.setattr(checkpoint, "save_checkpoint", lambda *given: may_write.wait(60) and write(*given))
    weight, memory = nn.Parameter(torch.ones(3)), {"kept": [1]}
    writer = CheckpointWriter(path, IDENTITY)
    writer.begin({"weight": weight, "memory": memory})
    assert writer.is_busy
    assert not path.exists()
    with torch.no_grad():
        weight.add_(1)
    memory["kept"].append(2)
    may_write.set()
    writer.wait()
    assert not writer.is_busy
    found = load_checkpoint(path, IDENTITY)
    assert torch.equal(found["weight"], torch.ones(3))
    assert found["memory"] == {"kept": [1]}


def test_a_checkpoint_that_cannot_be_written_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    writer = CheckpointWriter(path, IDENTITY)
    writer.begin({"step": 1})
    writer.wait()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "save_checkpoint", fail)
    for tells in (writer.wait, lambda: writer.begin({"step": 3})):
        writer.begin({"step": 2})
        with pytest.raises(OSError, match="No space left"):
            tells()
    writer.check()  # it is told once
    assert load_checkpoint(path, IDENTITY) == {"step": 1}


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, IDENTITY, {"step": 3})
    for other in ({**IDENTITY, "learning_rate": 0.2}, {**IDENTITY, "new": 1}, {"kind": "test"}):
        with pytest.raises(InputError, match=r"another run: (learning_rate|new)") as error:
            load_checkpoint(path, other)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("keep", [0, 1, 100, 900, -1])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, IDENTITY, {"weights": torch.arange(100.0)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="damaged") as error:
        load_checkpoint(path, IDENTITY)
    assert "\n" not in str(error.value)


def test_a_flipped_bit_in_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, IDENTITY, {"weights": torch.arange(1000.0)})
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(1000.0).numpy().tobytes()) + 2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged \(the check sum of .* is wrong\)"):
        load_checkpoint(path, IDENTITY)


class _Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    torch.save({"format": "vipnas-checkpoint/1", "identity": IDENTITY, "state": _Trap(trap)}, tmp_path / "c.pt")
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(tmp_path / "c.pt", IDENTITY)
    assert not trap.exists()


def test_any_other_file_of_torch_is_refused(tmp_path: Path) -> None:
    for content in ({"a": torch.ones(2)}, [1, 2], {"format": "vipnas-checkpoint/1"}):
        torch.save(content, tmp_path / "c.pt")
        with pytest.raises(InputError, match="not a training checkpoint"):
            load_checkpoint(tmp_path / "c.pt", IDENTITY)
    with pytest.raises(InputError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "absent.pt", IDENTITY)


def test_a_resumed_log_forgets_what_its_checkpoint_does_not_know(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, first_step=0) as log:
        for step in (2, 4, 6):
            log.write(step, {"loss": 1.0 / step, "gradient_norm": float("nan")})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # the process was killed here
    with MetricsLog(tmp_path, first_step=4) as log:
        log.write(6, {"loss": 0.5})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(2, 0.5), (4, 0.25), (6, 0.5)]
    assert lines[0]["gradient_norm"] is None
    assert any((tmp_path / "tensorboard").iterdir())


def test_sigterm_may_come_twice_and_a_second_ctrl_c_does_not_wait() -> None:
    with noticing_interruption() as interruption:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
