"""A trust report in sentences, for people who do not know Kendall's τ."""

from __future__ import annotations

from .assessment import Ranking, TrustReport
from .intervals import Measure

__all__ = ["NAMES", "agreement_line", "best_ranking", "interval", "signed", "trusted_line"]

NAMES = {"ap": "inherited AP", "mean_oks": "inherited mean OKS"}


def trusted_line(name: str, ranking: Ranking) -> str:
    """Which difference of inherited AP (``name`` is ``ap``) or mean OKS can be trusted."""
    unit, trusted = {"ap": "AP", "mean_oks": "mean OKS"}.get(name, name), ranking.trusted
    difference = trusted.difference
    if trusted.of < 10:
        return (
            f"Which differences of {NAMES.get(name, name)} can be trusted cannot be said: 5 networks are needed for it."
        )
    if difference.value is None:
        return (
            f"No difference of {NAMES.get(name, name)} can be trusted: of the pairs that lie furthest apart, fewer "
            "than 90 % are ordered as training orders them."
        )
    bounds = f"from {_text(difference.low or 0.0, 4)} "
    bounds += "up to where nobody knows" if difference.high is None else f"to {_text(difference.high, 4)}"
    return (
        f"Differences above {_text(difference.value, 4)} {unit} can be trusted: of the {trusted.pairs} pairs (of all "
        f"{trusted.of}) whose {NAMES.get(name, name)} differs by as much, 90 % are ordered as training orders them "
        f"(95 % interval {bounds})."
    )


def agreement_line(tau: Measure) -> str:
    """What τ says of two networks taken at random: (1 + τ) / 2 of all pairs are ordered alike, ties aside."""
    if tau.value is None:
        return "The networks cannot be told apart by what they inherit."
    text = f"Of two networks taken at random, the supernet names the better one in {_percent(tau.value)} of cases"
    if tau.low is not None and tau.high is not None:
        text += f" (95 % interval {_percent(tau.low)} to {_percent(tau.high)})"
    return f"{text}; a coin would in 50 %."


def _percent(tau: float) -> str:
    return f"{50 * (1 + tau):.0f} %"


def best_ranking(report: TrustReport) -> str | None:
    """The inherited measure with the highest τ."""
    found = {name: one.tau.value for name, one in report.rankings.items() if one.tau.value is not None}
    return max(found, key=lambda name: found[name]) if found else next(iter(report.rankings), None)


def interval(measure: Measure | None, digits: int = 2) -> str:
    """``0.61 (0.43 to 0.75)``; – for what cannot be said."""
    if measure is None or measure.value is None:
        return "–"
    if measure.low is None and measure.high is None:
        return _text(measure.value, digits)
    low, high = ("?" if one is None else _text(one, digits) for one in (measure.low, measure.high))
    return f"{_text(measure.value, digits)} ({low} to {high})"


def signed(value: float, digits: int = 4) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _text(value: float, digits: int) -> str:
    """With so many decimals; of an AP, which has four of them, that these would round away, its size."""
    hidden = digits == 4 and 0 < abs(value) < 0.5 * 10**-digits
    return (f"{value:.1g}" if hidden else f"{value:.{digits}f}").replace("-", "−")
