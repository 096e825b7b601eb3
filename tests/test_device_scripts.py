"""The examples of ``scripts/devices``, each as vipnas calls it, with stubs of the programs that reach the device."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evaluators.latency.answers import Answer, Reading
from evaluators.latency.command import CommandFailedError, MeasuringCommand, template_words
from evaluators.latency.runtimes import reference_network
from nas.deploy.onnx import export_onnx
from tests.device_fixture import write_program
from tests.paths import REPO

FOLDER = REPO / "scripts" / "devices"
VALUES = {"{threads}": "1", "{rounds}": "3"}

SSH = """#!/bin/sh
echo "$@" | head -n 1 > "$STUBS/ssh.words"
for command in "$@"; do :; done
exec sh -c "$command"
"""
ADB = """#!/bin/sh
echo "$@" >> "$STUBS/adb.words"
[ "$1" != "-s" ] || shift 2
case "$*" in
  "shell getprop ro.product.model") echo "Pixel 8" ;;
  "shell getprop ro.build.version.release") echo 15 ;;
  push*) [ -e "$2" ] && echo "2 files pushed" ;;
  *onnxruntime_perf_test*) cat "$STUBS/perf_test.txt" ;;
esac
"""
NEWER = """Setting intra_op_num_threads to 1
Session creation time cost: 0.217932 s
Total inference time cost: 0.49481 s
Average inference time cost total: 98.961997 ms
Min Latency: 0.0958204 s
P50 Latency: 0.0603562 s
P90 Latency: 0.0912857 s
"""
OLDER = NEWER.replace("Latency: ", "Latency is ").replace(" s\n", "sec\n")
OLDEST = "Total inference requests:1\nAverage inference time cost:734.606 ms\nTotal inference run time:0.734761 s\n"
TRTEXEC = """#!/bin/sh
echo "$@" >> "$STUBS/trtexec.words"
case "$1" in *unknown*) echo "[E] In node 3: UNSUPPORTED_NODE"; echo "&&&& FAILED"; exit 1 ;; esac
echo "[I] Selected Device: Orin"
echo "[I] TensorRT version: 8.6.3"
for ms in 4.2 4.0 4.4; do echo "[I] Average on 10 runs - GPU latency: $ms ms - Host latency: 9 ms (enqueue 2 ms)"; done
echo "[I] GPU Compute Time: min = 3.9 ms, max = 5 ms, mean = 4.3 ms, median = 4.21 ms, percentile(90%) = 4.4 ms"
"""


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ssh, adb and trtexec, which comes first on the PATH."""
    folder = tmp_path / "bin"
    for name, text in (("ssh", SSH), ("adb", ADB), ("trtexec", TRTEXEC)):
        write_program(folder / name, text)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("STUBS", str(folder))
    return folder


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    (tmp_path / "with space").mkdir()
    paths = [tmp_path / "with space" / f"{number:04d}.onnx" for number in range(2)]
    for path in paths:
        module, images = reference_network()
        export_onnx(module, path, (images.shape[2], images.shape[3]))
    return paths


def measure(script: str, options: str, files: list[Path]) -> Answer:
    program = f"{shlex.quote(sys.executable)} {FOLDER / script}" if script.endswith(".py") else str(FOLDER / script)
    return MeasuringCommand(template=f"{program} {options}", values=VALUES, retries=0).measure(files)


def test_time_onnx_measures_here(files: list[Path]) -> None:
    options = "--threads {threads} --rounds {rounds} --name 'test board' {onnx_files}"
    answer = measure("time_onnx.py", options, files)
    assert [one.rounds for one in answer.readings] == [3, 3]
    assert all(0 < one.latency_ms < 1000 for one in answer.readings)
    assert re.fullmatch(r"test board, onnxruntime [\d.]+ CPUExecutionProvider", str(answer.fingerprint))
    with pytest.raises(CommandFailedError, match=r"error: NoSuchProvider: this onnxruntime has .*CPUExecutionProvider"):
        measure("time_onnx.py", "--provider NoSuchProvider {onnx}", files[:1])


def test_time_onnx_needs_onnxruntime_and_numpy_alone() -> None:
    imported = set(re.findall(r"^(?:import|from) (\w+)", (FOLDER / "time_onnx.py").read_text(), re.MULTILINE))
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


def test_a_network_of_a_video_is_fed_both_inputs(tmp_path: Path) -> None:
    from nas.latency.meter import network_of
    from search_spaces import get_video_space

    frame = get_video_space("resnet-tiny").largest().frames[0]
    assert not frame.fusion.is_none
    export_onnx(network_of(frame), tmp_path / "frame.onnx", frame.architecture.input_size)
    assert measure("time_onnx.py", "--rounds {rounds} {onnx}", [tmp_path / "frame.onnx"]).readings[0].latency_ms > 0
    assert torch.get_num_threads() == 1


