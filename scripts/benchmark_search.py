"""Guided search, evolution and random search: hypervolume after 200 candidates each, over several seeds.

    python scripts/benchmark_search.py RUN [--evaluations 200] [--seeds 5]

RUN is a run folder with a trained supernet. All algorithms get the same evaluator (inherited AP on cached crops, race
included; guided search looks first, and evaluates its best to the end after the last candidate) and the same first two
architectures; the objectives are AP and MACs, which do not depend on the machine.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_candidate import tell

from nas import SearchConfig, SearchSpace, begin_search, candidate_evaluator, load_config
from nas.search.algorithms.hypervolume import hypervolume
from search_spaces.complexity import count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--persons", type=int, default=300)
    parser.add_argument("--algorithms", default="guided,evolution,random")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(arguments.run / "config.yaml", [("run_dir", str(arguments.run))])
    space = SearchSpace.load(arguments.run / "space.json")
    reference = (0.0, float(count(space.largest()).macs) * 1.01)
    checkpoints = [n for n in (25, 50, 100, 150, 200, 400, 800) if n <= arguments.evaluations]

    def searched(algorithm: Any, seed: int, counts: list[int]) -> list[float]:
        """The hypervolume after so many candidates of one search, relative to the reference's MACs."""
        look = 48 if algorithm == "guided" else 0
        settings = replace(config.candidate, persons=arguments.persons, cache_mb=4096, first_look=look)
        chosen = SearchConfig(algorithm=algorithm, objectives=("ap", "macs"))
        evaluator = candidate_evaluator(replace(config, candidate=settings, search=chosen))
        search = begin_search(space, chosen, seed, [space.smallest(), space.largest()])
        volumes = []
        for number in range(1, counts[-1] + 1):
            tell(search, search.ask(), evaluator)
            if number in counts:
                while number == counts[-1] and (architecture := search.promote()) is not None:
                    tell(search, architecture, evaluator)
                costs = [member.costs for member in search.front]
                volumes.append(hypervolume(costs, reference) / reference[1])
        return volumes

    table: dict[str, dict[int, list[float]]] = {}
    for seed in range(arguments.seeds):
        # What guided search evaluates in full comes last: each count is a search of its own.
        for name in arguments.algorithms.split(","):
            if name == "guided":
                row = [searched(name, seed, [number])[0] for number in checkpoints]
            else:
                row = searched(name, seed, checkpoints)
            print(f"seed {seed} {name}: hypervolume {row[-1]:.4f}", flush=True)
            for number, volume in zip(checkpoints, row, strict=True):
                table.setdefault(name, {}).setdefault(number, []).append(round(volume, 4))
    means = {name: {n: round(float(np.mean(v)), 4) for n, v in rows.items()} for name, rows in table.items()}
    print(json.dumps({"by seed": table, "mean": means}, indent=1))


if __name__ == "__main__":
    main()
