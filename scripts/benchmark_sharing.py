"""The sharing rules compared: inherited AP, and how it ranks networks as training from scratch does.

    python scripts/benchmark_sharing.py FOLDER --data DIR [--begin WEIGHTS] [--steps 600] [--scratch-steps 600]

For each rule a supernet is trained with the same steps, data and seed; with --begin, weights of a trained largest
network, all of them begin with those and every step is a sandwich. The smallest, the largest and some random
networks inherit from it; the random ones are also trained from scratch, once, with the same recipe, and Kendall's tau
between both APs is reported. Everything runs on one thread; what is done is kept in FOLDER and not done again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

from evaluators import CocoKeypointAP
from nas import load_config, retrain_networks, train_supernet
from nas.data.pose_data import PoseData
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import evaluate_network
from nas.run.files import atomic_write_json
from nas.stages.quickstart import CONFIG
from search_spaces import PoseArchitecture, get_space
from search_spaces.complexity import count
from supernet import Supernet, calibrate

RULES: dict[str, dict[str, str]] = {
    "leading slices": {"sharing_groups": "leading"},
    "diagonal blocks": {},
    "diagonal, kernel transforms": {"sharing_kernel": "transform"},
    "diagonal, affine per groups": {"sharing_affine": "per-groups"},
}
EVALUATION = EvaluationConfig(flip_test=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of COCO keypoints")
    parser.add_argument("--begin", type=Path, help="weights of the trained largest network of the space")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--scratch-steps", type=int, default=600)
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--only", choices=("rules", "scratch", "table"), help="one part, so that two can run at once")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(CONFIG, [("data.folder", str(arguments.data)), ("minutes", "null")])
    space = get_space(config.space)
    data = PoseData(config.data, space.keypoints)
    rng = np.random.default_rng(7)
    networks = [space.sample(rng) for _ in range(arguments.networks)]

    def inherited(name: str) -> dict[str, float]:
        folder = arguments.folder / name.replace(", ", "-").replace(" ", "-")
        result = folder / "inherited.json"
        begun = {"steps": arguments.steps, "begin": str(arguments.begin or "")}
        if result.is_file():
            kept = json.loads(result.read_text())
            if kept["settings"] != begun:
                raise SystemExit(f"{result} is of {kept['settings']}, not of {begun}; choose another FOLDER")
            return dict(kept["ap"])
        first = 0.0 if arguments.begin else config.train.largest_first
        settings = config.train.replace(
            minutes=None, steps=arguments.steps, threads=1, initialize_from=arguments.begin, largest_first=first,
            **RULES[name],
        )  # fmt: skip
        weights = train_supernet(replace(config, run_dir=folder, train=settings), resume=True)
        supernet = Supernet.load(weights, space).eval()
        members = {"smallest": space.smallest(), "largest": space.largest()}
        members.update({network.id: network for network in networks})
        aps = {key: inherited_ap(supernet, network, data) for key, network in members.items()}
        atomic_write_json(result, {"settings": begun, "ap": aps})
        print(f"{name}: smallest {aps['smallest']:.3f}, largest {aps['largest']:.3f}", flush=True)
        return aps

    def from_scratch(network: PoseArchitecture) -> float:
        result = arguments.folder / "scratch" / f"{network.id}.json"
        if result.is_file():
            return float(json.loads(result.read_text()))
        settings = config.retrain.replace(
            minutes=None,
            epochs=max(1, arguments.scratch_steps * config.retrain.batch_size // len(data.train.instances)),
            validate_every=10_000,
            initialize_from="scratch",
            initialization="kaiming",
            threads=1,
            validation=EVALUATION,
        )
        run = replace(config, run_dir=arguments.folder / "scratch", retrain=settings)
        ap = retrain_networks(run, [network], resume=True)[0].result.best_ap
        atomic_write_json(result, ap)
        print(f"{network.id} from scratch: AP {ap:.3f}, {count(network).macs / 1e6:.1f} MMACs", flush=True)
        return ap

    if arguments.only in (None, "rules"):
        for name in RULES:
            inherited(name)
    if arguments.only in (None, "scratch"):
        for network in networks:
            from_scratch(network)
    if arguments.only in (None, "table"):
        scratch = [from_scratch(network) for network in networks]
        print("| rule | AP largest | AP smallest | AP random, mean | tau to AP from scratch |")
        print("| --- | --- | --- | --- | --- |")
        for name in RULES:
            aps = inherited(name)
            values = [aps[network.id] for network in networks]
            tau = kendalltau(values, scratch).statistic
            print(f"| {name} | {aps['largest']:.3f} | {aps['smallest']:.3f} | {np.mean(values):.3f} | {tau:.2f} |")
        macs = kendalltau([count(network).macs for network in networks], scratch).statistic
        print(f"| (MACs in place of AP) | | | | {macs:.2f} |")
        print(f"mean AP from scratch: {np.mean(scratch):.3f}")


def inherited_ap(supernet: Supernet, network: PoseArchitecture, data: PoseData) -> float:
    """AP on all validation people with 512 calibration crops."""
    size = network.input_size
    crops, codec = data.calibration_crops(size, 512), data.codec(size)
    net = calibrate(supernet.extract(network), crops.batches(64))
    ap = CocoKeypointAP(data.val.ground_truth, data.val.sigmas)
    return evaluate_network(net, data.validation_crops(size), data.val, codec, EVALUATION, ap=ap).metrics["AP"]


if __name__ == "__main__":
    main()
