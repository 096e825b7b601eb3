"""What a field of a configuration can hold, how strictly, and how a number out of its range is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from annotated_types import Interval
from hypothesis import given
from hypothesis import strategies as st

from nas.config import build, load_config, parse_yaml, to_plain
from nas.run.ranges import PositiveFloat, PositiveInt, Ranged, ShareUnderOne
from search_spaces.errors import InputError
from tests.fuzzing import damaged_json, fuzzed, reads_or_refuses
from tests.paths import REPO


@dataclass(frozen=True, kw_only=True)
class Inner(Ranged):
    share: ShareUnderOne = 0.5
    limit: PositiveInt | None = None


@dataclass(frozen=True, kw_only=True)
class Kinds(Ranged):
    pairs: tuple[tuple[str, str], ...] | None = None
    sigmas: Mapping[str, float] | None = None
    either: tuple[float, ...] | Mapping[str, float] | None = None
    category: str | int | None = None
    size: tuple[int, int] = (256, 192)
    names: tuple[str, ...] = ()
    layout: Literal["2017", "2014"] = "2017"
    fast: bool | Literal["auto"] = "auto"
    count: PositiveInt = 1
    rate: PositiveFloat = 1.0
    low: Annotated[int, Interval(le=3)] = 0
    shares: tuple[ShareUnderOne, ...] = ()
    inner: Inner = field(default_factory=lambda: Inner(share=0.25))
    maybe: Inner | None = None
    each: dict[str, Inner] = field(default_factory=dict)


def read(text: str) -> Kinds:
    return build(Kinds, parse_yaml(text, "a.yaml"))


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("pairs: [[left_eye, right_eye], [1, 2]]", "pairs", (("left_eye", "right_eye"), ("1", "2"))),
        ("sigmas: {nose: 1, 2: 1e-3}", "sigmas", {"nose": 1.0, "2": 0.001}),
        ("either: [1, 2.5]", "either", (1.0, 2.5)),
        ("either: {nose: 3}", "either", {"nose": 3.0}),
        ("category: 3", "category", 3),
        ("category: '3'", "category", "3"),
        ("category: on", "category", "on"),
        ("category: true", "category", "true"),
        ("names: [2024, yes, 1.50, True, 0x1f, '']", "names", ("2024", "yes", "1.50", "True", "0x1f", "")),
        ("layout: 2014", "layout", "2014"),
        ("fast: false", "fast", False),
        ("count: 2.5e3", "count", 2500),
        ("rate: 7", "rate", 7.0),
        ("inner: {limit: 3}", "inner", Inner(share=0.25, limit=3)),
        ("inner:", "inner", Inner(share=0.25)),
        ("maybe: {limit: 3}", "maybe", Inner(limit=3)),
        ("maybe: {}", "maybe", Inner()),
        ("maybe:", "maybe", None),
        ("each: {a: {share: 0}}", "each", {"a": Inner(share=0)}),
    ],
)
def test_the_type_decides_what_a_word_is(text: str, name: str, value: object) -> None:
    found = getattr(read(text), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("count: 1.0", "a.yaml:1: count: expected whole number, not 1.0"),
        ("count: '3'", "a.yaml:1: count: expected whole number, not '3'"),
        ("fast: on", "a.yaml:1: fast: expected true or false or one of auto, not 'on'"),
        ("fast: 1", "a.yaml:1: fast: expected true or false or one of auto, not 1"),
        ("fast: atuo", "expected true or false or one of auto, not 'atuo'; did you mean auto?"),
        ("rate: true", "a.yaml:1: rate: expected number, not True"),
        ("rate: 1e999", "a.yaml:1: rate: expected number, not inf"),
        ("sigmas:\n  nose: 1\n  eye: wide", "a.yaml:3: sigmas.eye: expected number, not 'wide'"),
        ("sigmas: [1]", "a.yaml:1: sigmas: expected mapping of number, as 'name: value' lines, not [1]"),
        ("either: {nose: wide}", "a.yaml:1: either.nose: expected number, not 'wide'"),
        ("either: 3", "a.yaml:1: either: expected list of number or mapping of number, not 3"),
        ("pairs: [[a, b], [c]]", "a.yaml:1: pairs[1]: expected 2 values, [text, text], not ['c']"),
        ("pairs: [[a, b],\n  [c, null]]", "a.yaml:2: pairs[1][1]: expected text, not None"),
        ("category: [a]", "a.yaml:1: category: expected text or whole number, not ['a']"),
        ("layout: 2015", "a.yaml:1: layout: expected one of 2017, 2014, not 2015; did you mean 2017?"),
        ("each: {a: {shar: 1}}", "a.yaml:1: each.a.shar: unknown key; did you mean each.a.share?"),
        ("size: [1, 2, 3]", "a.yaml:1: size: expected 2 values, [whole number, whole number], not [1, 2, 3]"),
        ("rate: 1\ncount: -1\ninner: {x: 1}", "a.yaml:2: count=-1 is not possible; it must be at least 1"),
        (
            "inner:\n  limit: 1\n  share: 1",
            "a.yaml:3: inner: share=1 is not possible; it must be at least 0 and under 1",
        ),
        ("inner: {limit: 0}", "a.yaml:1: inner: limit=0 is not possible; it must be at least 1"),
        ("rate: 0", "a.yaml:1: rate=0 is not possible; it must be more than 0"),
        ("low: 4", "a.yaml:1: low=4 is not possible; it must be at most 3"),
        ("shares: [0.5, -1]", "a.yaml:1: shares[1]=-1 is not possible; it must be at least 0"),
        ('names: ["\\ud800"]', "a.yaml:1: '\\ud800' holds a NUL or half a character; no name or path can"),
        ('"\\0": 3', "a.yaml:1: '\\x00' holds a NUL or half a character; no name or path can"),
    ],
)
def test_what_does_not_fit_is_told_at_its_own_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    assert message in str(caught.value)


def test_the_first_mistake_of_a_file_is_told() -> None:
    with pytest.raises(InputError, match=r"^a\.yaml:2: inner\.limit: expected whole number, not 'x'$"):
        read("fast: true\ninner: {limit: x, share: 7}\nrate: no\n")


def test_ranges_hold_in_python_too() -> None:
    for bad in ({"count": 0}, {"rate": 0.0}, {"rate": float("nan")}, {"low": 4}):
        with pytest.raises(
            InputError, match=rf"^{next(iter(bad))}={next(iter(bad.values()))!r} is not possible; it must"
        ):
            Kinds(**bad)  # type: ignore[arg-type]
    assert Inner(limit=None).limit is None


document = {
    "pairs": [["a", "b"]], "sigmas": {"nose": 1.0}, "either": [1], "category": 3, "size": [1, 2], "names": ["a"],
    "layout": "2014", "fast": True, "count": 2, "inner": {"share": 0.1}, "maybe": {"limit": 3}, "each": {"a": {}},
}  # fmt: skip


@fuzzed(150)
@given(damaged_json(document))
def test_whatever_stands_in_a_file_is_read_or_refused(data: bytes) -> None:
    text = data.decode(errors="replace")
    reads_or_refuses(lambda: read(text))


@given(st.builds(
    Kinds, pairs=st.none() | st.tuples(st.tuples(st.just("a"), st.text("b1 ", max_size=3))),
    sigmas=st.none() | st.dictionaries(st.text("ab1", max_size=2), st.floats(-1e300, 1e300), max_size=3),
    category=st.integers(-9, 9) | st.text("abtrue10.", max_size=5) | st.none(),
    rate=st.floats(1e-300, 1e300), low=st.integers(-(10**30), 3),
))  # fmt: skip
def test_what_is_written_is_read_back(kinds: Kinds) -> None:
    assert read(yaml.safe_dump(to_plain(kinds), sort_keys=False, allow_unicode=True)) == kinds


def test_a_file_to_extend_has_a_name_that_files_can_have(tmp_path: Path) -> None:
    for name in ("a\\0b", "\\ud800"):
        (tmp_path / "run.yaml").write_text(f'extends: "{name}"\n', encoding="utf-8")
        with pytest.raises(InputError, match="holds a NUL or half a character"):
            load_config(tmp_path / "run.yaml")
    with pytest.raises(InputError, match=r"half a character.*in the value of --run_dir"):
        load_config(REPO / "configs" / "quickstart.yaml", [("run_dir", "\udcff")])


def test_many_mistakes_are_told_as_quickly_as_one() -> None:
    assert not reads_or_refuses(lambda: read(f"shares: [{'a, ' * 30_000}]"))


@pytest.mark.parametrize("command", ["search", "retrain", "latency"])
def test_a_help_text_with_fields_waits_for_no_heavy_import(command: str) -> None:
    heavy = {"torch", "ray", "cv2", "onnx", "scipy", "pydantic"}
    program = (
        "import atexit, sys; from nas.cli.main import main; "
        f"atexit.register(lambda: print('HEAVY', sorted({heavy!r} & set(sys.modules)))); main([{command!r}, '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stderr
    assert "threads" in done.stdout
