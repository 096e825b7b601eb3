"""Latency of the published networks on each runtime, and how well tables, MACs and eager torch predict latency.

    python scripts/benchmark_latency.py [--run RUN] [--space resnet-tiny] [--networks 30]

About four minutes on two quiet cores. First table: the published networks, and with ``--run`` three networks of that
run's front, one thread, batch 1. Second: for each runtime a latency table of the space is built, and 30 networks that
it has not seen are measured end to end, twice; Kendall τ and mean error of the table's predictions, of MACs and of
eager torch, which both get the one factor that suits best.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

from evaluators.errors import MeasureInputError
from evaluators.latency.protocol import Measurement
from evaluators.latency.runtimes import Deployment
from nas.latency import LatencyConfig, LatencyMeter, build_table
from search_spaces import PoseArchitecture, get_space, published, published_names
from search_spaces.complexity import count
from supernet import PoseNet

SETTINGS = (("torch", "fp32"), ("torch", "bf16"), ("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run folder: three networks of its front are measured too")
    parser.add_argument("--space", default="resnet-tiny", help="the space of the second table")
    parser.add_argument("--networks", type=int, default=30, help="held-out networks of the second table")
    parser.add_argument("--runtimes", nargs="+", default=["torch", "onnxruntime", "openvino"])
    parser.add_argument("--skip", choices=("networks", "prediction"), nargs="*", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    if "networks" not in arguments.skip:
        compare_networks(named_networks(arguments.run), arguments.runtimes)
    if "prediction" not in arguments.skip:
        compare_predictions(arguments.space, arguments.networks, arguments.runtimes)
    print(f"\n{time.perf_counter() - start:.0f} s")


# Networks on runtimes -------------------------------------------------------------------------------------------------

Named = tuple[str, PoseArchitecture]


def named_networks(run: Path | None) -> list[Named]:
    named: list[Named] = [(name, published(name)) for name in published_names()]
    if run is not None:
        named += [(f"found {member.id}", member) for member in front_of(run)]
    return named


def front_of(run: Path, networks: int = 3) -> list[PoseArchitecture]:
    """Some networks of a run's front, from the fastest to the slowest."""
    value: Any = json.loads((run / "pareto.json").read_text(encoding="utf-8"))
    records = value if isinstance(value, list) else value["front"]
    chosen = {round(index) for index in np.linspace(0, len(records) - 1, networks)}
    return [PoseArchitecture.from_json(records[index]["architecture"]) for index in sorted(chosen)]


def compare_networks(named: Sequence[Named], runtimes: Sequence[str]) -> None:
    columns: dict[str, list[Measurement]] = {}
    for runtime, precision in SETTINGS:
        if runtime in runtimes:
            meter = meter_of(runtime, precision)
            columns[f"{runtime} {precision}"] = meter.measure([architecture for _, architecture in named])
    eager = eager_milliseconds([(plain(architecture), architecture.input_size) for _, architecture in named])
    head = ["network", "input", "M parameters", "GMACs", "eager torch", *columns]
    rows = []
    for index, (name, architecture) in enumerate(named):
        (parameters, macs), size = count(architecture)[:2], architecture.input_size
        measured = [f"{c[index].latency_ms:.2f} ± {c[index].spread_ms:.2f}" for c in columns.values()]
        shape = f"{size[0]} × {size[1]}"
        rows.append([name, shape, f"{parameters / 1e6:.2f}", f"{macs / 1e9:.3f}", f"{eager[index]:.2f}", *measured])
    print_table(head, rows)


def plain(architecture: PoseArchitecture) -> nn.Module:
    """The network as it was trained: BatchNorm unfolded."""
    return PoseNet(architecture).eval().requires_grad_(False)


def eager_milliseconds(networks: Iterable[tuple[nn.Module, tuple[int, int]]]) -> np.ndarray:
    """Milliseconds of networks called as they are, NCHW, by the same protocol."""
    meter = meter_of("torch")
    deployments = [_eager(module, torch.randn(1, 3, *size)) for module, size in networks]
    return np.array([np.median(ratios) for ratios in meter.ratios(deployments)]) * meter.reference_ms


def _eager(module: nn.Module, images: Tensor) -> Deployment:
    def run() -> Tensor:
        with torch.inference_mode():
            return module(images)

    return Deployment(run, lambda: run().numpy())


# Predictions ----------------------------------------------------------------------------------------------------------


def compare_predictions(space_name: str, networks: int, runtimes: Sequence[str]) -> None:
    space, rng = get_space(space_name), np.random.default_rng(2026)
    held_out = [space.sample(rng) for _ in range(networks)]
    macs = np.array([count(architecture).macs for architecture in held_out], dtype=float)
    eager = eager_milliseconds((plain(architecture), space.input_size) for architecture in held_out)
    head = ["runtime", "blocks: measured, all", "build, s", "latencies, ms"]
    head += ["measured again", "table", "MACs", "eager torch"]
    rows = []
    for runtime in runtimes:
        start = time.perf_counter()
        table = build_table(space, LatencyConfig(runtime=runtime))  # type: ignore[arg-type]
        seconds = time.perf_counter() - start
        meter = meter_of(runtime)
        latencies, again = (np.array([m.latency_ms for m in meter.measure(held_out)]) for _ in range(2))
        predicted = np.array([table.predict(architecture) for architecture in held_out])
        spread = f"{latencies.min():.2f} – {latencies.max():.2f}"
        guesses = (again, predicted, scaled(macs, latencies), scaled(eager, latencies))
        quality = [agreement(latencies, guess) for guess in guesses]
        rows.append([runtime, f"{table.measured}, {len(table.blocks)}", f"{seconds:.0f}", spread, *quality])
    print(f"\n{space_name}, {networks} held-out networks: Kendall τ, mean error\n")
    print_table(head, rows)


def scaled(values: np.ndarray, latencies: np.ndarray) -> np.ndarray:
    return values * np.median(latencies / values)


def agreement(latencies: np.ndarray, predicted: np.ndarray) -> str:
    tau = float(kendalltau(latencies, predicted)[0])
    return f"{tau:.2f}, {100 * float(np.abs(predicted / latencies - 1).mean()):.1f} %"


def meter_of(runtime: str, precision: str = "fp32") -> LatencyMeter:
    return LatencyMeter(LatencyConfig(runtime=runtime, precision=precision))  # type: ignore[arg-type]


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    try:
        main()
    except MeasureInputError as error:
        raise SystemExit(str(error)) from None
