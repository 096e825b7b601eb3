"""How far a supernet may be believed: the measures against hand-made cases, scipy and populations of known τ."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau, norm, spearmanr

from nas.report.build import write_report
from nas.run.files import atomic_write_json, to_plain
from nas.run.folder import RunFolder
from nas.trust.assessment import Ranking, trust_report
from nas.trust.bias import gene_biases, residuals, size_biases
from nas.trust.ceiling import noise_ceiling, seed_noise
from nas.trust.file import load_trust
from nas.trust.intervals import Measure, correlation, inverted, resamples
from nas.trust.networks import RankedNetwork
from nas.trust.orders import kendall_tau, partial_tau, regret, spearman, top_recall, trusted_difference
from nas.trust.rows import measure_rows
from nas.trust.sources import networks_of_run
from nas.trust.words import agreement_line, interval, trusted_line
from search_spaces import InputError, get_space
from tests.program import assert_one_line, call

SPACE = get_space("resnet-tiny")


def ranked(inherited: Any, true: Any, **fields: Any) -> list[RankedNetwork]:
    """Networks of these inherited and true APs; fields have one entry a network."""
    return [
        RankedNetwork(id=f"n{i}", inherited={"ap": float(x)}, true_ap=tuple(np.atleast_1d(y).tolist()),
                      **{name: values[i] for name, values in fields.items()})
        for i, (x, y) in enumerate(zip(inherited, true, strict=True))
    ]  # fmt: skip


def normal_pairs(n: int, tau: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Bivariate normal, whose τ is 2/π · asin of its correlation."""
    r, x = math.sin(math.pi / 2 * tau), rng.standard_normal(n)
    return x, r * x + math.sqrt(1 - r * r) * rng.standard_normal(n)


def of_ap(networks: list[RankedNetwork], **options: Any) -> Ranking:
    return trust_report(networks, "networks", **{"draws": 300, **options}).rankings["ap"]


# Orders --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_tau_and_rho_are_scipys_also_with_ties_and_of_every_bootstrap_draw(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 6, 20).astype(float)
    y = x + rng.integers(0, 7, 20)
    weights = resamples(20, rng, 8)
    rows = [np.arange(20), *(np.repeat(np.arange(20), w.astype(int)) for w in weights)]
    for ours, theirs in ((kendall_tau, kendalltau), (spearman, spearmanr)):
        found = [ours(x, y)[0], *ours(x, y, weights)]
        assert found == pytest.approx([theirs(x[i], y[i]).statistic for i in rows])


def test_tau_of_four_networks_by_hand() -> None:
    assert kendall_tau([1, 2, 3, 4], [1, 3, 2, 4])[0] == pytest.approx(4 / 6)  # 5 pairs alike, 1 not
    assert kendall_tau([1, 2, 3], [3, 2, 1])[0] == -1
    assert math.isnan(kendall_tau([1, 1, 1], [3, 2, 1])[0])  # all inherit the same


def test_partial_tau_by_hand() -> None:
    x, y, z = [1, 2, 3, 4], [1, 3, 2, 4], [2, 1, 3, 4]
    xy, xz, yz = 4 / 6, 4 / 6, 2 / 6
    expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial_tau(x, y, z)[0] == pytest.approx(expected)
    assert math.isnan(partial_tau(x, y, x)[0])  # nothing is left of x


def test_what_is_all_size_is_nothing_at_fixed_size() -> None:
    rng = np.random.default_rng(0)
    size = rng.standard_normal(400)
    x, y = (size + rng.standard_normal(400) for _ in range(2))
    assert kendall_tau(x, y)[0] == pytest.approx(1 / 3, abs=0.05)  # 2/π · asin(1/2)
    # Kendall's partial τ of normal values is not quite 0 where their partial correlation is.
    assert abs(partial_tau(x, y, size)[0]) < 0.16


