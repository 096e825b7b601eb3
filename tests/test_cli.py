"""The program as a user calls it: a real process, its output and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from nas.cli import main as cli_main
from nas.cli.commands import COMMANDS
from nas.cli.failures import Interrupted, describe_user_error, keeping_state
from nas.cli.parsing import split_overrides
from search_spaces import get_space
from search_spaces.errors import InputError
from tests.paths import REPO


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


def test_the_overview_lists_every_command() -> None:
    done = vipnas("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert command.name in done.stdout
        assert command.summary in done.stdout
    assert "example:" in done.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_explains_itself_with_an_example(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    name, example = command.name, command.example  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as stopped:
        cli_main.main([*name.split(), "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: vipnas {name}" in printed
    assert f"example:\n  {example}" in printed
    assert example.startswith(f"vipnas {name}")


def test_no_command_is_the_users_mistake() -> None:
    done = vipnas()
    assert done.returncode == 2
    assert "usage: vipnas" in done.stderr


def test_the_version() -> None:
    done = vipnas("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("vipnas ")


def test_good_input_ends_with_0() -> None:
    done = vipnas("spaces")
    assert done.returncode == 0
    assert "resnet-tiny" in done.stdout
    assert "s-vipnas-res50" in done.stdout
    assert done.stderr == ""


def test_mistakes_in_the_command_line() -> None:
    assert_one_line(vipnas("spces"), "unknown command 'spces'; did you mean 'spaces'?")
    assert_one_line(vipnas("data"), "say which: ", "data check")
    assert_one_line(vipnas("data", "chek", "x"), "say which: ")
    assert_one_line(vipnas("data", "check"), "the following arguments are required: DIR", "vipnas data check --help")
    assert_one_line(vipnas("data", "check", "x", "--al"), "unknown argument '--al'; did you mean --all?")


def test_a_reader_that_leaves_early_is_no_fault() -> None:
    command = f"{sys.executable} -m nas spaces | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def write_coco(folder: Path, **changes: object) -> Path:
    """A folder with one image and one person, then broken as told."""
    import cv2
    import numpy as np

    annotation = {
        "id": 1,
        "image_id": 7,
        "category_id": 1,
        "bbox": [2, 3, 20, 30],
        "area": 300,
        "iscrowd": 0,
        "keypoints": [10, 10, 2, 12, 20, 1],
        "num_keypoints": 2,
        **changes,
    }
    document = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 50}],
        "annotations": [{key: value for key, value in annotation.items() if value is not None}],
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose", "left_eye"], "skeleton": []}],
    }
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    for part in ("train", "val"):
        path = folder / "annotations" / f"person_keypoints_{part}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
    cv2.imwrite(str(folder / "images" / "a.png"), np.zeros((50, 40, 3), np.uint8))
    return folder


def test_data_check(tmp_path: Path) -> None:
    good = write_coco(tmp_path / "good")
    done = vipnas("data", "check", good)
    assert (done.returncode, done.stderr) == (0, "")

    assert_one_line(vipnas("data", "check", tmp_path / "none"), "no such folder")
    unlabelled = vipnas("data", "check", write_coco(tmp_path / "a", keypoints=None))
    assert_one_line(unlabelled, "annotation 1: has no keypoints")
    outside = vipnas("data", "check", write_coco(tmp_path / "b", bbox=[400, 3, 20, 30]))
    assert_one_line(outside, "outside its image", "the first of 2 errors")
    (good / "images" / "a.png").write_bytes(b"no picture")
    assert_one_line(vipnas("data", "check", good), "a.png")
    assert vipnas("data", "check", good, "--no-decode").returncode == 0
    (good / "annotations" / "person_keypoints_val.json").write_text('{"images": [', encoding="utf-8")
    assert_one_line(vipnas("data", "check", good, "--no-decode"), "person_keypoints_val.json: broken JSON at line 1")


def test_overrides_are_split_from_the_other_words() -> None:
    words = ["a.yaml", "--search.rate", "-0.5", "--data.root=x=y", "--seed", "3", "--train.learning-rate", "1e-3"]
    rest, overrides = split_overrides(words)
    assert rest == ["a.yaml", "--seed", "3"]
    assert overrides == [("search.rate", "-0.5"), ("data.root", "x=y"), ("train.learning_rate", "1e-3")]
    with pytest.raises(InputError, match=r"--search\.rate: needs a value"):
        split_overrides(["--search.rate", "--seed", "3"])
    with pytest.raises(InputError, match=r"--search\.rate: needs a value"):
        split_overrides(["--search.rate"])


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_with_130_and_tells_where_the_state_is(by: signal.Signals, tmp_path: Path) -> None:
    program = (
        "import sys, time, types; from pathlib import Path; from nas.cli import commands, main; "
        "from nas.cli.failures import keeping_state\n"
        "def run(arguments):\n"
        "    with keeping_state(Path('runs/x')):\n"
        "        print('working', flush=True); time.sleep(60)\n"
        "module = types.ModuleType('nas.cli.spaces'); module.run = run; module.add_arguments = lambda parser: None\n"
        "sys.modules['nas.cli.spaces'] = module\n"
        "sys.exit(main.main(['spaces']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    time.sleep(0.1)
    process.send_signal(by)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error == "vipnas: interrupted: state kept in runs/x; go on with --resume\n"


def test_which_failures_are_the_users() -> None:
    import errno

    full = OSError(errno.ENOSPC, "No space left on device", "runs/x/a.json")
    assert describe_user_error(full) == (
        "disk full at runs/x/a.json: No space left on device; free some space, then go on with the same command"
    )
    wrapped = RuntimeError("could not write")
    wrapped.__cause__ = full
    assert (describe_user_error(wrapped) or "").startswith("disk full at runs/x/a.json")
    assert (describe_user_error(RuntimeError("No space left on device (os error 28)")) or "").startswith("disk full")
    assert describe_user_error(InputError("two\n  lines")) == "two lines"
    assert describe_user_error(FileNotFoundError(errno.ENOENT, "No such file", "a")) == "a: No such file"
    assert describe_user_error(RuntimeError("a fault of ours")) is None
    assert describe_user_error(KeyError("a fault of ours")) is None


def test_the_innermost_folder_is_named() -> None:
    with pytest.raises(Interrupted) as caught, keeping_state(Path("outer")), keeping_state(Path("inner")):
        raise KeyboardInterrupt
    assert caught.value.folder == Path("inner")


def test_data_synthesize(tmp_path: Path) -> None:
    small = ["--train-images", "2", "--val-images=1", "--videos-train", "0", "--videos-val", "0"]
    small += ["--image-size", "64,96"]
    made, new = tmp_path / "made", tmp_path / "new"
    done = vipnas("data", "synthesize", made, *small)
    assert (done.returncode, done.stderr) == (0, "")
    assert "made" in done.stdout
    assert len(list((made / "images").iterdir())) == 3
    assert "already there" in vipnas("data", "synthesize", made, *small).stdout
    assert_one_line(vipnas("data", "synthesize", made, "--seed", "1", *small), "seed=0, but 1 is asked for")
    assert_one_line(vipnas("data", "synthesize", new, "--seed", "x"), "seed: expected whole number, not 'x'")
    assert_one_line(vipnas("data", "synthesize", new, "--sed", "1"), "did you mean --seed?")
    assert not new.exists()


def test_describe(tmp_path: Path) -> None:
    done = vipnas("describe", "s-vipnas-res50")
    assert done.returncode == 0
    assert "7,286,772" in done.stdout
    printed = vipnas("describe", "s-vipnas-res50", "--json").stdout
    (tmp_path / "network.json").write_text(printed, encoding="utf-8")
    assert vipnas("describe", tmp_path / "network.json").stdout == done.stdout
    assert_one_line(vipnas("describe", "s-vipnas-res5"), "did you mean 's-vipnas-res50'?")
    assert_one_line(vipnas("describe", tmp_path / "none.json"), "no such file")


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
data: {{folder: {few_people}, cache: {folder}/cache, calibration_crops: 4}}
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
    other = call("train-supernet", tiny_config, "--run-dir", run, "--resume", "--space", "resnet-tiny")
    assert_one_line(other, "holds a run on the space 'two-stages'")


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
    assert_one_line(call(*command, "--space", space), "heatmaps of 64 × 64, and a quarter of the input, 16 × 16, is")
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
        "import sys; from pathlib import Path; import nas.files, os\n"
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


def test_latency(tmp_path: Path) -> None:
    command = ["latency", "s-vipnas-res50", "--input-size", "32x32", "--rounds", "1"]
    done = call(*command, "--json", tmp_path / "latency.json")
    assert done.returncode == 0, done.stderr
    [record] = json.loads((tmp_path / "latency.json").read_text(encoding="utf-8"))
    assert record["latency_ms"] > 0
    assert record["input_size"] == [32, 32]
    assert f"{record['latency_ms']:.2f}" in done.stdout
    assert_one_line(call(*command, "--runtime", "torh"), "expected one of torch, onnxruntime, openvino")
    assert_one_line(call(*command, "--threads", "0"), "threads=0")
    assert_one_line(call(*command[:2], "--input-size", "32"), "expected HEIGHTxWIDTH")
    assert_one_line(call("latency"), "ARCH")
    assert_one_line(call("latency", "build-table", "no-space"), "no-space")


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
