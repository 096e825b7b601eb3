"""What each gene adds is found again where it is known, and nothing where there is nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.report.build import write_report
from nas.report.importance import Importance, TooFewCandidates, gene_importance
from nas.run.files import atomic_write_json
from nas.run.folder import RunFolder
from search_spaces import SearchSpace, get_space
from tests.clip_toys import small_video_space

NAMES = ("width", "kernel", "depth", "color")
CHOICES = ((16, 24, 32), (3, 5), (1, 2, 3), ("red", "green", "blue"))
MILLISECONDS = ((0.0, 1.0, 2.0), (0.0, 0.5), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
AP = ((0.0, 0.1, 0.15), (0.0, 0.0), (0.0, 0.02, -0.04), (0.0, 0.0, 0.0))


def candidates(n: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Latency is exact, AP has noise; the color adds nothing."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers([len(one) for one in CHOICES], size=(n, 4))
    added = [sum(np.array(of)[vectors[:, g]] for g, of in enumerate(adds)) for adds in (MILLISECONDS, AP)]
    return vectors, np.stack([1 + added[0], 0.3 + added[1] + rng.normal(0, noise, n)], axis=1)


def importance(vectors: Any, values: Any, **options: Any) -> Importance:
    return gene_importance(vectors, values, NAMES, CHOICES, **options)


def shares(found: Importance, measure: int) -> dict[str, float]:
    return {gene.gene: gene.shares[measure].value or 0.0 for gene in found.genes}


def test_known_effects_are_found_again_and_a_gene_without_one_has_none() -> None:
    vectors, values = candidates(300, noise=0.02)
    found = importance(vectors, values)
    assert [gene.gene for gene in found.genes] == list(NAMES)
    for gene, ms, ap in zip(found.genes, MILLISECONDS, AP, strict=True):
        assert [choice.choice for choice in gene.choices] == [str(c) for c in CHOICES[NAMES.index(gene.gene)]]
        assert [choice.effects[0].value for choice in gene.choices] == pytest.approx(ms, abs=1e-6)
        assert [choice.effects[1].value for choice in gene.choices] == pytest.approx(ap, abs=0.01)
        assert sum(choice.n for choice in gene.choices) == 300
    assert found.r2[0] == pytest.approx(1.0)
    assert shares(found, 0)["depth"] == pytest.approx(0.0, abs=1e-6)
    assert shares(found, 1)["color"] < 0.01
    assert found.genes[3].shares[1].low == 0.0
    width = found.genes[0].shares[1]
    assert (width.low or 0) > 0.7 > shares(found, 1)["depth"] > 0.1


def test_shares_are_those_of_the_variance_over_random_networks() -> None:
    """Whatever the candidates are: here the search liked wide and deep ones."""
    vectors, values = candidates(3000, noise=0.05)
    kept = (vectors[:, 0] + vectors[:, 2] > 2) | (np.random.default_rng(1).random(3000) < 0.3)
    found = importance(vectors[kept], values[kept])
    for measure, adds in enumerate((MILLISECONDS, AP)):
        between = {name: np.var(of) for name, of in zip(NAMES, adds, strict=True)}
        expected = {name: variance / sum(between.values()) for name, variance in between.items()}
        assert shares(found, measure) == pytest.approx(expected, abs=0.03)
        assert sum(shares(found, measure).values()) == pytest.approx(1.0)


def test_intervals_hold_what_is_true_about_as_often_as_they_say() -> None:
    inside = {"width": 0, "color": 0}
    trials = 40
    for seed in range(trials):
        found = importance(*candidates(120, noise=0.1, seed=seed))
        for gene, choice, true in ((found.genes[0], 2, 0.15), (found.genes[3], 1, 0.0)):
            effect = gene.choices[choice].effects[1]
            inside[gene.gene] += (effect.low or 0.0) <= true <= (effect.high or 0.0)
    assert all(count >= 0.85 * trials for count in inside.values()), inside


def test_chance_has_no_importance() -> None:
    found = [importance(*candidates(80, noise=0.1, seed=seed)).genes for seed in range(20)]
    color, width = ([one[gene].shares[1] for one in found] for gene in (3, 0))
    assert sum(share.low == 0.0 for share in color) >= 17
    assert np.mean([share.value for share in color]) < 0.1
    assert sum((share.low or 0.0) > 0.1 for share in width) >= 17


def test_effects_are_adjusted_for_what_candidates_are_otherwise() -> None:
    """The larger kernel, which adds no AP, came mostly with the larger width."""
    vectors, values = candidates(600, noise=0.02)
    kept = (vectors[:, 0] > 0) == (vectors[:, 1] > 0)
    kept |= np.random.default_rng(1).random(600) < 0.2
    vectors, values = vectors[kept], values[kept]
    with_it, without = (values[vectors[:, 1] == kernel, 1].mean() for kernel in (1, 0))
    assert with_it - without > 0.04
    found = importance(vectors, values)
    assert found.genes[1].choices[1].effects[1].value == pytest.approx(0.0, abs=0.01)


def test_what_a_look_adds_is_no_genes() -> None:
    vectors, values = candidates(200, noise=0.001)
    kinds = np.where(vectors[:, 0] == 2, "complete", "screened")
    kinds[::4] = "complete"
    values[kinds == "screened", 1] += 0.5
    found = importance(vectors, values, kinds=kinds.tolist())
    assert [one.effects[1].value for one in found.genes[0].choices] == pytest.approx([0.0, 0.1, 0.15], abs=0.002)


def test_gains_for_a_millisecond_are_given_where_there_are_milliseconds() -> None:
    found = importance(*candidates(300, noise=0.02))
    width, kernel, depth = found.genes[:3]
    assert width.choices[0].per_cost.value is None
    assert width.choices[1].per_cost.value == pytest.approx(0.1, abs=0.01)
    assert (width.choices[1].per_cost.low or 0) > 0.08
    assert kernel.choices[1].per_cost.value == pytest.approx(0.0, abs=0.02)
    assert [choice.effects[0].value for choice in depth.choices] == [0, 0, 0]
    assert [choice.per_cost.value for choice in depth.choices] == [None] * 3


def test_genes_that_went_together_share_their_effect_evenly() -> None:
    vectors, values = candidates(200, noise=0.01)
    vectors[:, 3] = vectors[:, 0]
    values[:, 1] = 0.3 + np.array(AP[0])[vectors[:, 0]]
    found = importance(vectors, values)
    effects = [gene.choices[2].effects[1].value or 0.0 for gene in (found.genes[0], found.genes[3])]
    assert effects == pytest.approx([0.075, 0.075], abs=1e-3)
    assert shares(found, 0)["color"] == pytest.approx(shares(found, 0)["width"])


def test_genes_with_one_choice_are_left_out_and_a_rare_choice_is_no_reference() -> None:
    vectors, values = candidates(200, noise=0.01)
    vectors[:, 1] = 1
    vectors[:, 0] = np.maximum(vectors[:, 0], 1)
    vectors[0, 0] = 0
    found = importance(vectors, values)
    assert [gene.gene for gene in found.genes] == ["width", "depth", "color"]
    width = found.genes[0].choices
    assert [(one.n, one.effects[0].value == 0.0) for one in width][:2] == [(1, False), (width[1].n, True)]


def test_a_measure_that_is_the_same_for_all_is_nobodys() -> None:
    vectors, values = candidates(100, noise=0.01)
    values[:, 1] = 0.1
    found = importance(vectors, values)
    assert found.r2[1] == 0.0
    assert {gene.shares[1].value for gene in found.genes} == {None}


def test_too_few_candidates_are_told() -> None:
    vectors, values = candidates(15, noise=0.01)
    with pytest.raises(TooFewCandidates, match="15 for 8 effects"):
        importance(vectors, values)
    with pytest.raises(TooFewCandidates, match="no gene has two choices"):
        importance(vectors[:1].repeat(50, axis=0), values[:1].repeat(50, axis=0))


# The report ----------------------------------------------------------------------------------------------------------


def searched(path: Path, space: Any, number: int, gene: str = "stage3.attention") -> RunFolder:
    """A search's journal in which one gene, and nothing else, decides AP; some were only looked at."""
    run, lines = RunFolder(path), []
    for index in range(number):
        architecture = space.sample(np.random.default_rng(index))
        genes = dict(zip(space.gene_names, space.encode(architecture), strict=True))
        status = "screened" if index % 3 else "complete"
        objectives = {"ap": 0.2 + 0.05 * genes[gene], "latency_ms": 2.0 + 0.1 * sum(genes.values())}
        lines.append({"number": index, "id": architecture.id, "architecture": architecture.to_json(),
                      "objectives": objectives, "status": status})  # fmt: skip
    run.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run.front.write_text(json.dumps({"objectives": {"ap": "max", "latency_ms": "min"}, "front": []}))
    file = run.space if isinstance(space, SearchSpace) else run.video_space
    atomic_write_json(file, space.to_json())
    return run