def test_recall_of_the_best_by_hand() -> None:
    y = [1, 2, 3, 4, 5, 6]
    assert top_recall([6, 5, 1, 2, 4, 3], y, 2, 3)[0] == pytest.approx(1 / 2)  # 6, 5, 4 of the list: y = 1, 2, 5
    assert top_recall(y, y, 2, 4)[0] == 1
    assert top_recall([0] * 6, y, 2, 4)[0] == pytest.approx(4 / 6)  # all tied: by lot
    weights = np.array([[0, 0, 0, 0, 1, 5.0]])
    assert top_recall([1, 1, 1, 1, 9, 8], y, 2, 4, weights)[0] == pytest.approx(3 / 5)  # 3 of 5 copies of the best


def test_regret_by_hand() -> None:
    x, y, ms = [3, 2, 1, 9], [0.5, 0.6, 0.7, 0.2], [1, 2, 3, 4]
    assert regret(x, y, ms, 1)[0] == 0
    assert regret(x, y, ms, 3)[0] == pytest.approx(0.2)
    assert regret(x, y, ms, 4)[0] == pytest.approx(0.5)
    assert regret([1, 1, 1, 0], y, ms, 4)[0] == pytest.approx(0.1)  # one of three by lot: 0.6 on average
    assert math.isnan(regret(x, y, ms, 0.5)[0])
    assert math.isnan(regret(x, y, ms, 1, np.array([[0, 2, 1, 1.0]]))[0])


def test_the_difference_that_can_be_trusted_by_hand() -> None:
    y = np.arange(11.0)
    x = y.copy()
    x[[4, 5]] = x[[5, 4]]  # one pair of 55 is wrong: 98 % are right all the same
    assert trusted_difference(x, y)[0][0] == 1
    difference, pairs = trusted_difference(x, y, right=1)  # that wrong pair lies 1 apart
    assert (difference[0], pairs[0]) == (2, 45)
    assert trusted_difference(-y, y)[0][0] == math.inf
    assert math.isnan(trusted_difference(y[:4], y[:4])[0][0])  # six pairs
    assert trusted_difference(np.zeros(11), y)[0][0] == math.inf  # tied pairs are half right


def test_a_draws_difference_is_that_of_the_drawn_networks() -> None:
    rng = np.random.default_rng(1)
    x, y = normal_pairs(15, 0.6, rng)
    for weights in resamples(15, rng, 5):
        rows = np.repeat(np.arange(15), weights.astype(int))
        i, j = np.triu_indices(15, 1)
        keep = rows[i] != rows[j]
        i, j = rows[i[keep]], rows[j[keep]]
        apart, good = np.abs(x[i] - x[j]), (x[i] - x[j]) * (y[i] - y[j]) > 0
        holds = [d for d in np.unique(apart) if (apart >= d).sum() >= 10 and good[apart >= d].mean() >= 0.9]
        found = trusted_difference(x, y, weights=weights[None])[0][0]
        assert found == pytest.approx(min(holds, default=math.inf))


# Intervals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "tau"), [(8, 0.3), (12, 0.6), (30, 0.6), (50, 0.3)])
def test_intervals_of_tau_cover_the_true_one(n: int, tau: float) -> None:
    rng = np.random.default_rng(n)
    held = 0
    for _ in range(120):
        x, y = normal_pairs(n, tau, rng)
        found = correlation(lambda w, x=x, y=y: kendall_tau(x, y, w), resamples(n, rng, 300), "tau")
        assert found.low is not None
        assert found.high is not None
        held += found.low <= tau <= found.high
    assert held >= 0.89 * 120  # 95 % but for the chance of 120 populations


def test_what_few_networks_can_tell_is_what_simulation_says() -> None:
    """The table of the measured τ's range over true τ (bivariate normal), read the other way round."""
    low, high = inverted(0.42, 12)
    assert low == pytest.approx(0.0, abs=0.06)  # ±0.42 is the range of 12 networks with a true τ of 0
    assert inverted(-0.42, 12)[1] == pytest.approx(-low, abs=0.06)
    assert high < 0.9
    for n in (3, 4, 5, 8):  # of n networks in the right order that is chance in one case of n!
        assert (inverted(1.0, n)[0] < 0) == (1 / math.factorial(n) > 0.025)
        assert inverted(1.0, n)[1] == 1


