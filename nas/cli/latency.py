"""Measure the latency of networks on this machine, in a process of its own, or on a device, by a command of yours.

The rounds of all networks are interleaved with those of a reference network, so that a busy machine does not
decide which is faster. With one thread CPU time counts, with more the time of the wall. Latencies of two
fingerprints (machine, runtime, settings) cannot be compared.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.field_options import add_field_options, from_field_options
from nas.stages.architectures import ARCH_HELP
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from evaluators.latency.protocol import Measurement
    from search_spaces import PoseArchitecture

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from nas.latency.config import LatencyConfig

    parser.add_argument("architectures", metavar="ARCH", nargs="+", help=ARCH_HELP)
    parser.add_argument("--input-size", metavar="HxW", help="height × width in pixels, in place of the architecture's")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the measurements, fingerprint included")
    add_field_options(parser, LatencyConfig)


def run(arguments: argparse.Namespace) -> int:
    from nas.latency import LatencyConfig, measure_architectures
    from nas.run.files import atomic_write_json
    from nas.run.overwriting import refuse_over_inputs
    from nas.stages.architectures import resolve_architecture

    if arguments.json:
        refuse_over_inputs([arguments.json], map(Path, arguments.architectures), "name another file with --json")
    config = from_field_options(LatencyConfig, arguments)
    architectures = [resolve_architecture(text) for text in arguments.architectures]
    if arguments.input_size:
        size = _input_size(arguments.input_size)
        architectures = [architecture.replace(input_size=size) for architecture in architectures]
    measurements = measure_architectures(architectures, config, own_process=True)
    _show(arguments.architectures, architectures, measurements)
    if arguments.json:
        records = zip(architectures, measurements, strict=True)
        value = [{"id": a.id, "architecture": a.to_json(), **m.to_json()} for a, m in records]
        atomic_write_json(arguments.json, value)
    return 0


def _input_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[x,](\d{1,5})", text)
    if match is None:
        raise InputError(f"--input-size: expected HEIGHTxWIDTH such as 256x192, not {text!r}")
    return int(match[1]), int(match[2])


def _show(names: list[str], architectures: list[PoseArchitecture], measurements: list[Measurement]) -> None:
    from nas.cli.output import print_table
    from search_spaces.complexity import count

    rows = []
    for name, architecture, measurement in zip(names, architectures, measurements, strict=True):
        height, width = architecture.input_size
        complexity = count(architecture)
        is_known = measurement.spread_ms or measurement.rounds > 1  # a command may print one number alone
        latency = f"{measurement.latency_ms:.2f}", f"± {measurement.spread_ms:.2f}" if is_known else "not known"
        rows.append((name, f"{height} × {width}", *latency, f"{complexity.macs / 1e6:,.0f}",
                     f"{complexity.parameters / 1e6:,.2f}"))  # fmt: skip
    print_table("Latency", ("network", "input", "median ms", "spread", "MACs (M)", "parameters (M)"), rows)
    first = measurements[0]
    rounds = f"{first.rounds} round{'s' if first.rounds > 1 else ''}"
    print(f"{first.fingerprint} (fingerprint {first.fingerprint.id}); batch {first.batch}, {rounds},")
    print(f"reference network {first.reference_ms:.2f} ms")
