"""The search: which architectures to evaluate, where, and what is kept of it.

``run_search`` is the whole of it. Inside: ``ask()`` and ``tell()`` (:mod:`~nas.search.evolution`), executors that
evaluate (:mod:`~nas.search.pool`), and the journal that a run is resumed from (:mod:`~nas.search.run_log`).
"""

from .ask_tell import AskTellSearch, Evaluated, SearchExhausted
from .config import SearchConfig
from .driver import SearchResult, run_search
from .evolution import EvolutionarySearch
from .history import History, HistoryPoint, history_of
from .hypervolume import hypervolume
from .journal import read_journal
from .loop import SearchProgress, TooManyFailures
from .objectives import Constraint, Objective, Problem
from .pool import WorkersFailed
from .random_search import RandomSearch

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