@pytest.mark.parametrize("n", [3, 4, 6])
def test_few_networks_in_the_right_order_are_no_certainty(n: int) -> None:
    true = np.linspace(0.3, 0.4, n)
    found = of_ap(ranked(true / 2, true, latency_ms=np.linspace(1, 2, n)))
    assert found.tau.value == 1
    assert found.tau.low is not None
    assert found.tau.low < (0 if n < 5 else 0.6)
    assert found.spearman.low is not None
    assert found.spearman.low < (0 if n < 5 else 0.8)
    assert found.recall.share.low is not None
    assert found.recall.share.low < 0.2
    assert (found.regrets[-1].ap.value, found.regrets[-1].ap.low) == (0, 0)
    assert found.regrets[-1].ap.high is not None
    assert found.regrets[-1].ap.high > 0.02
    assert found.trusted.difference.high is None
    assert (found.trusted.difference.value is None) == (n < 5)


# Noise ceiling -------------------------------------------------------------------------------------------------------

CEILING = {0.1: (0.94, 0.96, 0.96, 0.97), 0.2: (0.87, 0.91, 0.93, 0.94), 0.3: (0.81, 0.87, 0.89, 0.92),
           0.5: (0.70, 0.78, 0.82, 0.86), 1.0: (0.50, 0.61, 0.67, 0.73)}  # fmt: skip
"""Seeds' noise by the spread of true APs → what a perfect ranking of normal true APs measures with 1, 2, 3, 5 seeds."""


@pytest.mark.parametrize(("q", "row"), CEILING.items())
def test_the_ceiling_is_that_of_a_perfect_ranking(q: float, row: tuple[float, ...]) -> None:
    rng = np.random.default_rng(3)
    for seeds, expected in zip((1, 2, 3, 5), row, strict=True):
        if seeds > 1:  # without a repeat nothing is known of the noise
            truth = norm.ppf((np.arange(100) + 0.5) / 100)
            measured = truth[:, None] + q * rng.standard_normal((100, seeds))
            found = noise_ceiling(measured, rng)
            assert found is not None
            assert found.tau.value == pytest.approx(expected, abs=0.035)
            assert found.noise.sd == pytest.approx(q, rel=0.2)
            assert found.share == pytest.approx(q, rel=0.3)
        assert 2 / math.pi * math.asin(1 / math.sqrt(1 + q**2 / seeds)) == pytest.approx(expected, abs=0.006)


def test_the_ceiling_of_one_seed_each_with_a_few_repeats() -> None:
    rng = np.random.default_rng(5)
    values = []
    for _ in range(6):
        truth = rng.standard_normal(60)
        measured = [truth[i] + 0.5 * rng.standard_normal(3 if i < 8 else 1) for i in range(60)]
        found = noise_ceiling(measured, rng)
        assert found is not None
        assert found.noise.degrees == 16
        assert found.tau.low is not None
        assert found.tau.high is not None
        assert found.tau.low < found.tau.high
        values.append(found.tau.value)
    assert np.mean(values) == pytest.approx(0.72, abs=0.04)  # 52 of 60 with one seed: 0.70, the others 0.82


def test_noise_needs_a_repeat_and_is_pooled() -> None:
    assert seed_noise([(0.1,), (0.3,)]) is None
    assert noise_ceiling([(0.1,), (0.3,)], np.random.default_rng(0)) is None
    found = seed_noise([(0.1, 0.3), (0.2,), (0.5, 0.5, 0.8)])
    assert found is not None
    assert found.degrees == 3
    assert found.sd == pytest.approx(math.sqrt((0.02 + 0.06) / 3))


def test_where_networks_differ_no_more_than_seeds_no_ranking_can_agree() -> None:
    found = noise_ceiling([(0.1, 0.3), (0.3, 0.1), (0.2, 0.2)], np.random.default_rng(0))
    assert found is not None
    assert found.tau.value == 0
    assert found.share is None


# Bias ----------------------------------------------------------------------------------------------------------------


