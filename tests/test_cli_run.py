"""The stages of a run by the command line: good and bad input, interruption, going on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.config import load_config
from search_spaces import get_space
from tests.paths import REPO
from tests.program import assert_one_line, call


@pytest.fixture(scope="module")
def few_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set so small that every stage of a run takes seconds."""
    from nas.data.synthetic import SyntheticConfig, synthesize

    folder = tmp_path_factory.mktemp("data") / "people"
    config = SyntheticConfig(train_images=12, val_images=6, videos_train=0, videos_val=0, image_size=(128, 128))
    synthesize(folder, config)
    return folder


@pytest.fixture(scope="module")
def tiny_config(few_people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of two steps, with a space of small networks."""
    folder = tmp_path_factory.mktemp("configuration")
    config = f"""
run_dir: {folder}/run
space: {folder}/space.yaml
data: {{folder: {few_people}, cache: {folder}/cache}}
train: {{steps: 2, batch_size: 2, bf16: false}}
retrain: {{epochs: 1, batch_size: 4, bf16: false}}
"""
    space = """
name: two-stages
family: resnet
input_size: [64, 64]
keypoints: 17
stem: {width: 8}
stages:
  - {width: [8, 16], depth: [1, 2], groups: [1, 2], attention: [false], stride: 1}
  - {width: [16], depth: 1, groups: [1, 4], attention: [false, true]}
head: {width: [8], groups: [1], layers: 1}
"""
    (folder / "space.yaml").write_text(space, encoding="utf-8")
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    return folder / "config.yaml"


def test_train_supernet(tiny_config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = call("train-supernet", tiny_config, "--run-dir", run)
    assert done.returncode == 0, done.stderr
    assert str(run / "supernet.safetensors") in done.stdout
    for name in ("config.yaml", "space.json", "supernet.safetensors", "supernet/metrics.jsonl"):
        assert (run / name).is_file()
    assert_one_line(call("train-supernet", tiny_config, "--run-dir", run), "go on with --resume")
    assert call("train-supernet", tiny_config, "--run-dir", run, "--resume").returncode == 0
    noted = (run / "config.yaml").read_text(encoding="utf-8")
    refused = call("train-supernet", tiny_config, "--run-dir", run, "--resume", "--train.batch_size", "3")
    assert_one_line(refused, "another run: ")
    other = call("train-supernet", tiny_config, "--run-dir", run, "--resume", "--space", "resnet-tiny")
    assert_one_line(other, "holds a run on the space 'two-stages'")
    assert (run / "config.yaml").read_text(encoding="utf-8") == noted
    (run / "supernet" / "checkpoint.pt").unlink()
    gone = call("train-supernet", tiny_config, "--run-dir", run, "--resume")
    assert_one_line(gone, "is trained, and there is no checkpoint.pt to go on from")


def test_a_stage_refuses_bad_input_before_it_writes(tiny_config: Path, few_people: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["train-supernet", tiny_config, "--run-dir", run]
    assert_one_line(call(*command, "--train.step", "3"), "command line: train.step: unknown key; did you mean train.")
    assert_one_line(call(*command, "--train.steps", "0"), "train: steps=0 is not possible")
    assert_one_line(call(*command, "--train.steps", "null"), "steps")
    assert_one_line(call(*command, "--data.folder", tmp_path / "none"), "no such folder")
    assert_one_line(call(*command, "--space", "resnet-tny"), "did you mean 'resnet-tiny'?")
    assert_one_line(call(*command, "--resum"), "did you mean --resume?")
    assert_one_line(call("train-supernet", tmp_path / "none.yaml"), "none.yaml: no such file")
    space, text = tmp_path / "space.yaml", tiny_config.with_name("space.yaml").read_text(encoding="utf-8")
    space.write_text(text.replace("groups: [1, 4]", "groups: [3]"), encoding="utf-8")
    assert_one_line(call(*command, "--space", space), "stage 2: none of groups [3] divides")
    space.write_text(text.replace(", layers: 1", ""), encoding="utf-8")
    assert_one_line(call(*command, "--space", space), "heatmaps of 64 × 64, which are no half, quarter or eighth of")
    space.write_text(text.replace("keypoints: 17", "keypoints: 12"), encoding="utf-8")
    assert_one_line(call(*command, "--space", space), "17 keypoints, the network predicts 12")
    assert not run.exists()
    images = tmp_path / "broken"
    images.mkdir()
    for image in (few_people / "images").iterdir():
        (images / image.name).write_bytes(b"no picture")
    broken = call(*command, "--data.train_images", images, "--data.cache", tmp_path / "cache")
    assert_one_line(broken, str(images))
    assert not (run / "supernet.safetensors").exists()


def test_a_full_disk_is_one_line(tiny_config: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    program = (
        "import sys; from pathlib import Path; import nas.run.files, os\n"
        "write = os.fsync\n"
        "def full(handle): open('/dev/full', 'w').write('x' * 99999)\n"
        "os.fsync = full\n"
        "from nas.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", program, "train-supernet", str(tiny_config), "--run-dir", str(tiny_config) + ".full"]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, check=False, timeout=120)
    assert_one_line(done, "disk full", "No space left on device")
    assert not list(Path(str(tiny_config) + ".full").iterdir())


def test_an_interrupted_training_goes_on(tiny_config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["train-supernet", str(tiny_config), "--run-dir", str(run), "--train.steps", "40"]
    words = [sys.executable, "-m", "nas", *command]
    process = subprocess.Popen(words, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (run / "supernet" / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == f"vipnas: interrupted: state kept in {run}; go on with --resume"
    assert (run / "supernet" / "checkpoint.pt").is_file()
    assert call(*command, "--resume").returncode == 0
    assert (run / "supernet.safetensors").is_file()


def test_retrain_and_evaluate(tiny_config: Path, tmp_path: Path) -> None:
    network = tmp_path / "network.json"
    member = get_space(tiny_config.with_name("space.yaml")).smallest()
    network.write_text(json.dumps(member.to_json()), encoding="utf-8")
    run = tmp_path / "run"
    command = [tiny_config, "--run-dir", run, "--architecture", network]
    assert_one_line(call("retrain", *command[:3]), "no exported network")
    assert_one_line(call("evaluate", *command), "no such file; retrain the network first")
    done = call("retrain", *command)
    assert done.returncode == 0, done.stderr
    assert member.id in done.stdout
    weights = run / "retrain" / member.id / "best.safetensors"
    assert weights.is_file()
    assert_one_line(call("retrain", *command), "go on with --resume")
    assert call("retrain", *command, "--resume").returncode == 0

    done = call("evaluate", *command, "--no-flip-test", "--codec", "dark", "--oks-nms", "soft")
    assert done.returncode == 0, done.stderr
    results = json.loads((weights.parent / "evaluation" / "results.json").read_text(encoding="utf-8"))
    assert f"{results['metrics']['AP']:.4f}" in done.stdout
    assert results["codec"] == "dark"
    assert (results["settings"]["flip_test"], results["settings"]["oks_nms"]) == (False, "soft")
    assert call("evaluate", *command, "--weights", weights, "--out", tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "keypoints.results.json").is_file()
    assert_one_line(call("evaluate", *command, "--weights", network), "not a safetensors file")
    assert_one_line(call("evaluate", *command, "--detections", tmp_path / "none.json"), "none.json: no such file")
    assert_one_line(call("evaluate", *command, "--resume"), "unknown argument '--resume'")


def test_retraining_goes_on_from_a_checkpoint_elsewhere(tiny_config: Path, tmp_path: Path) -> None:
    network = tmp_path / "network.json"
    member = get_space(tiny_config.with_name("space.yaml")).smallest()
    network.write_text(json.dumps(member.to_json()), encoding="utf-8")
    command = ["retrain", tiny_config, "--architecture", network]
    assert call(*command, "--work-dir", tmp_path / "first").returncode == 0
    checkpoint = tmp_path / "first" / "retrain" / member.id / "checkpoint.pt"
    done = call(*command, "--work-dir", tmp_path / "second", "--resume-from", checkpoint)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "second" / "retrain" / member.id / "best.safetensors").is_file()
    assert_one_line(call(*command, "--resume-from", tmp_path / "none.pt"), "no such checkpoint")
    weights = checkpoint.with_name("best.safetensors")
    loaded = call(*command, "--work-dir", tmp_path / "third", "--load-from", weights, "--autoscale-lr")
    assert loaded.returncode == 0, loaded.stderr
    written = (tmp_path / "third" / "config.yaml").read_text(encoding="utf-8")
    assert f"initialize_from: {weights}" in written
    assert "autoscale_lr: true" in written


@pytest.fixture(scope="module")
def trained(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a supernet."""
    run = tmp_path_factory.mktemp("trained") / "run"
    assert call("train-supernet", tiny_config, "--run-dir", run).returncode == 0
    return run


def test_search_export_retrain_report(tiny_config: Path, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    kept = (run / "config.yaml").read_text(encoding="utf-8")
    (run / "config.yaml").write_text(kept.replace("log_every: 20", "log_every: 7", 1), encoding="utf-8")
    command = ["search", tiny_config, "--run-dir", run, "--search.evaluations", "6", "--search.workers", "0"]
    done = call(*command)
    assert done.returncode == 0, done.stderr
    config = load_config(run / "config.yaml")
    assert (config.train.log_every, config.search.evaluations) == (7, 6)  # another stage's section is left alone
    front = json.loads((run / "pareto.json").read_text(encoding="utf-8"))["front"]
    assert front
    assert all(member["id"] in done.stdout for member in front)
    beside = (run / "published.json").read_bytes()
    names = [(one["name"], one["as_published"]) for one in json.loads(beside)["networks"]]
    published = ("s-vipnas-res50", "simplebaseline-resnet50")
    assert sorted(names) == [(name, as_published) for name in published for as_published in (False, True)]
    assert_one_line(call(*command, "--search.population_size", "9"), "--resume")
    assert load_config(run / "config.yaml") == config
    more = call(*command, "--resume", "--search.evaluations", "8")
    assert more.returncode == 0, more.stderr
    assert len((run / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()) == 8
    assert (run / "published.json").read_bytes() == beside  # measured once

    chosen = front[0]["id"]
    killed = run / "export" / f".{chosen}.killed"
    killed.mkdir(parents=True)
    assert call("export", run, "--ids", chosen, "--formats", "safetensors", "onnx").returncode == 0
    done = call("export", run, "--ids", chosen, "--formats", "mmpose")  # what is there in other formats stays
    assert done.returncode == 0, done.stderr
    assert not killed.exists()
    measured = chosen in [member["id"] for member in json.loads((run / "pareto.json").read_text())["front"]]
    source = "measured with the front" if measured else "predicted by the latency table"
    card = (run / "export" / chosen / "card.md").read_text(encoding="utf-8")
    assert f" ms, {source};" in card
    assert card.startswith(
        "Weights inherited from the supernet: not meant to be shipped; retrain first: "
        f"`vipnas retrain {run}/config.yaml --architecture {run}:{chosen}`\n"
    )
    assert (run / "export" / chosen / "model.onnx").is_file()
    assert call("describe", f"{run}:{chosen[:6]}").returncode == 0
    assert_one_line(call("export", run, "--ids", "zzz"), "no evaluation has an id that begins with 'zzz'")
    assert_one_line(call("export", run, "--formats", "onxx"), "'onxx' is not known")
    assert_one_line(call("export", run, "--networks", "0"), "export: networks=0 is not possible; it must be at least 1")

    done = call("retrain", tiny_config, "--run-dir", run, "--retrain.initialize_from", "inherited")
    assert done.returncode == 0, done.stderr
    assert chosen in done.stdout
    assert call("evaluate", tiny_config, "--run-dir", run).returncode == 0
    done = call("report", run)
    assert done.returncode == 0, done.stderr
    page = (run / "report.html").read_text(encoding="utf-8")
    assert chosen in page
    assert "data:image/jpeg" in page
    assert "data:image/jpeg" not in _report_without_pictures(run)


def _report_without_pictures(run: Path) -> str:
    assert call("report", run, "--no-pictures").returncode == 0
    return (run / "report.html").read_text(encoding="utf-8")


def test_a_run_that_is_none_is_refused(tiny_config: Path, tmp_path: Path) -> None:
    for command in ("export", "report"):
        assert_one_line(call(command, tmp_path / "none"), "no such run folder")
        assert_one_line(call(command, tmp_path), "is not a run folder")
    assert_one_line(call("search", tiny_config, "--run-dir", tmp_path / "none"), "no such run folder")
    assert not (tmp_path / "none").exists()


def test_a_supernet_of_another_space_is_refused(tiny_config: Path, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copyfile(trained / "supernet.safetensors", run / "supernet.safetensors")
    shutil.copyfile(trained / "config.yaml", run / "config.yaml")
    space = tmp_path / "other.yaml"
    text = tiny_config.with_name("space.yaml").read_text(encoding="utf-8")
    space.write_text(text.replace("two-stages", "other").replace("width: [16]", "width: [24]"), encoding="utf-8")
    command = ["search", tiny_config, "--run-dir", run, "--space", space]
    assert_one_line(call(*command), "holds a supernet of the space 'two-stages'")
    (run / "supernet.safetensors").write_bytes(b"damaged")
    assert_one_line(call(*command), "supernet.safetensors")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_search_with_workers_that_was_stopped_goes_on(
    by: signal.Signals, tiny_config: Path, trained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    options = ["--search.evaluations", "400", "--search.workers", "1", "--search.objectives", "[ap, macs]"]
    words = [sys.executable, "-m", "nas", "search", str(tiny_config), "--run-dir", str(run), *options]
    process = subprocess.Popen(words, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal, deadline = run / "evaluations.jsonl", time.monotonic() + 120
    while not (journal.exists() and journal.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(by)
    _, error = process.communicate(timeout=120)
    before = len(journal.read_text(encoding="utf-8").splitlines())
    assert before < 400
    if by == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130, error
        assert error.splitlines()[-1] == f"vipnas: interrupted: state kept in {run}; go on with --resume"
    options[1], options[3] = str(before + 3), "0"
    done = call("search", tiny_config, "--run-dir", run, *options, "--resume")
    assert done.returncode == 0, done.stderr
    assert len(journal.read_text(encoding="utf-8").splitlines()) >= before + 3
