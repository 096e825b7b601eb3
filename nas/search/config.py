"""The settings of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from nas.run.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Ranged, Share
from nas.search.algorithms.objectives import Problem
from search_spaces.errors import InputError

__all__ = ["SearchConfig"]


DEFAULT_OBJECTIVES = ("ap", "latency_ms")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(Ranged):
    """How architectures are chosen, and how many are evaluated where."""

    evaluations: PositiveInt = 200
    """Candidates to evaluate, failed ones included; a resumed run counts those of before."""
    minutes: PositiveFloat | None = None
    """Stop asking for candidates after this time, whatever comes first; a resumed run counts the time of before. What a
    guided search still evaluates in full comes after it."""
    algorithm: Literal["guided", "evolution", "random"] | None = None
    """How candidates are chosen. guided: evolution with a model of what was measured, which chooses among children and
    tells from short looks (candidate.first_look) who is worth evaluating in full; not of video networks. evolution:
    NSGA-II in steady state, every candidate evaluated. random: by chance (the baseline). null: evolution of video
    networks, else guided."""
    objectives: tuple[str, ...] | None = None
    """What is optimised: of ap, mean_oks (of the same people; it still ranks networks where their AP is near 0),
    latency_ms, macs and params one or more. null: ap and latency_ms, but mean_oks in place of ap where the largest
    network inherits an AP near 0, which is said. (With an evaluator of your own, from Python:
    also what it measures, with the direction, as pck:max.)"""
    constraints: tuple[str, ...] = ()
    """Bounds that a network of the front has to keep, such as "latency_ms <= 20" or "ap >= 0.3"."""
    population_size: Annotated[int, Interval(ge=2)] = 20
    """Parents that are kept. Smaller converges faster, larger covers more; the first candidates are random."""
    mutation_rate: Share = 0.1
    """Probability that a gene of a child changes."""
    crossover_probability: Share = 0.7
    """Probability that a child has two parents."""
    children: PositiveInt = 16
    """guided: children that are made for each question; the one that the model expects most of is asked."""
    least_gain: NonNegativeFloat = 0.6
    """guided: a network that was looked at is evaluated in full if the front is expected to gain more hypervolume by it
    than this times what a candidate has brought on average. Less gives a front of more networks, and costs more."""
    late_gene_bias: Share = 0.0
    """From 0 to 1: mutate later layers more often than earlier ones. Children then share their first stages with a
    parent and are cheaper where activations are reused; the front gains a little less from each."""
    workers: NonNegativeInt = 2
    """Evaluation workers, one thread each. 0 evaluates in this process, without Ray (and without a timeout)."""
    queue: PositiveInt = 1
    """Candidates a worker holds, the one in evaluation included; 2 pays when one takes less than some 10 ms."""
    gpus_per_worker: NonNegativeFloat = 0.0
    """GPUs that each worker asks of Ray, to run candidates there; fractions share one. 0: candidates run on CPUs."""
    ray_address: str | None = None
    """A running Ray cluster: auto, or HOST:PORT. None starts a local Ray for this search alone."""
    timeout_s: PositiveFloat = 600.0
    """A candidate that takes longer is recorded as failed and its worker replaced."""
    max_failures: NonNegativeInt = 10
    """Stop when more candidates than this, and more than a fifth of all, have failed."""
    snapshot_s: NonNegativeFloat = 5.0
    """Seconds between two snapshots of the search's state; the journal has every evaluation at once."""
    sync: bool = False
    """Wait for the disk after each evaluation, so that a power cut loses none either."""
    tune: bool = False
    """Run the same search through Ray Tune (20 ms and more a candidate on top)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.problem()
        if self.tune and self.workers == 0:
            raise InputError("tune needs Ray workers: set workers to 1 or more")

    def problem(self) -> Problem:
        """The objectives and constraints, parsed; raises InputError."""
        return Problem.parse(DEFAULT_OBJECTIVES if self.objectives is None else self.objectives, self.constraints)
