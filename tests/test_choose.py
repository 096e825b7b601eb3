"""Which network to take for a latency: from finalists, retrained networks, or the front."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nas.cli.main import main
from nas.report.choice import choice_lines, choose
from nas.report.records import read_records
from nas.run.folder import RunFolder
from tests.test_report_front import FRONT, evaluated, searched, trained, with_finalists


def chosen(run: RunFolder, *budgets: float) -> tuple[str, list[str | None]]:
    choice = choose(read_records(run), budgets)
    assert choice is not None
    return choice.kind, [one["id"] for one in choice.named]


def test_finalists_come_before_retrained_networks_and_these_before_the_front(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT)
    quick, middle, slow = (one["id"] for one in FRONT)
    assert chosen(run, 2.5, 0.5) == ("inherited", [None, middle])
    trained(run, "retrain", FRONT[0], 0.3, AP_se=0.01)
    trained(run, "retrain", FRONT[2], 0.5, AP_se=0.01)
    assert chosen(run, 2.5, 9.0) == ("retrained", [quick, slow])
    with_finalists(run, {"quick": (FRONT[0], 0.45), "middle": (FRONT[1], 0.4)}, {"quick": 4.0})
    assert chosen(run) == ("finalists", [quick]), "as the file names them"
    assert chosen(run, 9.0) == ("finalists", [quick]), "the slower one is worse"


def test_without_budgets_the_quartiles_are_named(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT)
    assert chosen(run) == ("inherited", [one["id"] for one in FRONT])


def test_a_line_says_what_the_neighbours_cost_and_bring(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT)
    for one, ap in zip(FRONT, (0.30, 0.31, 0.40), strict=True):
        trained(run, "retrain", one, ap, AP_se=0.01)
    choice = choose(read_records(run), [2.0])
    assert choice is not None
    [line] = choice_lines(choice)
    assert line == (
        f"up to 2 ms: take {FRONT[1]['id']}, retrained AP 0.3100 ± 0.0100 at 2 ms: {FRONT[0]['id']} saves 1 ms and "
        f"costs 0.0100 ± 0.0141 AP, within noise; {FRONT[2]['id']} takes 1 ms more and brings 0.0900 ± 0.0141 AP"
    )


def test_where_inherited_ap_is_near_zero_mean_oks_chooses(tmp_path: Path) -> None:
    front = [evaluated(0, 0.001, 1.0), evaluated(1, 0.002, 2.0)]
    for one, oks in zip(front, (0.3, 0.4), strict=True):
        one["objectives"]["mean_oks"] = one["metrics"]["mean_oks"] = oks
    choice = choose(read_records(searched(tmp_path / "run", front)), [9.0])
    assert choice is not None
    assert "train" in choice_lines(choice)[0]
    assert "inherited mean OKS 0.4000" in choice_lines(choice)[0]


def test_the_command_names_network_protocol_and_next_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = searched(tmp_path / "run", FRONT)
    assert main(["choose", str(run.path), "--budget", "2.5"]) == 0
    printed = capsys.readouterr().out
    assert f"up to 2.5 ms: train {FRONT[1]['id']}, inherited AP 0.1500 ± 0.0200" in printed
    assert "latency: predicted by a table of blocks; batch 1, torch 2, fp32, 1 thread, abacus" in printed
    assert f"vipnas export {run.path} --ids {FRONT[1]['id']}" in printed
    trained(run, "retrain", FRONT[0], 0.3, AP_se=0.01)
    assert main(["choose", str(run.path)]) == 0
    assert f"{FRONT[0]['id']}: {run.retrain(FRONT[0]['id'])}" in capsys.readouterr().out


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "inf"])
def test_an_impossible_budget_is_one_line(budget: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = searched(tmp_path / "run", FRONT)
    assert main(["choose", str(run.path), "--budget", budget]) == 2
    assert "--budget: milliseconds above 0 are needed" in capsys.readouterr().err


def test_a_run_without_a_latency_is_told_what_measures_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    front = [{**one, "objectives": {"ap": one["objectives"]["ap"], "macs": 1e6}} for one in FRONT]
    run = searched(tmp_path / "run", front, objectives={"ap": "max", "macs": "min"})
    assert main(["choose", str(run.path)]) == 2
    told = capsys.readouterr().err
    assert "no latency of its networks is known; `vipnas finalists` measures it" in told
    assert "vipnas search" not in told


def test_several_budgets_may_stand_before_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = searched(tmp_path / "run", FRONT)
    assert main(["choose", "--budget", "3", "--budget", "1.5", str(run.path)]) == 0
    printed = capsys.readouterr().out
    assert printed.index(f"up to 1.5 ms: train {FRONT[0]['id']}") < printed.index("up to 3 ms")


def test_finalists_differ_by_the_resamples_that_they_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = searched(tmp_path / "run", FRONT)
    with_finalists(run, {"quick": (FRONT[0], 0.40), "slow": (FRONT[2], 0.42)}, {"quick": 4.0})
    assert main(["choose", str(run.path), "--budget", "9"]) == 0
    printed = capsys.readouterr().out
    assert "costs 0.0200 ± 0.0170 AP, within noise" in printed
    assert "of a difference as if the two were independent" in printed
    noise = np.random.default_rng(0).normal(0, 0.012, 400)
    for one, ap, own in ((FRONT[0], 0.40, 0.0), (FRONT[2], 0.42, 0.001)):
        resamples = list(ap + noise + own * np.tile([-1.0, 1.0], 200))
        found = {"metrics": {"AP": ap, "mean_oks": ap}, "ap_resamples": resamples, "oks_resamples": resamples,
                 "complete": True}  # fmt: skip
        (run.finalist(one["id"]) / "rung1.json").write_text(json.dumps(found))
    assert main(["choose", str(run.path), "--budget", "9"]) == 0
    printed = capsys.readouterr().out
    assert "costs 0.0200 ± 0.0010 AP;" in printed
    assert "of a difference resample by resample" in printed


def test_a_run_with_nothing_measured_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = searched(tmp_path / "run", [])
    assert main(["choose", str(run.path)]) == 2
    assert "run `vipnas search` first" in capsys.readouterr().err
