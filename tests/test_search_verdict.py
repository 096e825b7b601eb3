"""A search that could not tell its candidates apart does not end as if it had found something."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.cli.search import show_result
from nas.report.build import write_report
from nas.run.folder import RunFolder
from nas.search.config import SearchConfig
from nas.search.driver import SearchResult, run_search
from nas.search.verdict import NobodyCounts
from tests.search_toys import ToyArchitecture, ToyFactory, ToySpace, toy_values
from tests.test_report import record, searched

CONFIG = SearchConfig(workers=0, evaluations=30, population_size=8, snapshot_s=0.0, algorithm="evolution")


@dataclass(frozen=True)
class ConstantFactory(ToyFactory):
    """AP does not depend on the network; latency does."""

    ap: float = 0.0
    of_first: float | None = None
    """The AP of the smallest network, if it has another."""

    def evaluate(self, architecture: ToyArchitecture) -> dict[str, Any]:
        ap = self.ap
        if self.of_first is not None and architecture == ToySpace(4).smallest():
            ap = self.of_first
        return {"objectives": {**toy_values(architecture), "ap": ap}}


def search(run: Path, factory: Callable[[], Any], config: SearchConfig = CONFIG, **options: Any) -> SearchResult:
    space = ToySpace(4)
    rng = np.random.default_rng(3)
    return run_search(space, factory, config, run, rng=rng, initial=[space.smallest(), space.largest()], **options)


@pytest.mark.parametrize("ap", [0.0, 0.25, 1.0])
def test_where_all_have_one_ap_the_end_says_so(
    tmp_path: Path, ap: float, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    result = search(tmp_path, ConstantFactory(ap=ap))
    expected = (
        f"AP is {ap:.4f} for all 30 evaluated networks: it does not tell them apart, and the front is only "
        "the cheapest; train longer, and look at the data with `vipnas data check`"
    )
    assert result.warning == expected
    assert [entry.getMessage() for entry in caplog.records] == [expected]
    assert json.loads((tmp_path / "pareto.json").read_text())["warning"] == expected
    show_result(replace(result, front=[]))  # toys are no networks that the table could describe
    assert f"warning: {expected}" in capsys.readouterr().out


def test_a_search_that_goes_on_says_it_again_until_candidates_differ(tmp_path: Path) -> None:
    search(tmp_path, ConstantFactory())
    result = search(tmp_path, ConstantFactory(), replace(CONFIG, evaluations=30), resume=True)
    assert result.warning is not None
    result = search(tmp_path, ToyFactory(), replace(CONFIG, evaluations=50), resume=True)
    assert result.warning is None
    assert "warning" not in json.loads((tmp_path / "pareto.json").read_text())


def test_an_end_with_different_aps_warns_of_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert search(tmp_path / "a", ToyFactory()).warning is None
    assert search(tmp_path / "b", ConstantFactory(ap=0.5, of_first=0.4)).warning is None
    saturated = search(tmp_path / "c", ConstantFactory(ap=0.5, of_first=0.6))  # a front of one, and found
    assert saturated.warning is None
    assert len(saturated.front) == 1
    assert not caplog.records


@pytest.mark.parametrize("algorithm", ["evolution", "random"])
def test_a_search_in_which_nobody_counts_stops_and_keeps_its_state(tmp_path: Path, algorithm: Any) -> None:
    config = replace(CONFIG, algorithm=algorithm)
    message = "AP is -1 for all 30 evaluated candidates: nobody of the validation people counts"
    for resume in (False, True):
        with pytest.raises(NobodyCounts, match=message):
            search(tmp_path, ConstantFactory(ap=-1.0), config, resume=resume)
    assert (tmp_path / "search_state.json").is_file()


def test_a_front_that_no_network_is_good_enough_for_is_said_to_be_empty(tmp_path: Path) -> None:
    config = replace(CONFIG, constraints=("latency_ms <= 0.5",))
    result = search(tmp_path, ToyFactory(), config)
    assert result.front == []
    assert result.warning == (
        "the front is empty: none of 30 networks keeps latency_ms <= 0.5; loosen the bounds or search longer"
    )


def test_the_report_shows_the_warning(tmp_path: Path) -> None:
    records = [record(0, 0.0, 4.0), record(1, 0.0, 11.0)]
    (tmp_path / "run").mkdir()
    run: RunFolder = searched(tmp_path / "run", records, records[:1], warning="AP is 0.0000 for all 2 networks")
    page = write_report(run).read_text(encoding="utf-8")
    assert "Read this first" in page
    assert "The search says: AP is 0.0000 for all 2 networks." in page
