"""The latency of architectures: measured on this machine, or predicted by a table of their blocks.

``measure_architectures([a, b], LatencyConfig(runtime="torch"))`` measures; ``LatencyTable.load(path).predict(a)``
predicts in microseconds from what ``build_table`` measured once.
"""

from .config import LatencyConfig
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
