"""The report's section on which genes buy what: milliseconds, AP, and AP for a millisecond."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nas.run.folder import RunFolder, is_measure
from nas.search.record.front import cost_of
from nas.trust.intervals import Measure
from nas.trust.words import signed
from search_spaces.video import any_architecture

from .importance import GeneImportance, Importance, TooFewCandidates, gene_importance
from .page import section, table
from .records import RunRecords
from .signed_bars import SignedBar, SignedBars

__all__ = ["genes_section"]

TITLE = "What buys what"
SHOWN = 20
"""Genes; those that explain most."""
UNITS = {"latency_ms": ("latency", "ms", 1.0), "macs": ("MACs", "M", 1e-6), "params": ("parameters", "M", 1e-6),
         "ap": ("AP", "AP", 1.0), "mean_oks": ("mean OKS", "OKS", 1.0)}  # fmt: skip
"""Of a measure its name, its unit, and the factor to it."""
NOTE = (
    "What each gene adds while the others stay as they are: least squares over the choices of all genes. A bar is the "
    "gene's share of what the genes would vary by over random networks, with its 95 % interval (bootstrap over "
    "candidates), in another colour where that leaves out 0. Candidates of a search are no random draws: the fit "
    "adjusts for what they are otherwise, but a choice that was dropped early is known from few, and poor, networks. "
    "Genes with one choice among the candidates are left out. It is the inherited accuracy that is explained, not that "
    "after training."
)


def genes_section(run: RunFolder, records: RunRecords) -> str:
    """Empty where nothing was searched, or the run has no space; a line where the candidates are too few.

    Raises:
        InputError: the space's file is damaged.
    """
    file = run.video_space if run.is_video else run.space
    measures = _measures(records)
    if not records.evaluations or not file.is_file() or not measures:
        return ""
    space: Any = run.load_video_space() if run.is_video else run.load_space()
    usable = [(a, record) for a, record in _evaluated(records, measures) if space.contains(a)]
    factors = np.array([_unit(name)[2] for name in measures])
    values = np.array([[record["objectives"][name] for name in measures] for _, record in usable])
    try:
        found = gene_importance(
            [space.encode(architecture) for architecture, _ in usable],
            values.reshape(-1, len(measures)) * factors,
            space.gene_names,
            [gene.words for gene in space.genes],
            [record["status"] for _, record in usable],
        )
    except TooFewCandidates as few:
        line = f"Too few networks were evaluated to tell what each gene adds: {few}."
        return section(TITLE, f'<p class="note">{html.escape(line)}</p>')
    return section(TITLE, _body(found, measures), _note(found, measures))


def _measures(records: RunRecords) -> list[str]:
    """The cost and the quality of what was searched for, as far as there are."""
    objectives = records.front_file.get("objectives", {"ap": "max", "latency_ms": "min"})
    gain = next((name for name, direction in objectives.items() if direction == "max"), None)
    return [name for name in (cost_of(objectives), gain) if name is not None]


def _evaluated(records: RunRecords, measures: Sequence[str]) -> Iterator[tuple[Any, dict[str, Any]]]:
    for record in records.evaluations:
        objectives = record.get("objectives") or {}
        if record.get("status") != "failed" and all(is_measure(objectives.get(name)) for name in measures):
            yield any_architecture(record["architecture"]), record


def _unit(name: str) -> tuple[str, str, float]:
    return UNITS.get(name, (name, name, 1.0))


def _note(found: Importance, measures: Sequence[str]) -> str:
    pairs = zip(measures, found.r2, strict=True)
    explained = " and ".join(f"{100 * max(0.0, r2):.0f} % of {_unit(name)[0]}" for name, r2 in pairs)
    return f"{NOTE} Of {found.n} candidates, all genes together explain {explained} (adjusted R²)."


def _body(found: Importance, measures: Sequence[str]) -> str:
    order = sorted(found.genes, key=lambda gene: -max(one.value or 0.0 for one in gene.shares))
    shown, left = order[:SHOWN], order[SHOWN:]
    charts = "".join(
        f"<div>{SignedBars(x_title=_x_title(name), bars=[_bar(gene, at) for gene in shown]).svg()}</div>"
        for at, name in enumerate(measures)
    )
    body = f'<div class="grid2">{charts}</div>'
    both = len(measures) == 2
    header = ["gene", "choice", "candidates", *(f"{_unit(name)[1]} (95 %)" for name in measures)]
    header += [f"{_unit(measures[1])[1]} per {_unit(measures[0])[1]}"] if both else []
    body += table(header, [row for gene in shown for row in _rows(gene, both)])
    if left:
        most = 100 * max(one.value or 0.0 for gene in left for one in gene.shares)
        body += f'<p class="note">{len(left)} more genes, of which none has more than {most:.1f} %.</p>'
    return body


def _x_title(name: str) -> str:
    return f"{_unit(name)[0]}: % of what genes explain"


def _bar(gene: GeneImportance, at: int) -> SignedBar:
    share = gene.shares[at]
    value, low, high = (100 * (part or 0.0) for part in (share.value, share.low, share.high))
    return SignedBar(gene.gene, value, low, high, f"{gene.gene}: {value:.1f} % ({low:.1f} to {high:.1f})")


def _rows(gene: GeneImportance, both: bool) -> Iterator[list[str]]:
    for number, choice in enumerate(gene.choices):
        cells = [_text(effect) for effect in choice.effects]
        cells += [_text(choice.per_cost)] if both else []
        yield ["" if number else gene.gene, choice.choice, str(choice.n), *cells]


def _text(measure: Measure) -> str:
    if measure.value is None:
        return "–"
    if measure.low is None or measure.high is None or measure.low == measure.high == 0:
        return "0" if measure.value == 0 else signed(measure.value)  # 0 is also the choice of reference
    return f"{signed(measure.value)} ({signed(measure.low)} to {signed(measure.high)})"
