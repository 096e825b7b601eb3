"""The program as a user calls it: a real process, its output and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.cli import main as cli_main
from nas.cli.commands import COMMANDS
from nas.cli.failures import describe_user_error
from nas.cli.parsing import split_overrides
from nas.run.stopped import Interrupted, keeping_state
from search_spaces.errors import InputError
from tests.paths import REPO
from tests.program import assert_one_line, call, vipnas


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
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "nas", "spaces"]
    done = subprocess.run(words, cwd=REPO, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


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
        "from nas.run.stopped import keeping_state\n"
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
    assert (describe_user_error(full) or "").startswith("disk full at runs/x/a.json: No space left on device; free")
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
    assert done.returncode == 0, done.stderr
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
