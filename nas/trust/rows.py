"""The measures of a trust report as rows of a table: on the terminal and in the report."""

from __future__ import annotations

from collections.abc import Iterator

from .assessment import Counted, Ranking, TrustReport
from .words import interval

__all__ = ["measure_rows"]


def measure_rows(report: TrustReport) -> list[tuple[str, ...]]:
    """(what it is, one cell an inherited measure); values have their 95 % intervals."""
    rankings = list(report.rankings.values())
    rows = [_row(title, cells) for title, cells in _measures(rankings, report.n)]
    if report.ceiling is not None:
        text = interval(report.ceiling.tau)
        rows.insert(1, ("… of a perfect ranking, given the seeds' noise", *(text for _ in rankings)))
    rows += [(f"Kendall's τ of {title}", *(cell for _ in rankings)) for title, cell in _baselines(report)]
    return rows


def _row(title: str, cells: list[str]) -> tuple[str, ...]:
    return (title, *cells)


def _measures(rankings: list[Ranking], n: int) -> Iterator[tuple[str, list[str]]]:
    yield "Kendall's τ to AP after training", [interval(one.tau) for one in rankings]
    if any(one.of_ceiling for one in rankings):
        yield "τ / τ of a perfect ranking", [interval(one.of_ceiling) for one in rankings]
    yield "Spearman's ρ", [interval(one.spearman) for one in rankings]
    yield "τ at fixed latency", [_counted(one.tau_at_latency) for one in rankings]
    yield "τ at fixed MACs", [_counted(one.tau_at_macs) for one in rankings]
    for population in dict.fromkeys(name for one in rankings for name, of in one.by_population.items() if of.n < n):
        yield f"τ among {population} networks", [_counted(one.by_population.get(population), True) for one in rankings]
    if rankings:
        recall = rankings[0].recall
        title = f"true best {recall.k} among the inherited best {recall.among} (by chance {recall.by_chance:.2f})"
        yield title, [interval(one.recall.share) for one in rankings]
    for index in range(max((len(one.regrets) for one in rankings), default=0)):
        regret = rankings[0].regrets[index]
        title = f"AP lost by its choice within {regret.budget_ms:.2f} ms ({regret.n} networks)"
        yield title, [interval(one.regrets[index].ap, 4) for one in rankings]
    for variant in dict.fromkeys(name for one in rankings for name in one.stability):
        yield f"τ between it and {variant}", [interval(one.stability.get(variant)) for one in rankings]
    yield "difference that can be trusted", [interval(one.trusted.difference, 4) for one in rankings]


def _baselines(report: TrustReport) -> Iterator[tuple[str, str]]:
    names = {"macs": "MACs alone", "parameters": "parameters alone", "latency_ms": "latency alone"}
    for name, one in report.baselines.items():
        yield names.get(name, name), _counted(one)
    steps = report.equal_cost_steps
    if steps is not None:
        yield f"a short training of about equal cost ({steps} steps)", _counted(report.short[steps])
    settled = list(report.short)[-1:]
    if settled and settled[0] != steps:
        yield f"AP after {settled[0]} steps of the same training", _counted(report.short[settled[0]])


def _counted(one: Counted | None, says_how_many: bool = False) -> str:
    if one is None:
        return "–"
    return interval(one.measure) + (f", n = {one.n}" if says_how_many else "")
