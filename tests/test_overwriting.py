"""No command writes over what it reads, or over what the user keeps under a name that it would write."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nas.config import load_config, save_config
from nas.export.network_export import refuse_other_weights
from nas.overwriting import refuse_foreign_config, refuse_over_inputs
from nas.run_folder import RunFolder
from nas.weights import save_network
from search_spaces import InputError
from tests.program import assert_one_line, call
from tests.trained_fixture import architecture, trained_weights, write_people


@pytest.fixture
def people(tmp_path: Path) -> Path:
    return write_people(tmp_path / "people")


@pytest.fixture
def config(people: Path, tmp_path: Path) -> Path:
    (tmp_path / "net.json").write_text(json.dumps(architecture().to_json()), encoding="utf-8")
    text = f"""
run_dir: {tmp_path}/run
architecture: {tmp_path}/net.json      # mine
data: {{folder: {people}, cache: {tmp_path}/cache, codec: udp}}
train: {{steps: 1, batch_size: 2}}
retrain: {{epochs: 1, batch_size: 16, bf16: false, validation: {{flip_test: false}}}}
"""
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "mine.yaml"


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_links_and_relative_paths_are_seen_through(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.json", tmp_path / "folder"
    file.touch()
    folder.mkdir()
    (folder / "b.json").touch()
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "hard").hardlink_to(file)
    for output, given in (
        (file, file), (tmp_path / "link", file), (file, tmp_path / "hard"), (folder / ".." / "a.json", file),
        (folder, folder / "b.json"),
    ):  # fmt: skip
        with pytest.raises(InputError, match="is read by this command, which would write over it; name another"):
            refuse_over_inputs([output], [None, given], "name another")
    refuse_over_inputs([file, tmp_path / "new"], [folder, folder / "b.json", tmp_path / "new"], "")


@pytest.mark.parametrize("command", ["train-supernet", "search", "retrain"])
@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_a_configuration_that_lies_in_the_runs_folder_is_not_noted_over(
    command: str, resume: tuple[str, ...], config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    mine = Path(shutil.move(config, run / "config.yaml"))
    before = content(run)
    assert_one_line(call(command, mine, *resume), f"{mine}: was written by hand", "(--run-dir)")
    assert content(run) == before


def test_a_configuration_that_a_stage_has_noted_is_gone_on_with(config: Path, tmp_path: Path) -> None:
    save_config(load_config(config), tmp_path / "run" / "config.yaml")
    refuse_foreign_config(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("")
    refuse_foreign_config(tmp_path / "run")
    refuse_foreign_config(tmp_path / "none")


def test_a_quickstart_does_not_go_on_in_a_folder_with_somebodys_configuration(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.move(config, run / "config.yaml")
    before = content(run)
    assert_one_line(call("quickstart", "--run-dir", run, "--resume"), "was written by hand")
    assert content(run) == before


def test_trained_weights_without_a_checkpoint_are_not_trained_over(config: Path, tmp_path: Path) -> None:
    best = tmp_path / "run" / "retrain" / architecture().id / "best.safetensors"
    trained_weights(best)
    before = content(tmp_path / "run")
    assert_one_line(call("retrain", config), f"{best}: a trained network is there")
    for option in ("--load-from", "--retrain.teacher"):
        for resume in ((), ("--resume",)):
            refused = call("retrain", config, option, best, *resume)
            assert_one_line(refused, f"{best}: is read by this command, which would write over it")
    (tmp_path / "checkpoint.pt").touch()
    taken = call("retrain", config, "--resume-from", tmp_path / "checkpoint.pt")
    assert_one_line(taken, "holds another training; choose another --run-dir")
    assert content(tmp_path / "run") == before


def test_results_that_no_evaluation_wrote_are_kept(config: Path, people: Path, tmp_path: Path) -> None:
    weights = trained_weights(tmp_path / "net.safetensors")
    out = tmp_path / "out"
    command = ("evaluate", config, "--weights", weights, "--out", out)
    out.mkdir()
    for name, text in (("results.json", '{"best": {"AP": 0.5}}'), ("keypoints.results.json", "[]")):
        (out / name).write_text(text, encoding="utf-8")
        assert_one_line(call(*command), f"{out / name}: is there and was not made by vipnas evaluate", "--out")
        assert (out / name).read_text(encoding="utf-8") == text
        (out / name).unlink()
    assert call(*command).returncode == 0
    assert call(*command).returncode == 0
    found = out / "keypoints.results.json"
    before = found.read_bytes()
    refused = call(*command, "--detections", found)
    assert_one_line(refused, f"{found}: is read by this command, which would write over it; name another folder")
    assert found.read_bytes() == before


def test_latencies_are_not_written_over_what_they_are_measured_of(tmp_path: Path) -> None:
    net = tmp_path / "net.json"
    net.write_text(json.dumps(architecture().to_json()), encoding="utf-8")
    before = net.read_bytes()
    assert_one_line(call("latency", net, "--json", net), f"{net}: is read by this command, which would write over it")
    space = tmp_path / "space.yaml"
    text = (
        "name: x\nfamily: resnet\ninput_size: [64, 64]\nstem: {width: 8}\nhead: {width: [8], groups: [1], layers: 1}\n"
    )
    space.write_text(text + "stages: [{width: 8, depth: 1, groups: 1, stride: 2}]\n", encoding="utf-8")
    for output, said in ((space, "is read by this command"), (net, "is there and is no latency table")):
        assert_one_line(call("latency", "build-table", space, "--output", output), f"{output}: {said}", "--output")
    assert net.read_bytes() == before


def test_a_latency_table_of_another_machine_is_kept(tmp_path: Path) -> None:
    import dataclasses

    from nas.latency import LatencyConfig, LatencyMeter, LatencyTable
    from nas.latency.table import Fit

    fingerprint = dataclasses.replace(LatencyMeter(LatencyConfig()).fingerprint, cpu="of another machine")
    table = LatencyTable(
        fingerprint=fingerprint,
        batch=1,
        reference_ms=1.0,
        space="resnet-tiny",
        fit=Fit(1.0, 0.0),
        measured=1,
        blocks={},
    )
    table.save(tmp_path / "table.json")
    before = content(tmp_path)
    refused = call("latency", "build-table", "resnet-tiny", "--output", tmp_path / "table.json")
    assert_one_line(refused, "table.json: is the table of resnet-tiny, batch 1, on ", "of another machine")
    assert content(tmp_path) == before


def test_weights_that_somebody_put_into_an_export_are_kept(tmp_path: Path) -> None:
    run, net = RunFolder(tmp_path), trained_weights(tmp_path / "net.safetensors")
    folder = run.export(architecture().id)
    refuse_other_weights(run, [{"id": architecture().id}])
    folder.mkdir(parents=True)
    shutil.copyfile(net, folder / "weights.safetensors")
    with pytest.raises(InputError, match=r"weights\.safetensors: is there and was not made by vipnas export"):
        refuse_other_weights(run, [{"id": architecture().id}])
    from nas.weights import load_network

    save_network(folder / "weights.safetensors", load_network(net), {"origin": "inherited, calibrated"})
    refuse_other_weights(run, [{"id": architecture().id}])
