"""Guided search, evolution and random search: hypervolume after 200 candidates each, over several seeds.

    python scripts/benchmark_search.py RUN [--evaluations 200] [--seeds 5]

RUN is a run folder with a trained supernet. All algorithms get the same evaluator (inherited AP on cached crops, race
included; guided search looks first, and judges its best to the end after the last candidate) and the same first two
architectures; the objectives are AP and MACs, which do not depend on the machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_candidate import tell

from evaluators import CocoKeypointAP
from nas.config import load_config
from nas.data.cache import CropCache
from nas.data.pose_data import PoseData
from nas.run.folder import RunFolder
from nas.search.algorithms.hypervolume import hypervolume
from nas.search.candidates.config import CandidateConfig
from nas.search.candidates.costs import Costs
from nas.search.candidates.evaluator import CandidateEvaluator
from nas.search.candidates.people import CropPeople
from nas.search.config import SearchConfig
from nas.search.driver import make_search
from search_spaces.complexity import count
from supernet import Supernet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--persons", type=int, default=300)
    parser.add_argument("--algorithms", default="guided,evolution,random")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = RunFolder.existing(arguments.run)
    config, space = load_config(run.config, [("run_dir", str(arguments.run))]), run.load_space()
    data = PoseData(config.data, space.keypoints)
    people, codec = data.val.sample(arguments.persons, 0), data.codec(space.input_size)
    calibration = data.calibration_crops(space.input_size, CandidateConfig().calibration_crops).tensor()[:, None]
    crops = CropCache.build(data.cache_folder, people.instances, codec, padding=config.data.padding)
    measured = CropPeople(crops, CocoKeypointAP(people.ground_truth, people.sigmas), people.sigmas)
    supernet = Supernet.load(run.supernet, space)
    reference = (0.0, float(count(space.largest()).macs) * 1.01)
    checkpoints = [n for n in (25, 50, 100, 150, 200, 400, 800) if n <= arguments.evaluations]

    def searched(algorithm: Any, seed: int, counts: list[int]) -> list[float]:
        """The hypervolume after so many candidates of one search, relative to the reference's MACs."""
        look_first = algorithm == "guided"
        settings = CandidateConfig(persons=arguments.persons, cache_mb=4096, first_look=48 if look_first else 0)
        judge = CandidateEvaluator(supernet, (calibration, None), measured, codec, Costs(), ("macs",), settings)
        chosen = SearchConfig(algorithm=algorithm, objectives=("ap", "macs"))
        search = make_search(space, chosen, np.random.default_rng(seed), [space.smallest(), space.largest()])
        volumes = []
        for number in range(1, counts[-1] + 1):
            tell(search, search.ask(), judge)
            if number in counts:
                while number == counts[-1] and (architecture := search.promote()) is not None:
                    tell(search, architecture, judge)
                costs = [member.costs for member in search.front]
                volumes.append(hypervolume(costs, reference) / reference[1])
        return volumes

    table: dict[str, dict[int, list[float]]] = {}
    for seed in range(arguments.seeds):
        # What guided search judges to the end comes last: each count is a search of its own.
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
