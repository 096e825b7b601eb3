"""What `vipnas doctor` says of a machine, and its self-test of every stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas.processes import machine
from nas.processes.cores import available_cores
from nas.processes.machine import machine_facts
from nas.stages import doctor
from nas.stages.doctor import NOT_RUN, self_test
from search_spaces import InputError
from tests.program import assert_one_line, call


def facts(tmp_path: Path) -> dict[str, machine.Fact]:
    return {fact.name: fact for fact in machine_facts(tmp_path / "not" / "there")}


def test_the_facts_name_versions_and_where_crops_will_lie(tmp_path: Path) -> None:
    found = facts(tmp_path)
    assert f"torch {torch.__version__}" in found["packages"].value
    assert str(available_cores()) in found["processor"].value
    assert str(tmp_path / "not" / "there") in found["cache of crops"].value
    assert not (tmp_path / "not").exists(), "looking changes nothing"


def test_a_cache_on_a_disk_over_the_network_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_file_system", lambda _: "nfs4")
    assert "a disk over the network: name a folder on a local disk" in facts(tmp_path)["cache of crops"].warning


def test_the_file_system_is_that_of_the_longest_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = f"root / ext4 rw 0 0\nhost:/home {tmp_path} nfs4 rw 0 0\nother {tmp_path}x xfs rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: mounts)
    assert machine._file_system(tmp_path / "inside") == "nfs4"
    assert machine._file_system(Path("/")) == "ext4"


def test_a_gpu_that_emulates_bfloat16_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        name, total_memory, major, minor = "Volta", 16 << 30, 7, 0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    found = facts(tmp_path)["GPU 0"].value
    assert "Volta, 16 GiB, compute capability 7.0" in found
    assert "bfloat16 emulated" in found


def test_a_failed_stage_is_named_and_what_needs_it_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor._SelfTest, "_draw", lambda _: "none")  # nobody to train on

    found = {check.stage: check for check in self_test("cpu")}
    assert "people" in found["training the supernet"].failure
    assert found["searching on Ray"].failure == NOT_RUN
    assert found["measuring latency by torch"].is_good


def test_a_device_that_computes_otherwise_is_found_out() -> None:
    assert doctor._within(0.001, 0.02, "losses") == "losses differ from the CPU's by 0.001"
    with pytest.raises(doctor._DiffersError, match=r"by 0\.5, more than 0\.02"):
        doctor._within(0.5, 0.02, "losses")
    with pytest.raises(doctor._DiffersError):
        doctor._within(float("nan"), 0.02, "losses")


def test_every_stage_works_here(quiet_ray: Path) -> None:
    failed = {check.stage: check.failure for check in self_test("cpu") if not check.is_good}
    assert not failed


def test_the_command_says_what_is_there_and_refuses_what_is_not() -> None:
    done = call("doctor", "--no-self-test")
    assert done.returncode == 0
    assert "bfloat16 on the processor" in done.stdout
    assert_one_line(call("doctor", "--device", "nonsense"), "'nonsense' is not known")
    with pytest.raises(InputError, match="nonsense"):
        self_test("nonsense")


def test_another_gpu_than_the_first_is_chosen_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="CUDA_VISIBLE_DEVICES=1"):
        self_test("cuda:1")
