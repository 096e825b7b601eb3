"""Neural architecture search for pose networks: every stage of a run as a function. See docs/api.md.

What is heavy is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.api import (
        assess_trust,
        begin_search,
        candidate_evaluator,
        evaluate_networks,
        export_networks,
        export_trained,
        measure_latency,
        predict_poses,
        retrain_networks,
        search_networks,
        train_finalists,
        train_supernet,
        write_report,
    )
    from nas.config import Config, load_config
    from nas.latency.config import LatencyConfig
    from nas.search.config import SearchConfig
    from nas.stages.narrator import Narrator
    from nas.stages.predict import PredictSettings
    from search_spaces import InputError, PoseArchitecture, SearchSpace, VideoArchitecture, get_space, published

_HOMES = {
    "nas.api": (
        "assess_trust", "begin_search", "candidate_evaluator", "evaluate_networks", "export_networks", "export_trained",
        "measure_latency", "predict_poses", "retrain_networks", "search_networks", "train_finalists", "train_supernet",
        "write_report",
    ),
    "nas.config": ("Config", "load_config"),
    "nas.latency.config": ("LatencyConfig",),
    "nas.search.config": ("SearchConfig",),
    "nas.stages.narrator": ("Narrator",),
    "nas.stages.predict": ("PredictSettings",),
    "search_spaces": ("InputError", "PoseArchitecture", "SearchSpace", "VideoArchitecture", "get_space", "published"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Config",
    "InputError",
    "LatencyConfig",
    "Narrator",
    "PoseArchitecture",
    "PredictSettings",
    "SearchConfig",
    "SearchSpace",
    "VideoArchitecture",
    "assess_trust",
    "begin_search",
    "candidate_evaluator",
    "evaluate_networks",
    "export_networks",
    "export_trained",
    "get_space",
    "load_config",
    "measure_latency",
    "predict_poses",
    "published",
    "retrain_networks",
    "search_networks",
    "train_finalists",
    "train_supernet",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
