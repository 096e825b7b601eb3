"""The latency of architectures: measured on this machine, or predicted by a table of their blocks.

``measure_architectures([a, b], LatencyConfig(runtime="torch"))`` measures; ``LatencyTable.load(path).predict(a)``
predicts in microseconds from what ``build_table`` measured once.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .config import LatencyConfig

if TYPE_CHECKING:
    from .meter import LatencyMeter, measure_architecture, measure_architectures
    from .table import LatencyTable, build_table

__all__ = [
    "LatencyConfig",
    "LatencyMeter",
    "LatencyTable",
    "build_table",
    "measure_architecture",
    "measure_architectures",
]


def __getattr__(name: str) -> Any:
    """What measures is imported when it is first asked for: it needs torch, and a configuration does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "table" if name in ("LatencyTable", "build_table") else "meter"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
