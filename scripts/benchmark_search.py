"""Guided search, evolution and random search: hypervolume after 200 candidates each, over several seeds.

    python scripts/benchmark_search.py RUN [--evaluations 200] [--seeds 5]

RUN is a run folder with a trained supernet. All algorithms get the same evaluator (inherited AP on cached crops, race
included; first looks for guided search, whose best are judged to the end at each checkpoint) and the same first two
architectures; the objectives are AP and MACs, which do not depend on the machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluators import CocoKeypointAP
from nas.config import load_config
from nas.data.cache import CropCache
from nas.data.pose_data import PoseData
from nas.run_folder import RunFolder
from nas.search.candidate import CandidateEvaluator
from nas.search.candidate_config import CandidateConfig
from nas.search.evolution import EvolutionarySearch
from nas.search.hypervolume import hypervolume
from nas.search.objectives import Problem
from nas.search.random_search import RandomSearch
from nas.search.session import Costs
from search_spaces.complexity import count
from supernet import Supernet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--persons", type=int, default=300)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = RunFolder.existing(arguments.run)
    config, space = load_config(run.config), run.load_space()
    data = PoseData(config.data, space.keypoints)
    people, codec = data.val.sample(arguments.persons, 0), data.codec(space.input_size)
    settings = CandidateConfig(persons=arguments.persons, cache_mb=4096)
    calibration = data.calibration_crops(space.input_size, settings.calibration_crops).tensor()
    crops = CropCache.build(data.cache_folder, people.instances, codec, padding=config.data.padding)
    ap = CocoKeypointAP(people.ground_truth, people.sigmas)
    supernet = Supernet.load(run.supernet, space)
    problem = Problem.parse(["ap", "macs"])
    reference = (0.0, float(count(space.largest()).macs) * 1.01)
    volumes: dict[str, list[list[float]]] = {"evolution": [], "random": []}
    for seed in range(arguments.seeds):
        for name, algorithm in (("evolution", EvolutionarySearch), ("random", RandomSearch)):
            judge = CandidateEvaluator(
                supernet, calibration, crops, ap, codec, people.sigmas, Costs(), ("macs",), settings
            )
            initial = [space.smallest(), space.largest()]
            search: Any = algorithm(space, problem, rng=np.random.default_rng(seed), initial=initial)
            curve = []
            for _ in range(arguments.evaluations):
                architecture = search.ask()
                record = judge(architecture)
                search.tell(architecture, record["objectives"], raced=record["status"] == "raced")
                curve.append(hypervolume([member.costs for member in search.front], reference) / reference[1])
            volumes[name].append(curve)
            print(f"seed {seed} {name}: hypervolume {curve[-1]:.4f}", flush=True)
    checkpoints = [n for n in (25, 50, 100, 150, 200) if n <= arguments.evaluations]
    table = {
        name: {n: [round(curve[n - 1], 4) for curve in curves] for n in checkpoints} for name, curves in volumes.items()
    }
    means = {name: {n: round(float(np.mean(v)), 4) for n, v in rows.items()} for name, rows in table.items()}
    print(json.dumps({"by seed": table, "mean": means}, indent=1))


if __name__ == "__main__":
    main()