def test_noise_alone_is_no_bias_and_a_favoured_gene_is_found() -> None:
    rng = np.random.default_rng(2)
    true = 0.4 + 0.05 * rng.standard_normal(60)
    wide = np.arange(60) % 2
    inherited = 0.5 * true + 0.01 * rng.standard_normal(60) + 0.02 * wide
    left = residuals(inherited, true)
    assert left is not None
    assert left.sum() == pytest.approx(0, abs=1e-9)
    by_gene = gene_biases(left, [{"stem.width": str(8 + 8 * w), "stem.kernel_size": "3"} for w in wide])
    assert [(one.group, one.choice, one.n) for one in by_gene] == [("stem.width", "8", 30), ("stem.width", "16", 30)]
    narrow, favoured = by_gene
    assert favoured.mean - narrow.mean == pytest.approx(0.02, abs=0.006)
    assert narrow.high < 0 < favoured.low
    by_size = size_biases(left, 1e6 * (1 + true))  # those of higher AP are larger, and not favoured for it
    assert len(by_size) == 10
    assert sum(one.n for one in by_size) == 60
    assert sum(one.low > 0 or one.high < 0 for one in by_size) <= 2


def test_two_networks_that_agree_do_not_look_certain() -> None:
    rng = np.random.default_rng(4)
    true = rng.uniform(0.3, 0.5, 12)
    left = residuals(true + 0.02 * rng.standard_normal(12), true)
    assert left is not None
    genes = [{"a": "x" if i in (0, 1) else "y"} for i in range(12)]
    left[1] = left[0]
    found = gene_biases(left, genes)[0]
    assert found.high - found.low > 0.02


def test_of_few_networks_no_bias_is_said() -> None:
    assert residuals(np.array([1.0, 2, 3]), np.array([1.0, 2, 3])) is None
    found = of_ap(ranked([0.1, 0.2, 0.3], [0.2, 0.3, 0.4], macs=[1e6, 2e6, 3e6], genes=[{"a": "1"}, {"a": "2"}, {}]))
    assert found.size_bias == found.gene_bias == ()


# The whole report ----------------------------------------------------------------------------------------------------


def population(n: int, tau: float, rng: np.random.Generator, noise: float = 0.01) -> list[RankedNetwork]:
    """True APs 0.4 ± 0.05; six networks with three seeds; latency in the order of true AP, mostly."""
    x, z = normal_pairs(n, tau, rng)
    true = [0.4 + 0.05 * z[i] + noise * rng.standard_normal(3 if i < 6 else 1) for i in range(n)]
    latency = (2 + 0.3 * z + 0.1 * rng.standard_normal(n)).tolist()
    return [
        replace(one, inherited={**one.inherited, "mean_oks": one.inherited["ap"] + 0.3}, macs=1e6 * one.latency_ms,
                parameters=1e5, population=("random", "front")[i % 2], short={"50": one.ap, "100": one.ap})
        for i, one in enumerate(ranked(0.2 + 0.03 * x, true, latency_ms=latency))
        if one.latency_ms is not None
    ]  # fmt: skip


def test_a_perfect_ranking_has_the_ceilings_tau_and_loses_nothing() -> None:
    rng = np.random.default_rng(0)
    true = 0.4 + 0.05 * rng.standard_normal(60)
    seeds = [true[i] + 0.02 * rng.standard_normal(3 if i < 20 else 1) for i in range(60)]
    report = trust_report(ranked(true, seeds, latency_ms=np.linspace(1, 3, 60)), "networks", draws=300)
    found = report.rankings["ap"]
    assert report.ceiling is not None
    assert report.ceiling.tau.value is not None
    assert found.tau.value == pytest.approx(report.ceiling.tau.value, abs=0.06)
    assert found.of_ceiling is not None
    assert found.of_ceiling.value == pytest.approx(1, abs=0.08)
    without = of_ap(ranked(true, true, latency_ms=np.linspace(1, 3, 60)))
    assert without.tau == Measure(1, 1, 1)
    assert without.of_ceiling is None
    assert [one.ap.value for one in without.regrets] == [0, 0, 0]
    assert [one.n for one in without.regrets] == [20, 40, 60]
    assert (without.recall.k, without.recall.among, without.recall.share.value) == (5, 10, 1)
    assert without.trusted.pairs == without.trusted.of