def section_of(run: RunFolder) -> str:
    page = write_report(run, "").read_text(encoding="utf-8")
    found = re.search(r"<section><h2>What buys what</h2>.*?</section>", page, re.DOTALL)
    return found.group() if found else ""


def test_the_report_says_what_buys_what(tmp_path: Path) -> None:
    run = searched(tmp_path, get_space("resnet-tiny"), 160)
    text = section_of(run)
    assert "all genes together explain 100 % of latency and 100 % of AP" in text
    assert text.count("<svg viewBox") == 2
    assert "latency: % of what genes explain" in text
    row = re.search(r"<th>stage3.attention</th>.*?</tr><tr>.*?</tr>", text)
    assert row
    assert "+0.1000 (+0.1000 to +0.1000)" in row.group()
    assert "+0.0500 (+0.0500 to +0.0500)</td><td>+0.5000 (+0.5000 to +0.5000)" in row.group()
    assert "are no random draws" in text
    run.space.unlink()
    assert section_of(run) == ""


def test_genes_of_each_frame_of_a_video_are_told_apart(tmp_path: Path) -> None:
    text = section_of(searched(tmp_path, small_video_space(), 120, "frame2.stage1.kernel_size"))
    assert "<th>frame1.fusion</th><td>none</td>" in text
    assert text.index("frame2.stage1.kernel_size") < text.index("frame1.stage1.kernel_size")  # what explains most first
    assert "adjusted R²" in text


def test_a_report_of_few_candidates_says_so(tmp_path: Path) -> None:
    text = section_of(searched(tmp_path, get_space("resnet-tiny"), 12))
    assert "Too few networks were evaluated to tell what each gene adds: 12 for " in text
    assert "<svg" not in text
