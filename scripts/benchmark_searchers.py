"""Our searchers beside those of the field: hypervolume after as many evaluations, over several seeds.

    python scripts/benchmark_searchers.py RUN --out FOLDER [--evaluations 200] [--seeds 5]
    python scripts/benchmark_searchers.py --truth docs/truth --out FOLDER

RUN is a run folder with a trained supernet: a network's accuracy is what it inherits, by the evaluator of the search,
without its race, and its latency what the table of the space's blocks predicts. With --truth, the networks are those of
a truth folder that were trained from scratch: a searcher proposes any network of the space and is given the nearest
one (by genes) that it has not had yet; its accuracy is the AP after training, its latency measured, or MACs where that
is not known of all.

All searchers of a seed begin with the same networks, and with nothing but their own defaults besides: guided and
evolution (ours; every candidate is evaluated in full), optuna-tpe, optuna-gp, pymoo-nsga2, random; knapsack: half of
the evaluations are random, additive scores of the genes are fitted to them, and the rest are the exactly best networks
by these scores under a sweep of latency limits; knapsack-refitted: a quarter is random, and scores are fitted anew
after each ten networks. A network that is proposed again costs nothing; after five such proposals in a row a random
one is evaluated. guided-looks is guided search as `vipnas search` runs it: candidates are looked at on a few people,
which three fifths of all evaluations' people go into, and then the best of them are evaluated in full; its figure is
that at the end, when it has seen no more people than the others.

FOLDER keeps what was evaluated (evaluations.jsonl) and a line for each search (searches.jsonl); what is there is not
done again. At the end tables are printed: hypervolume as a part of that of all networks that any of these searches has
evaluated, or that the truth has (reference point: the accuracy of the smallest network and the latency of the largest;
of a truth the least and the longest), means over seeds with 95 % intervals (bootstrap over seeds), and differences to
`guided`, paired by seed.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from knapsack import AdditiveLatency, Scores, solve_knapsack, total_scores
from searchers import KNAPSACKS, NAMES, Additive, Costs, Ours, Pymoo, Random, Searcher, Vector, WithOptuna

from nas import InputError, PoseArchitecture, SearchConfig, SearchSpace, begin_search, candidate_evaluator, load_config
from nas.run.files import append_json_line, atomic_write_json
from nas.run.folder import RunFolder, read_json_lines
from nas.search.algorithms.front import ParetoFront
from nas.search.algorithms.hypervolume import hypervolume
from nas.search.algorithms.surrogate import unit_genes
from nas.search.candidates.costs import space_table
from nas.trust.intervals import percentiles, resamples
from nas.trust.truth import load_truth

LOOKS = "guided-looks"
PATIENCE = 5
"""Proposals in a row of what was evaluated already, before a random network is evaluated."""
FOR_LOOKS = 0.6
"""Of the people that guided-looks may see."""
FEWEST = 12
"""Networks of a pool."""
Row = Mapping[str, Any]
"""A line of searches.jsonl."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--truth", type=Path, help="a truth folder, in place of a run")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--evaluations", type=int, help="of each search (200; of a truth half of its networks)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--start", type=int, default=20, help="networks that all begin with; a quarter at most")
    parser.add_argument("--persons", type=int, default=300, help="people that a network is evaluated on")
    parser.add_argument("--measure", choices=("ap", "mean_oks"), help="the accuracy (mean_oks; of a truth ap)")
    parser.add_argument("--searchers", help=f"of {','.join(NAMES)},{LOOKS}; all")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error(f"--seeds {arguments.seeds}: one at least")
    torch.set_num_threads(1)
    try:
        if (arguments.run is None) == (arguments.truth is None):
            raise InputError("give a run folder, or --truth and a truth folder")
        if arguments.evaluations is not None and arguments.evaluations < 4:
            raise InputError(f"--evaluations {arguments.evaluations}: 4 or more are needed")
        arguments.out.mkdir(parents=True, exist_ok=True)
        task: Pool | Live
        if arguments.truth is not None:
            task = Pool(arguments.truth, arguments.measure or "ap")
            evaluations = min(arguments.evaluations or len(task.members) // 2, len(task.members))
        else:
            task = Live(RunFolder.existing(arguments.run), arguments.out, arguments.persons, arguments.measure)
            evaluations = arguments.evaluations or 200
        known = (*NAMES, LOOKS) if isinstance(task, Live) else NAMES
        names = tuple(arguments.searchers.split(",")) if arguments.searchers else known
        for name in names:
            if name not in known:
                raise InputError(f"--searchers: there is no {name!r} here; there are {', '.join(known)}")
        settle(arguments.out, task)
        start = max(2, min(arguments.start, evaluations // 4))
        rows = run_all(task, arguments.out, names, range(arguments.seeds), evaluations, start)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print("\n".join(tables(rows, task, evaluations)))


# What is searched ----------------------------------------------------------------------------------------------------


class Task(Protocol):
    """Networks, as the vectors of a space, and what they cost."""

    space: SearchSpace

    @property
    def identity(self) -> Mapping[str, Any]:
        """What makes results comparable."""

    @property
    def reference(self) -> Costs:
        """Of the hypervolume."""

    @property
    def known_costs(self) -> Collection[Costs]:
        """Of networks, whether or not a search has evaluated them."""

    def draws(self, seed: int) -> Iterator[Vector]:
        """Different networks by chance."""

    def resolve(self, proposed: Vector, evaluated: Collection[Vector]) -> Vector:
        """The network that is evaluated for a proposal."""

    def evaluate(self, vector: Vector) -> Costs: ...

    def solve(self, scores: Scores) -> list[Vector]:
        """The networks with the best additive scores for every latency limit, quickest first."""


class Live:
    """A space whose networks inherit the weights of a run's supernet."""

    known_costs: Collection[Costs] = ()

    def __init__(self, run: RunFolder, out: Path, persons: int, measure: str | None) -> None:
        config = load_config(run.config, [("run_dir", str(run.path))])
        precision = "float32" if config.candidate.precision == "auto" else config.candidate.precision
        candidate = replace(config.candidate, persons=persons, racing=False, precision=precision)
        search = SearchConfig(algorithm="guided", objectives=("mean_oks", "latency_ms"))
        self._config = replace(config, candidate=candidate, search=search)
        if not run.supernet.is_file():
            raise InputError(f"{run.supernet}: no such file; run `vipnas train-supernet` first")
        self.space, self.measure = run.load_space(), measure or "mean_oks"
        self._table = space_table(self.space, config.latency, run.latency_table)
        self.identity = {
            "space": self.space.id, "persons": persons, "measure": self.measure, "precision": precision,
            "first_look": candidate.first_look, "calibration_crops": candidate.calibration_crops,
            **{path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
               for path in (run.supernet, run.latency_table)},
        }  # fmt: skip
        self._file = out / "evaluations.jsonl"
        self._known: dict[tuple[str, bool], Mapping[str, float]] = {}
        for line in read_json_lines(self._file):
            self._known[line["id"], line["look"]] = line["values"]
        self.look = candidate.first_look / persons
        """What a look costs, in evaluations."""

    @functools.cached_property
    def _evaluator(self) -> Any:
        return candidate_evaluator(self._config)

    def values(self, architecture: PoseArchitecture, look: bool = False) -> dict[str, float]:
        """``accuracy`` and ``latency_ms``; of a look what few people let expect."""
        key = (architecture.id, look)
        if key not in self._known:
            record = self._evaluator(architecture) if look else self._evaluator.complete(architecture)
            found = {name: record["objectives"][name] for name in ("ap", "mean_oks")}
            append_json_line(self._file, {"id": architecture.id, "look": look, "values": found})
            self._known[key] = found
        return {self.measure: self._known[key][self.measure], "latency_ms": self._table.predict(architecture)}

    @functools.cached_property
    def reference(self) -> Costs:
        smallest, largest = (self.values(one) for one in (self.space.smallest(), self.space.largest()))
        return -smallest[self.measure], largest["latency_ms"]

    def draws(self, seed: int) -> Iterator[Vector]:
        """The smallest and the largest network, then random ones."""
        rng, seen = np.random.default_rng(seed), set[Vector]()
        ends = (self.space.smallest(), self.space.largest())
        while len(seen) < self.space.size:
            architecture = ends[len(seen)] if len(seen) < 2 else self.space.sample(rng)
            vector = self.space.encode(architecture)
            if vector not in seen:
                seen.add(vector)
                yield vector

    def resolve(self, proposed: Vector, evaluated: Collection[Vector]) -> Vector:
        return self.space.encode(self.space.decode(proposed))

    def evaluate(self, vector: Vector) -> Costs:
        values = self.values(self.space.decode(vector))
        return -values[self.measure], values["latency_ms"]

    @functools.cached_property
    def _latency(self) -> AdditiveLatency:
        return AdditiveLatency(self.space, self._table)

    def solve(self, scores: Scores) -> list[Vector]:
        return solve_knapsack(scores, self._latency)


class Pool:
    """The networks of a truth folder that were trained."""

    def __init__(self, folder: Path, measure: str) -> None:
        truth = load_truth(folder)
        networks = [one for one in truth.networks if one.trainings]
        if len(networks) < FEWEST:
            raise InputError(f"{folder}: {len(networks)} networks are trained; a search needs {FEWEST} to choose from")
        self.space = truth.space
        common = [name for name in networks[0].latency_ms if all(name in one.latency_ms for one in networks)]
        self._costs: dict[Vector, Costs] = {}
        for one in networks:
            accuracy = float(np.mean([getattr(training, measure) for training in one.trainings]))
            cost = one.latency_ms[common[0]] if common else one.macs / 1e6
            self._costs[self.space.encode(one.architecture)] = -accuracy, float(cost)
        self.members, self.known_costs = list(self._costs), list(self._costs.values())
        self._units = unit_genes(self.members, self.space.gene_sizes, self.space.unordered_genes)
        digest = hashlib.sha256(json.dumps(sorted(self._costs.items())).encode()).hexdigest()[:16]
        self.identity = {"space": self.space.id, "networks": digest, "measure": measure,
                         "cost": f"ms with {common[0]}" if common else "millions of MACs"}  # fmt: skip

    @property
    def reference(self) -> Costs:
        """The least accurate and the slowest."""
        worst = np.array(self.known_costs).max(axis=0)
        return float(worst[0]), float(worst[1])

    def draws(self, seed: int) -> Iterator[Vector]:
        rng = np.random.default_rng(seed)
        return (self.members[index] for index in rng.permutation(len(self.members)))

    def resolve(self, proposed: Vector, evaluated: Collection[Vector]) -> Vector:
        """The member whose genes, each scaled to [0, 1], differ least, of those that were not evaluated."""
        genes = self.space.encode(self.space.decode(proposed))
        place = unit_genes(genes, self.space.gene_sizes, self.space.unordered_genes)
        order = np.argsort(np.abs(self._units - place).sum(axis=1), kind="stable")
        return next(self.members[index] for index in order if self.members[index] not in evaluated)

    def evaluate(self, vector: Vector) -> Costs:
        return self._costs[vector]

    def solve(self, scores: Scores) -> list[Vector]:
        totals = total_scores(scores, np.array(self.members))
        front: ParetoFront[Vector] = ParetoFront(2)
        for vector, total in zip(self.members, totals.tolist(), strict=True):
            front.add((self._costs[vector][1], -total), vector)
        return front.items


# Searches ------------------------------------------------------------------------------------------------------------


def settle(out: Path, task: Task) -> None:
    """Raise InputError where the folder holds results that are not comparable."""
    path = out / "setting.json"
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        different = [name for name, value in task.identity.items() if found.get(name) != value]
        if different:
            raise InputError(f"{out}: holds results with another {' and '.join(different)}; choose another --out")
    else:
        atomic_write_json(path, dict(task.identity))


def make(name: str, task: Task, seed: int, evaluations: int, start: Sequence[Vector]) -> Searcher:
    """Raises InputError where what it needs is not installed."""
    if name in ("guided", "evolution"):
        return Ours(name, task.space, seed, start)
    if name.startswith("optuna-"):
        return WithOptuna(name.removeprefix("optuna-"), task.space, seed, start)
    if name == "pymoo-nsga2":
        return Pymoo(task.space, seed, start)
    if name in KNAPSACKS:
        refits = name == KNAPSACKS[1]
        sample = max(len(start), evaluations // (4 if refits else 2))
        return Additive(task.space, seed, task.draws(seed), task.solve, sample, evaluations, refits)
    return Random(task.draws(seed))


def run_all(
    task: Task, out: Path, names: Sequence[str], seeds: Sequence[int], evaluations: int, start: int
) -> list[Row]:
    """The lines of these searches, seed by seed; those that the folder lacks are run, and noted as they end."""
    path = out / "searches.jsonl"
    done: dict[tuple[Any, ...], Row] = {
        (row["searcher"], row["seed"], row["evaluations"], row["start"]): row for row in read_json_lines(path)
    }
    for name in names:  # before anything is evaluated
        if (name, seeds[-1], evaluations, start) not in done and name != LOOKS:
            make(name, task, 0, evaluations, [next(task.draws(0))] * 2)
    rows: list[Row] = []
    for seed in seeds:
        for name in names:
            key = (name, seed, evaluations, start)
            if key not in done:
                draws = task.draws(seed)
                first = [next(draws) for _ in range(start)]
                if name == LOOKS:
                    assert isinstance(task, Live)
                    found = search_with_looks(task, seed, evaluations, first)
                else:
                    found = search(task, make(name, task, seed, evaluations, first), evaluations, draws)
                row: Row = {"searcher": name, "seed": seed, "evaluations": evaluations, "start": start, **found}
                append_json_line(path, row)
                done[key] = row
                print(f"seed {seed} {name}: {row['own_cpu_s']:.1f} s of its own", file=sys.stderr, flush=True)
            rows.append(done[key])
    return rows


def search(task: Task, searcher: Searcher, evaluations: int, draws: Iterator[Vector]) -> dict[str, Any]:
    """The costs of what is evaluated, in that order; how many proposals that took, and CPU seconds of the searcher."""
    known: dict[Vector, Costs] = {}
    proposals = repeats = 0
    own = 0.0
    while len(known) < evaluations:
        asked, seconds = timed(searcher.ask) if repeats < PATIENCE else (None, 0.0)
        proposals += asked is not None
        vector = task.resolve(next(draws) if asked is None else asked, known)
        repeats = repeats + 1 if asked is not None and vector in known else 0
        if vector not in known:
            known[vector] = task.evaluate(vector)
        own += seconds + timed(functools.partial(searcher.tell, asked, vector, known[vector]))[1]
    return {"costs": [list(costs) for costs in known.values()], "proposals": proposals, "own_cpu_s": round(own, 3)}


def timed(act: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and its CPU seconds."""
    started = time.process_time()
    return act(), time.process_time() - started


def search_with_looks(task: Live, seed: int, evaluations: int, start: Sequence[Vector]) -> dict[str, Any]:
    """Guided search as the product runs it: the costs of what it evaluated in full, and what all of it has spent."""
    settings = SearchConfig(algorithm="guided", objectives=(task.measure, "latency_ms"), population_size=len(start))
    searcher = begin_search(task.space, settings, seed, [task.space.decode(vector) for vector in start])
    costs: list[list[float]] = []
    spent = own = 0.0
    proposals = 0
    while spent + 1 <= evaluations:
        architecture, seconds = timed(searcher.ask if spent < FOR_LOOKS * evaluations else searcher.promote)
        if architecture is None:  # nobody else is worth it
            break
        proposals += 1
        look = not searcher.is_promoted(architecture)
        values = task.values(architecture, look)
        spent += task.look if look else 1.0
        if not look:
            costs.append([-values[task.measure], values["latency_ms"]])
        own += seconds + timed(functools.partial(searcher.tell, architecture, values, screened=look))[1]
    return {"costs": costs, "proposals": proposals, "own_cpu_s": round(own, 3), "spent": round(spent, 2)}


# Tables --------------------------------------------------------------------------------------------------------------


def volumes(rows: Sequence[Row], task: Task, count: int | None = None) -> np.ndarray:
    """(rows,) hypervolume of what each search had evaluated after ``count``, as a part of that of all that is known."""
    everything = [*task.known_costs, *(costs for row in rows for costs in row["costs"])]
    best = hypervolume(everything, task.reference)
    return np.array([hypervolume(row["costs"][:count], task.reference) for row in rows]) / best


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean over seeds and its 95 % interval by the bootstrap; with one seed there is none, and it is NaN."""
    n = len(values)
    if n < 2:
        return float(values.mean()), float("nan"), float("nan")
    low, high = percentiles(resamples(n, np.random.default_rng(0)) @ values / n)
    return float(values.mean()), low, high


def tables(rows: Sequence[Row], task: Task, evaluations: int) -> list[str]:
    """Markdown: after how many evaluations which hypervolume; and the differences to guided search."""
    counts = sorted({n for n in (25, 50, 100, 150, 200, 300, 400, 800) if n < evaluations} | {evaluations})
    names = list(dict.fromkeys(row["searcher"] for row in rows))
    seeds = np.array([row["seed"] for row in rows])
    searchers = np.array([row["searcher"] for row in rows])
    after = {count: volumes(rows, task, count) for count in counts}
    lines = ["| searcher | " + " | ".join(map(str, counts)) + " | proposals | own CPU ms an evaluation |"]
    lines.append("| --- |" + " --- |" * (len(counts) + 2))
    for name in names:
        mine = searchers == name
        own = [row for row in rows if row["searcher"] == name]
        cells = ["–" if name == LOOKS and n < evaluations else _cell(*interval(after[n][mine])) for n in counts]
        cells.append(f"{np.mean([row['proposals'] for row in own]):.0f}")
        cells.append(f"{np.mean([row['own_cpu_s'] for row in own]) / evaluations * 1000:.0f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        if name == LOOKS:
            full = np.mean([len(row["costs"]) for row in own])
            spent = np.mean([row["spent"] for row in own])
            note = f"{LOOKS}: {full:.0f} evaluated in full; with the looks, the people of {spent:.0f} evaluations."
    if LOOKS in names:
        lines += ["", note]
    if "guided" not in names:
        return lines
    lines += ["", "| guided less | " + " | ".join(map(str, counts)) + " |", "| --- |" + " --- |" * len(counts)]
    guided = searchers == "guided"
    for name in names:
        other = searchers == name
        assert list(seeds[guided]) == list(seeds[other])
        if name not in ("guided", LOOKS):
            cells = [_cell(*interval(after[n][guided] - after[n][other]), sign="+") for n in counts]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _cell(mean: float, low: float, high: float, sign: str = "") -> str:
    return f"{mean:{sign}.3f}" + ("" if np.isnan(low) else f" ({low:{sign}.3f} to {high:{sign}.3f})")


if __name__ == "__main__":
    main()