def test_a_ranking_by_lot_is_found_out() -> None:
    found = of_ap(population(60, 0.0, np.random.default_rng(1)))
    assert found.tau.low is not None
    assert found.tau.high is not None
    assert found.tau.low < 0 < found.tau.high
    assert found.trusted.difference.high is None
    assert sum(one.ap.value or 0 for one in found.regrets) > 0.02
    assert "up to where nobody knows" in trusted_line("ap", found) or "No difference" in trusted_line("ap", found)


def test_a_noisy_ranking_of_known_tau() -> None:
    report = trust_report(population(60, 0.6, np.random.default_rng(6)), "networks", "50", draws=300)
    found = report.rankings["ap"]
    assert found.tau.low is not None
    assert found.tau.high is not None
    assert found.tau.low < 0.58 < found.tau.high
    assert report.rankings["mean_oks"].tau.value == pytest.approx(found.tau.value)
    assert report.seeds == {"1": 54, "3": 6}
    assert list(report.baselines) == ["macs", "latency_ms"]  # all have as many parameters: no order
    assert report.short["50"].measure.value is not None
    assert report.short["50"].measure.value > 0.9
    assert report.equal_cost_steps == "50"
    assert {name: one.n for name, one in found.by_population.items()} == {"random": 30, "front": 30}
    assert found.tau_at_latency is not None
    assert found.tau_at_latency.measure.value is not None
    assert found.tau_at_latency.measure.value < (found.tau.value or 0)  # latency knew part of it


def test_stability_is_between_the_inherited_values_of_two_settings() -> None:
    networks = population(20, 0.5, np.random.default_rng(3))
    same = [replace(one, variants={"half": one.inherited, "part": {"ap": -one.inherited["ap"]}}) for one in networks]
    report = trust_report(same, "networks", draws=100)
    assert report.rankings["ap"].stability["half"].value == 1
    assert report.rankings["ap"].stability["part"].value == -1
    assert report.rankings["ap"].variants["half"].value == report.rankings["ap"].tau.value
    assert list(report.rankings["mean_oks"].stability) == ["half"]


def test_the_same_networks_give_the_same_report_and_it_is_read_back_as_it_was(tmp_path: Path) -> None:
    networks = population(12, 0.5, np.random.default_rng(3))
    report = trust_report(networks, "networks", draws=100)
    assert report == trust_report(networks, "networks", draws=100)
    atomic_write_json(tmp_path / "trust.json", to_plain(report))  # without NaN and infinity
    assert load_trust(tmp_path / "trust.json") == report
    (tmp_path / "trust.json").write_text('{"n": "many"}')
    with pytest.raises(InputError, match=r"trust\.json: damaged"):
        load_trust(tmp_path / "trust.json")


def test_all_inherit_the_same() -> None:
    found = of_ap(ranked([0.0] * 12, np.linspace(0.2, 0.4, 12), latency_ms=np.linspace(1, 2, 12)))
    assert found.tau == Measure(None)
    assert "cannot be told apart" in agreement_line(found.tau)
    assert trusted_line("ap", found).startswith("No difference of inherited AP can be trusted")
    assert interval(found.tau) == "–"
    assert found.regrets[-1].ap.value == pytest.approx(0.1)  # one by lot


def test_the_table_has_a_row_for_all_that_is_known_and_none_for_the_rest() -> None:
    networks = population(20, 0.5, np.random.default_rng(3))
    titles = [title for title, *cells in measure_rows(trust_report(networks, "networks", "50", draws=50))]
    for words in ("perfect ranking", "among random", "among front", "best 5 among the inherited best 10", "MACs alone",
                  "equal cost (50 steps)", "AP after 100 steps", "can be trusted"):  # fmt: skip
        assert sum(words in title for title in titles) == 1 + (words == "perfect ranking"), words
    bare = ranked(np.arange(8), np.arange(8), population=["random"] * 8)
    rows = dict(measure_rows(trust_report(bare, "networks", draws=50)))
    assert rows["τ at fixed latency"] == "–"
    assert not any("among random" in title or "perfect" in title or "alone" in title for title in rows)


