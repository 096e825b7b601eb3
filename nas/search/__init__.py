"""The search: which architectures to evaluate, where, and what is kept of it.

``run_search`` is the whole of it. Inside: ``ask()`` and ``tell()`` (``algorithms``), executors that evaluate
(``workers``), what they evaluate with (``candidates``), and the journal that a run is resumed from (``record``).
"""

from nas.search.algorithms.ask_tell import AskTellSearch, Evaluated, SearchExhausted
from nas.search.algorithms.evolution import EvolutionarySearch
from nas.search.algorithms.history import History, HistoryPoint, history_of
from nas.search.algorithms.hypervolume import hypervolume
from nas.search.algorithms.objectives import Constraint, Objective, Problem
from nas.search.algorithms.random_search import RandomSearch
from nas.search.record.journal import read_journal
from nas.search.workers.pool import WorkersFailed

from .config import SearchConfig
from .driver import SearchResult, run_search
from .loop import SearchProgress, TooManyFailures

__all__ = [
    "AskTellSearch",
    "Constraint",
    "Evaluated",
    "EvolutionarySearch",
    "History",
    "HistoryPoint",
    "Objective",
    "Problem",
    "RandomSearch",
    "SearchConfig",
    "SearchExhausted",
    "SearchProgress",
    "SearchResult",
    "TooManyFailures",
    "WorkersFailed",
    "history_of",
    "hypervolume",
    "read_journal",
    "run_search",
]
