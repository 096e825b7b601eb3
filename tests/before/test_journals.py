"""Searches by evolution take the course that they took before, evaluation by evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.before.going_on import give
from tests.before.results import assert_same_course, course
from tests.before.searches import FIRST, JOURNALS, QUICK
from tests.before.workspace import begin_search

pytestmark = pytest.mark.usefixtures("workspace")


LONG = [name for name, (_, count, _) in JOURNALS.items() if count > QUICK]


@pytest.mark.parametrize("name", JOURNALS)
def test_a_search_begins_as_it_began_before(name: str, expected: dict[str, Any], other: str | None) -> None:
    takes_the_course(name, QUICK, expected, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_a_long_search_takes_the_course_of_before(name: str, expected: dict[str, Any], other: str | None) -> None:
    takes_the_course(name, JOURNALS[name][1], expected, other)


def takes_the_course(name: str, count: int, expected: dict[str, Any], other: str | None) -> None:
    """The first ``count`` evaluations do not depend on how many there will be."""
    of, _, options = JOURNALS[name]
    run, wanted = Path("runs") / f"{name}-{count}", expected["journals"][name][:count]
    begin_search(Path("runs") / of, run)
    give("search", f"runs/{of}/config.yaml", "--run-dir", run, "--search.evaluations", str(count), *options)
    first = count if name.endswith("by-size") else FIRST[of]
    assert_same_course(course(run), wanted, first, other)
