"""The user's command that measures ONNX files: how it is called, what it may print, and what is said when it fails."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from evaluators.errors import MeasureInputError
from evaluators.latency import command as command_module
from evaluators.latency.answers import Answer, Reading, parse_answer
from evaluators.latency.command import CommandFailedError, MeasuringCommand, template_words
from nas.latency import LatencyConfig
from search_spaces import InputError
from tests.device_fixture import write_program

ONE = [Path("/tmp/a/0000.onnx")]
TWO = [*ONE, Path("/tmp/a/0001.onnx")]
SINGLE = Reading(12.5, 0.0, 1)
PASSES = Reading(3.0, 1.0, 5)


@pytest.mark.parametrize(
    ("text", "readings", "fingerprint"),
    [
        ("12.5\n", [SINGLE], None),
        ("warming up\n12.5", [SINGLE], None),
        ("1 2 3\n4 5", [PASSES], None),
        ("[5, 1, 4, 2, 3]", [PASSES], None),
        ("loading\n{\"latency_ms\": 12.5}", [SINGLE], None),
        ('{"latency_ms": [1, 2, 3, 4, 5], "fingerprint": "Pi 5"}', [PASSES], "Pi 5"),
        ('{"latency_ms": 12.5, "spread_ms": 0.4, "watts": 3}', [Reading(12.5, 0.4, 1)], None),
        ('{"fingerprint": "Pi 5", "0000.onnx": [12.5]}', [SINGLE], "Pi 5"),
        ('{\n"/tmp/a/0000.onnx":\n12.5}', [SINGLE], None),
        ("0.0", [Reading(0.0, 0.0, 1)], None),
    ],
)
def test_what_a_command_may_print_for_one_file(text: str, readings: list[Reading], fingerprint: str | None) -> None:
    assert parse_answer(text, ONE) == Answer(readings, fingerprint)


@pytest.mark.parametrize(
    ("text", "fingerprint"),
    [
        ("12.5\nthe next\n1 2 3 4 5\n", None),
        ("[12.5, [1, 2, 3, 4, 5]]", None),
        ('{"0001.onnx": [1, 2, 3, 4, 5], "0000": 12.5, "fingerprint": "Pi 5"}', "Pi 5"),
        ('{"/tmp/a/0000.onnx": {"latency_ms": 12.5, "fingerprint": "Pi 5"}, "0001.onnx": [5, 4, 3, 2, 1]}', "Pi 5"),
    ],
)
def test_what_a_command_may_print_for_several_files(text: str, fingerprint: str | None) -> None:
    assert parse_answer(text, TWO) == Answer([SINGLE, PASSES], fingerprint)


@pytest.mark.parametrize(
    ("text", "files", "message"),
    [
        ("", ONE, "printed nothing: no latency; print milliseconds"),
        ("done in 3 s\n", ONE, "printed 'done in 3 s', in which there is no latency; print milliseconds"),
        ("x" * 200, ONE, r"printed 'x{77}\.\.\.', in which"),
        ("nan", ONE, "printed a latency of 'nan' for 0000.onnx"),
        ("-1.5", ONE, "printed a latency of '-1.5' for 0000.onnx"),
        ('{"latency_ms": "12"}', ONE, "printed a latency of '12' for 0000.onnx"),
        ('{"latency_ms": true}', ONE, "printed a latency of 'True' for 0000.onnx"),
        ('{"latency_ms": 1, "spread_ms": Infinity}', ONE, "printed a spread of 'inf' for 0000.onnx"),
        ("[]", ONE, "printed no latency for 0000.onnx: an empty list"),
        ('{"latency": 12}', ONE, "with neither latency_ms nor 0000.onnx in it"),
        ('{"latency_ms": 1, "fingerprint": 5}', ONE, "printed the fingerprint '5'; a device's name"),
        ('{"latency_ms": 1, "fingerprint": "a\\nb"}', ONE, "printed the fingerprint 'a b'; a device's name"),
        ("12.5", TWO, "printed 1 lines of numbers for 2 files; print one line of numbers a file"),
        ("[1, 2, 3]", TWO, "for 2 files; print one line of numbers a file"),
        ('{"latency_ms": 12.5}', TWO, "for 2 files; print one line"),
        ('{"0000.onnx": 12.5}', TWO, "with neither latency_ms nor 0001.onnx in it"),
        (
            '{"0000.onnx": {"latency_ms": 1, "fingerprint": "Pi 4"}, "0001.onnx": 1, "fingerprint": "Pi 5"}',
            TWO,
            "printed two fingerprints, 'Pi 5' and 'Pi 4'",
        ),
    ],
)
def test_what_cannot_be_read_is_shown(text: str, files: list[Path], message: str) -> None:
    with pytest.raises(MeasureInputError, match=message):
        parse_answer(text, files)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("measure", "after the program there must be one of {onnx} and {onnx_files}"),
        ("", "after the program there must be"),
        ("{onnx}", "after the program there must be"),
        ("measure {onnx} {onnx_files}", "one of {onnx} and {onnx_files}"),
        ("measure --files={onnx_files}", "must be a word by itself"),
        ("measure {onx}", r"{onx} is not known; there are {onnx}, {onnx_files}, {threads}, {rounds}"),
        ("measure 'it {onnx}", "no closing quotation"),
    ],
)
def test_a_template_that_cannot_be_called_is_refused(template: str, message: str) -> None:
    with pytest.raises(InputError, match="latency: the command .*" + message.replace("{", r"\{")):
        LatencyConfig(runtime="command", command=template)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "command"}, "runtime command needs a command"),
        ({"command": "measure {onnx}"}, "the runtime is torch"),
        ({"runtime": "command", "command": "measure {onnx}", "precision": "bf16"}, "a command gets fp32 files"),
        ({"runtime": "command", "command": "measure {onnx}", "threads": 4}, "has no {threads} to be told of threads=4"),
        ({"runtime": "command", "command": "measure {onnx}", "rounds": 4}, "has no {rounds} to be told of rounds=4"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("{", r"\{")):
        LatencyConfig(**options)


def test_words_are_those_of_a_shell() -> None:
    assert template_words("run 'a b' --in={onnx} \"{threads}\"") == ["run", "a b", "--in={onnx}", "{threads}"]


def test_a_path_is_one_argument_whatever_it_has(tmp_path: Path) -> None:
    script = '#!/bin/sh\nfor w in "$@"; do echo "$w" >> "$0.words"; done\necho 1\necho 2\n'
    program = write_program(tmp_path / "it is", script)
    files = [tmp_path / "a b; touch injected", tmp_path / "$(touch injected) {rounds}"]
    command = MeasuringCommand(template=f"'{program}' -t {{threads}} {{onnx_files}} end", values={"{threads}": "4"})
    assert [one.latency_ms for one in command.measure(files).readings] == [1.0, 2.0]
    words = (tmp_path / "it is.words").read_text(encoding="utf-8").splitlines()
    assert words == ["-t", "4", *map(str, files), "end"]
    assert command.takes_several
    one = MeasuringCommand(template=f"'{program}' --onnx={{onnx}}")
    assert not one.takes_several
    assert one.measure(files[:1]).readings == [Reading(1.5, 0.25, 2)]
    assert (tmp_path / "it is.words").read_text(encoding="utf-8").splitlines()[-1] == f"--onnx={files[0]}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it is", "it is.words"]


def test_a_call_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(command_module, "sleep", pauses.append)
    program = write_program(
        tmp_path / "flaky",
        '#!/bin/sh\necho x >> "$0.calls"\n'
        '[ $(wc -l < "$0.calls") -gt 2 ] || { echo "no route to host" >&2; exit 255; }\necho 7\n',
    )
    with caplog.at_level(logging.WARNING):
        assert MeasuringCommand(template=f"{program} {{onnx}}").measure(ONE).readings == [Reading(7.0, 0.0, 1)]
    assert pauses == [1.0, 2.0]
    assert "ended with code 255: no route to host; tried again in 1 s" in caplog.text


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo noise >&2; echo 'out of memory' >&2; exit 3", "ended with code 3: out of memory"),
        ("exit 1", "ended with code 1: nothing on stderr"),
        ("kill -9 $$", "was ended by signal 9: nothing on stderr"),
    ],
)
def test_a_call_that_fails_each_time_says_why(tmp_path: Path, script: str, message: str) -> None:
    program = write_program(tmp_path / "broken", f"#!/bin/sh\n{script}\n")
    with pytest.raises(CommandFailedError, match=f"latency command '{program} .*' {message}$"):
        MeasuringCommand(template=f"{program} {{onnx}}", retries=0).measure(ONE)


def test_what_is_printed_in_vain_is_not_asked_for_again(tmp_path: Path) -> None:
    program = write_program(tmp_path / "talks", '#!/bin/sh\necho x >> "$0.calls"\necho done\n')
    with pytest.raises(MeasureInputError, match="printed 'done', in which there is no latency"):
        MeasuringCommand(template=f"{program} {{onnx}}").measure(ONE)
    assert (tmp_path / "talks.calls").read_text() == "x\n"


def test_more_output_than_milliseconds_can_be_is_refused(tmp_path: Path) -> None:
    program = write_program(tmp_path / "floods", "#!/bin/sh\nyes | head -c 2000000\n")
    with pytest.raises(MeasureInputError, match="printed more than 1048576 bytes"):
        MeasuringCommand(template=f"{program} {{onnx}}").measure(ONE)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeasureInputError, match=r"cannot be started: \./nowhere: No such file or directory"):
        MeasuringCommand(template="./nowhere {onnx}").measure(ONE)
    (tmp_path / "plain").write_text("no program", encoding="utf-8")
    with pytest.raises(MeasureInputError, match="plain: Permission denied"):
        MeasuringCommand(template=f"{tmp_path}/plain {{onnx}}").measure(ONE)


def test_a_call_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    program = write_program(tmp_path / "hangs", '#!/bin/sh\nsleep 60 &\necho $! > "$0.child"\nwait\n')
    start = time.monotonic()
    with pytest.raises(CommandFailedError, match=r"no answer within 1 s$"):
        MeasuringCommand(template=f"{program} {{onnx_files}}", timeout_s=0.5, retries=0).measure(TWO)
    assert 0.9 < time.monotonic() - start < 20
    child = (tmp_path / "hangs.child").read_text().strip()
    status = Path(f"/proc/{child}/stat")
    for _ in range(100):
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"process {child} still runs")


def test_a_file_is_measured_here_though_the_run_has_a_command(tmp_path: Path) -> None:
    from nas.deploy.onnx import export_onnx
    from nas.latency.deployed import measure_file
    from nas.latency.meter import network_of
    from search_spaces import get_space

    network = get_space("resnet-nano").smallest()
    export_onnx(network_of(network), tmp_path / "net.onnx", network.input_size)
    config = LatencyConfig(runtime="command", command="false {onnx} {rounds}", rounds=1)
    assert measure_file(tmp_path / "net.onnx", config, own_process=False).runtime == "onnxruntime"