def test_networks_without_a_common_measure_are_refused() -> None:
    networks = ranked([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    networks[1] = replace(networks[1], inherited={"mean_oks": 0.3})
    with pytest.raises(InputError, match="AP is inherited by some and mean OKS by others"):
        trust_report(networks, "networks")


def test_two_networks_are_no_ranking() -> None:
    with pytest.raises(InputError, match="2 networks with inherited and true AP are too few"):
        of_ap(ranked([0.1, 0.2], [0.1, 0.2]))


# A run ---------------------------------------------------------------------------------------------------------------


def finalist(number: int, ap: float, **fields: Any) -> dict[str, Any]:
    architecture = SPACE.sample(np.random.default_rng(number))
    inherited = {"ap": ap / 10, "mean_oks": ap / 2}
    return {"id": architecture.id, "ap": ap, "ap_standard_error": 0.01, "mean_oks": ap, "latency_ms": 1.0 + number,
            "inherited": inherited, "architecture": architecture.to_json(), "unknown": None, **fields}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that is searched, and nothing else."""
    found = RunFolder(tmp_path / "run")
    found.path.mkdir()
    atomic_write_json(found.space, SPACE.to_json())
    found.config.write_text("space: resnet-tiny\n", encoding="utf-8")
    records = []
    for number in range(5):
        network = SPACE.sample(np.random.default_rng(number))
        records.append({"number": number, "id": network.id, "architecture": network.to_json(), "status": "complete",
                        "objectives": {"ap": 0.1 * number, "latency_ms": 2.0 + number},
                        "metrics": {"mean_oks": 0.2 * number}})  # fmt: skip
    found.journal.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return found


def write_finalists(run: RunFolder, networks: Any) -> None:
    atomic_write_json(run.path / "finalists.json", {"networks": networks})


def test_finalists_alone_give_a_report_with_a_section_in_the_page(run: RunFolder) -> None:
    write_finalists(run, [finalist(i, 0.3 + 0.02 * i) for i in range(6)])
    done = call("trust", run.path)
    assert done.returncode == 0, done.stderr
    assert "6 finalists (6 with 1 seed)" in done.stdout
    assert "Differences above" in done.stdout
    report = load_trust(run.path / "trust.json")
    assert report.rankings["ap"].tau.value == 1
    assert report.rankings["ap"].tau.low is not None
    assert report.rankings["ap"].tau.low < 0.6
    assert report.ceiling is None
    assert set(report.baselines) == {"macs", "parameters", "latency_ms"}
    assert any(one.group == "stem.width" for one in report.rankings["ap"].gene_bias)
    (run.path / "finalists.json").unlink()  # of the small form: the page shows trust.json, not the finalists
    page = write_report(run).read_text(encoding="utf-8")
    section = page[page.index("How far the supernet may be believed") :]
    assert "6 finalists (6 with 1 seed)" in section
    assert section.count('class="whisker"') > 6  # standard errors, and intervals of biases
    assert trusted_line("ap", report.rankings["ap"]) in section
    assert "Whom it favours" in section


def test_without_trust_json_the_page_has_no_such_section(run: RunFolder) -> None:
    """Nor does a front that is not there yet keep the page from being written."""
    assert "believed" not in write_report(run).read_text(encoding="utf-8")


def test_retrained_networks_count_where_there_are_no_finalists(run: RunFolder) -> None:
    for number in range(5):
        network = SPACE.sample(np.random.default_rng(number))
        results = {"best": {"AP": 0.5 - 0.01 * number}, "finished": number != 4}  # the last one is still trained
        atomic_write_json(run.retrain(network.id) / "results.json", results)
    atomic_write_json(run.retrain("stranger") / "results.json", {"best": {"AP": 0.9}, "finished": True})
    networks, source = networks_of_run(run)
    assert (len(networks), source) == (4, "retrained networks")
    assert trust_report(networks, source).rankings["mean_oks"].tau.value == -1
    by_id = {one.id: one for one in networks}
    first = by_id[SPACE.sample(np.random.default_rng(0)).id]
    assert (first.latency_ms, first.true_ap, first.inherited) == (2.0, (0.5,), {"ap": 0.0, "mean_oks": 0.0})
    assert first.genes["stem.width"] in map(str, SPACE.stem.width)


def test_a_finalist_without_an_architecture_is_looked_up_in_the_journal(run: RunFolder) -> None:
    write_finalists(run, [{k: v for k, v in finalist(i, 0.3).items() if k != "architecture"} for i in range(3)])
    networks, _ = networks_of_run(run)
    assert all(one.macs and one.genes for one in networks)


def rungs(*aps: float) -> list[dict[str, Any]]:
    return [{"step": 100 * 3**i, "ap": ap, "ap_se": 0.02} for i, ap in enumerate(aps)]


def test_finalists_are_compared_as_they_were_after_the_same_steps(run: RunFolder) -> None:
    """Of six, two came to the end; a third is still trained; one failed, one has never been looked at by the search."""
    entries = [
        finalist(0, 0.30, status="trained", rungs=rungs(0.1, 0.2, 0.30)),
        finalist(1, 0.31, status="trained", rungs=rungs(0.11, 0.21, 0.31)),
        finalist(2, 0.22, status="stopped", rungs=rungs(0.12, 0.22)),
        finalist(3, 0.13, status="stopped", rungs=rungs(0.13)),
        finalist(4, 0.0, status="failed", rungs=[]) | {"ap": None},
        finalist(5, 0.4, rungs=rungs(0.1, 0.2, 0.4)) | {"inherited": {}},
    ]
    atomic_write_json(run.path / "finalists.json", {"format": "vipnas-finalists/1", "finalists": entries})
    networks, source = networks_of_run(run)
    assert source == "finalists, as they were after 300 steps"
    assert [one.true_ap for one in networks] == [(0.2,), (0.21,), (0.22,)]
    assert networks[0].short == {"100": 0.1}
    assert networks[0].standard_error == 0.02
    entries[2] = finalist(2, 0.32, status="trained", rungs=rungs(0.12, 0.22, 0.32))
    atomic_write_json(run.path / "finalists.json", {"format": "vipnas-finalists/1", "finalists": entries})
    networks, source = networks_of_run(run)
    assert source == "finalists"
    assert [one.true_ap for one in networks] == [(0.30,), (0.31,), (0.32,)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "finalists.json: damaged"),
        ("[]", "finalists.json: damaged"),
        ('{"networks": 3}', "finalists.json: damaged (no list of objects)"),
        ('{"finalists": [3]}', "finalists.json: damaged (no list of objects)"),
        ('{"networks": []}', "0 of its 0 networks have both inherited and trained AP, and 3 are needed"),
        ('{"networks": [{"ap": 0.3}]}', "0 of its 1 networks have both"),
        ('{"networks": [{"id": "a", "ap": null, "inherited": {"ap": 1}}]}', "0 of its 1 networks have both"),
        ('{"networks": [{"id": "a", "ap": 0.3, "inherited": {}}]}', "0 of its 1 networks have both"),
    ],
)
def test_what_is_wrong_with_finalists_is_one_line(run: RunFolder, content: str, words: str) -> None:
    (run.path / "finalists.json").write_text(content, encoding="utf-8")
    assert_one_line(call("trust", run.path), words)
    assert not (run.path / "trust.json").exists()


def test_other_mistakes_are_one_line_too(run: RunFolder, tmp_path: Path) -> None:
    assert_one_line(call("trust", run.path), "0 retrained networks", "run `vipnas finalists`")
    assert_one_line(call("trust", tmp_path / "none"), "no such run folder")
    assert_one_line(call("trust", run.path, "--compare", "x.safetensors"), "give --truth DIR")
    assert_one_line(call("trust", run.path, "--truth", tmp_path), "supernet.safetensors: no such file")
