"""What the shell offers after `vipnas`, asked in a real shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nas.cli.commands import COMMANDS
from nas.cli.completion import completion_script, options_of
from tests.program import assert_one_line, call

ASKED = (
    ((), {"train-supernet", "search", "data", "spaces"}, {"data check", "--seed"}),
    (("tra",), {"train-supernet"}, {"search"}),
    (("data", ""), {"check", "synthesize"}, {"search"}),
    (("data", "check", "--"), {"--no-decode", "--category"}, {"--train.steps", "--resume"}),
    (("latency", "--r"), {"--rounds", "--runtime"}, {"--seed"}),
    (("search", "--search.e"), {"--search.evaluations"}, {"--search.minutes"}),
    (("search", "x.yaml", "--res"), {"--resume"}, {"--run-dir"}),
)


@pytest.mark.parametrize(("words", "offered", "not_offered"), ASKED, ids=[" ".join(one[0]) for one in ASKED])
def test_a_shell_completes(words: tuple[str, ...], offered: set[str], not_offered: set[str], tmp_path: Path) -> None:
    (tmp_path / "script").write_text(completion_script("bash"), encoding="utf-8")
    typed = " ".join(f"'{word}'" for word in ("vipnas", *(words or ("",))))
    asked = f"COMP_WORDS=({typed}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _vipnas; "
    asked += "printf '%s\\n' \"${COMPREPLY[@]}\""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    done = subprocess.run(
        [bash, "-c", f"source {tmp_path}/script; {asked}"], capture_output=True, text=True, check=True, timeout=60
    )
    found = set(done.stdout.split("\n"))
    assert offered <= found
    assert not not_offered & found


def test_every_command_and_its_options_are_there() -> None:
    script = completion_script("zsh")
    assert script.startswith("autoload")
    for command in COMMANDS:
        assert f'"{command.name}") words="--help' in script
        assert all(option in script for option in options_of(command)[0])
    assert not any(mark in script for mark in ("@FIELDS@", "@PAIRS@", "@GROUPS@", "@COMMANDS@", "@FIRSTS@"))


def test_other_shells_are_refused() -> None:
    assert_one_line(call("completion", "fish"), "invalid choice: 'fish'")
