"""The journal: what a kill or a full disk may do to it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nas.search.record.journal import Journal, read_journal
from search_spaces.errors import InputError

from .paths import REPO


def record(number: int, **changes: Any) -> dict[str, Any]:
    fields = {
        "number": number,
        "id": f"{number:010x}",
        "architecture": {"genes": [number]},
        "objectives": {"ap": 0.5},
        "status": "complete",
        "reason": None,
    }
    return fields | changes


def written(path: Path, count: int) -> list[dict[str, Any]]:
    records = [record(number) for number in range(count)]
    with Journal(path) as journal:
        for one in records:
            journal.append(one)
    return records


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run" / "evaluations.jsonl"
    records = written(path, 3)
    with Journal(path, sync=True) as journal:
        journal.append(record(3))
        assert list(read_journal(path)) == [*records, record(3)], "flushed before it is closed"


def test_a_line_torn_anywhere_is_dropped_and_the_next_one_starts_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "evaluations.jsonl"
    records = written(path, 3)
    whole = path.read_bytes()
    start = len(whole) - len(whole.splitlines(keepends=True)[-1])
    for end in range(start, len(whole) + 1):
        path.write_bytes(whole[:end])
        kept = 2 if end < len(whole) - 1 else 3  # without its newline alone the record is whole
        caplog.clear()
        assert list(read_journal(path)) == records[:kept]
        torn = start < end < len(whole) - 1
        assert bool(caplog.records) == torn
        with Journal(path) as journal:
            journal.append(record(9))
        assert list(read_journal(path)) == [*records[:kept], record(9)]


def test_a_last_line_of_zeros_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.jsonl"
    records = written(path, 2)
    with path.open("ab") as file:
        file.write(b"\0" * 100_000)
    with Journal(path):
        assert list(read_journal(path)) == records


@pytest.mark.parametrize(
    "line",
    [
        b"{]",
        b'{"number": 1',
        b"[]",
        b"{}",
        b'{"number": 1, "id": "a"}',
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps(record(7, status="done")).encode(),
        json.dumps(record(-1)).encode(),
    ],
)
def test_a_bad_line_in_the_middle_is_an_error_with_its_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "evaluations.jsonl"
    lines = path.read_bytes().splitlines() if written(path, 4) else []
    path.write_bytes(b"\n".join([*lines[:2], line, *lines[2:]]) + b"\n")
    with pytest.raises(InputError, match=r"evaluations.jsonl: line 3 is not an evaluation"):
        list(read_journal(path))


def test_nothing_is_counted_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "evaluations.jsonl"
    records = written(path, 3)
    path.write_bytes(path.read_bytes() * 2)
    with caplog.at_level(logging.WARNING):
        assert list(read_journal(path)) == records
    assert "line 4 repeats" in caplog.text


def test_a_record_with_nan_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.jsonl"
    with Journal(path) as journal:
        with pytest.raises(ValueError, match="JSON"):
            journal.append(record(0, objectives={"ap": float("nan")}))
        assert path.read_bytes() == b""


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    """A file-size limit stands for the full disk: the kernel writes a part of the record and refuses the rest."""
    program = (
        "import resource, signal, sys; from pathlib import Path; from nas.search.record.journal import Journal\n"
        "from tests.test_search_journal import record\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for number in range(100): journal.append(record(number))\n"
    )
    path = tmp_path / "evaluations.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert "OSError" in done.stderr
    content = path.read_bytes()
    assert content.endswith(b"}\n")
    assert len(list(read_journal(path))) == content.count(b"\n") > 3


def test_a_folder_that_cannot_be_made_is_the_users_affair(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Journal(tmp_path / "file" / "evaluations.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        list(read_journal(tmp_path / "none.jsonl"))
