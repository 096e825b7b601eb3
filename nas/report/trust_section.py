"""The report's section on how far the supernet may be believed, of what ``vipnas trust`` has left in ``trust.json``."""

from __future__ import annotations

import html
from collections.abc import Sequence

from nas.run.folder import RunFolder
from nas.trust.assessment import Ranking, TrustReport
from nas.trust.bias import Bias
from nas.trust.file import load_trust
from nas.trust.networks import RankedNetwork
from nas.trust.rows import measure_rows
from nas.trust.sources import TRUST
from nas.trust.words import NAMES, agreement_line, best_ranking, signed, trusted_line

from .charts import Chart, Marks
from .page import section, table
from .signed_bars import SignedBar, SignedBars

__all__ = ["trust_section"]

TITLE = "How far the supernet may be believed"
STYLES = ("front", "chosen", "complete", "baseline")
TAU = (
    "Kendall's τ says how far two orders of the same networks agree: 1, the same order; 0, they have nothing to do "
    "with each other; −1, one is the other reversed. In brackets, 95 % intervals: with few networks they are wide. "
    "What MACs alone say of AP is to be had without a supernet; the supernet is worth what it says beyond that."
)
BIAS = (
    "Over zero, the supernet thinks better of networks with this choice than their training bears out; in another "
    "colour where the 95 % interval leaves out zero, which by chance one bar in twenty does."
)


def trust_section(run: RunFolder) -> str:
    """Empty where ``vipnas trust`` has not run.

    Raises:
        InputError: ``trust.json`` is damaged.
    """
    path = run.path / TRUST
    if not path.is_file():
        return ""
    report = load_trust(path)
    best = best_ranking(report)
    if best is None:
        return ""
    ranking = report.rankings[best]
    said = [agreement_line(ranking.tau), trusted_line(best, ranking)]
    scatters = "".join(f"<div>{scatter_chart(report.networks, name)}</div>" for name in report.rankings)
    columns = ["", *(NAMES.get(name, name) for name in report.rankings)]
    body = [
        *(f'<p class="said">{html.escape(line)}</p>' for line in said),
        f'<div class="grid2">{scatters}</div>',
        f'<p class="note">{html.escape(TAU)}</p>',
        table(columns, measure_rows(report)),
        _biases(best, ranking),
    ]
    return section(TITLE, "".join(body), _note(report))


def _note(report: TrustReport) -> str:
    seeds = ", ".join(f"{count} with {k} seed{'s' if k != '1' else ''}" for k, count in report.seeds.items())
    noise = report.ceiling.noise if report.ceiling else None
    known = "" if noise is None else f" From seed to seed AP moves by {noise.sd:.4f} (standard deviation)."
    return f"{report.n} {report.source} ({seeds}).{known}"


def scatter_chart(networks: Sequence[RankedNetwork], name: str) -> str:
    """AP after training over an inherited measure, with bars of a standard error, or of what other seeds gave."""
    populations = list(dict.fromkeys(one.population for one in networks))
    series = []
    for network in networks:
        ends = _spread(network)
        if ends is not None:
            place = [network.inherited[name]] * 2
            series.append(Marks(x=place, y=ends, style="whisker", label="", kind="line"))
    for index, population in enumerate(populations):
        group = [one for one in networks if one.population == population]
        series.append(
            Marks(
                x=[one.inherited[name] for one in group],
                y=[one.ap for one in group],
                style=STYLES[index % len(STYLES)],
                label=population or "trained networks",
                hover=[_hover(one, name) for one in group],
                radius=5,
            )
        )
    return Chart(x_title=NAMES.get(name, name), y_title="AP after training", series=series).svg()


def _spread(network: RankedNetwork) -> tuple[float, float] | None:
    if len(network.true_ap) > 1:
        return min(network.true_ap), max(network.true_ap)
    if network.standard_error:
        return network.ap - network.standard_error, network.ap + network.standard_error
    return None


def _hover(network: RankedNetwork, name: str) -> str:
    lines = [network.id, f"{NAMES.get(name, name)} {network.inherited[name]:.4f}"]
    lines.append("AP after training " + ", ".join(f"{one:.4f}" for one in network.true_ap))
    if network.latency_ms is not None:
        lines.append(f"{network.latency_ms:.2f} ms")
    return "\n".join([*lines, *(f"{gene} {choice}" for gene, choice in network.genes.items())])


def _biases(name: str, ranking: Ranking) -> str:
    if not ranking.size_bias and not ranking.gene_bias:
        return ""
    title = f"{NAMES.get(name, name)}, more than AP after training lets expect"
    charts = [SignedBars(x_title=title, bars=[_bar(one) for one in biases]).svg()
              for biases in (ranking.gene_bias, ranking.size_bias)]  # fmt: skip
    shown = "".join(f"<div>{chart}</div>" for chart in charts if chart)
    return f'<h2>Whom it favours</h2><p class="note">{html.escape(BIAS)}</p><div class="grid2">{shown}</div>'


def _bar(bias: Bias) -> SignedBar:
    label = f"{bias.group} {bias.choice}"
    hover = f"{label}: {signed(bias.mean)} ({signed(bias.low)} to {signed(bias.high)}), n = {bias.n}"
    return SignedBar(label, bias.mean, bias.low, bias.high, hover)