def test_raspberry_pi_sends_the_files_and_leaves_nothing(
    stubs: Path, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "board").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "board"))
    monkeypatch.setenv("PYTHON", sys.executable)
    answer = measure("raspberry_pi.sh", "pi@board {threads} {rounds} {onnx_files}", files)
    assert [one.rounds for one in answer.readings] == [3, 3]
    assert "onnxruntime" in str(answer.fingerprint)
    assert "BatchMode=yes -o ConnectTimeout=20 pi@board" in (stubs / "ssh.words").read_text()
    assert not list((tmp_path / "board").glob("[!.]*")), "onnxruntime itself leaves a file of which the name has a dot"
    fails = "#!/bin/sh\ncat > /dev/null\necho 'ssh: connect to host board: timed out' >&2\nexit 255\n"
    write_program(stubs / "ssh", fails)
    with pytest.raises(CommandFailedError, match="code 255: ssh: connect to host board: timed out"):
        measure("raspberry_pi.sh", "pi@board {threads} {rounds} {onnx_files}", files)
    assert not list((tmp_path / "board").glob("[!.]*"))


@pytest.mark.parametrize(("printed", "ms"), [(NEWER, 60.3562), (OLDER, 60.3562), (OLDEST, 734.606)])
def test_android_reads_what_onnxruntimes_tool_prints(stubs: Path, files: list[Path], printed: str, ms: float) -> None:
    (stubs / "perf_test.txt").write_text(printed, encoding="utf-8")
    answer = measure("android.py", "--serial abc --threads {threads} --rounds {rounds} {onnx_files}", files)
    assert answer.fingerprint == "Pixel 8, Android 15, onnxruntime cpu"
    assert [one.latency_ms for one in answer.readings] == pytest.approx([ms, ms])
    words = (stubs / "adb.words").read_text().splitlines()
    assert all(line.startswith("-s abc ") for line in words)
    assert "-r 3 -x 1 -y 1 -e cpu /data/local/tmp/vipnas/0001.onnx" in words[-2]
    assert words[-1] == "-s abc shell rm -rf /data/local/tmp/vipnas"


def test_android_says_what_is_wrong(stubs: Path, files: list[Path]) -> None:
    (stubs / "perf_test.txt").write_text("Failed to load model", encoding="utf-8")
    with pytest.raises(CommandFailedError, match=r"printed no latency of .*0000.onnx: Failed to load model"):
        measure("android.py", "{onnx_files}", files)
    assert (stubs / "adb.words").read_text().splitlines()[-1] == "shell rm -rf /data/local/tmp/vipnas"
    write_program(stubs / "adb", "#!/bin/sh\necho 'error: no devices/emulators found' >&2\nexit 1\n")
    with pytest.raises(CommandFailedError, match="ended with code 1: error: no devices/emulators found"):
        measure("android.py", "{onnx_files}", files)


def test_tensorrt_reads_what_trtexec_prints(stubs: Path, files: list[Path], tmp_path: Path) -> None:
    answer = measure("tensorrt.py", "{onnx_files} -- --fp16", files)
    assert answer == Answer([Reading(4.2, pytest.approx(0.1), 3)] * 2, "Orin, TensorRT 8.6.3 --fp16")
    assert (stubs / "trtexec.words").read_text().splitlines()[1] == f"--onnx={files[1]} --avgRuns=10 --fp16"
    with pytest.raises(CommandFailedError, match=r"trtexec ended with code 1: \[E\] In node 3: UNSUPPORTED_NODE"):
        measure("tensorrt.py", "{onnx}", [tmp_path / "unknown.onnx"])


def test_the_shell_script_parses_and_explains_itself() -> None:
    path = FOLDER / "raspberry_pi.sh"
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0
    done = subprocess.run(["bash", path, "pi@board"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: raspberry_pi.sh HOST THREADS ROUNDS FILE.onnx...\n")


def test_the_commands_of_the_page_and_of_the_scripts_can_be_called() -> None:
    files = [*FOLDER.glob("*.py"), *FOLDER.glob("*.sh"), REPO / "docs" / "devices.md"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    commands = re.findall(r'command[: ] ?"([^"]*\{onnx[^"]*)"', text)
    assert len(commands) > 8
    for command in commands:
        words = template_words(command)
        script = next((word for word in words if word.startswith("scripts/")), None)
        assert script is None or (REPO / script).is_file()
