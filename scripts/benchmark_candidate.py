"""What one candidate of a search costs here, against the same search done the way other engines do it.

    python scripts/benchmark_candidate.py RUN [--candidates 100] [--persons 500]

RUN is a run folder with a trained supernet (`vipnas train-supernet`). Both searches are evolution with the same seed,
population and objectives (AP, MACs), each in one process on one thread. The other way: for each candidate the crops are
decoded and warped anew, 640 crops calibrate BatchNorm, the network runs in NCHW and float32 with BatchNorm unfolded and
a flip test, and pycocotools measures. Afterwards the members of both fronts are measured in that exact way, and the two
hypervolumes are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from evaluators import CocoKeypointAP
from nas.config import load_config
from nas.data.cache import CropCache
from nas.data.coco import CocoKeypoints
from nas.data.flip import flip_test
from nas.data.geometry import (
    apply_affine,
    boxes_to_centers_scales,
    fix_aspect_ratio,
    invert_affine,
    warp_image,
    warp_matrices,
)
from nas.data.images import read_image_bgr
from nas.data.pose_data import PoseData
from nas.data.tensors import to_tensor
from nas.run_folder import RunFolder
from nas.search.candidate import CandidateEvaluator
from nas.search.candidate_config import CandidateConfig
from nas.search.evolution import EvolutionarySearch
from nas.search.hypervolume import hypervolume
from nas.search.objectives import Problem
from nas.search.session import Costs
from search_spaces import PoseArchitecture, SearchSpace
from search_spaces.complexity import count
from supernet import Supernet, calibrate

CALIBRATION_CROPS = 640
BATCH = 32


class TheOtherWay:
    """architecture → AP, with everything done for each candidate anew."""

    def __init__(self, supernet: Supernet, data: PoseData, people: CocoKeypoints) -> None:
        self.supernet, self.data, self.people = supernet, data, people
        self.codec = data.codec(supernet.space.input_size)
        self.calibration = data.train.sample(CALIBRATION_CROPS, 0).instances[:CALIBRATION_CROPS]
        with contextlib.redirect_stdout(io.StringIO()):
            self.truth = COCO()
            self.truth.dataset = {"info": {}, **people.ground_truth}
            self.truth.createIndex()

    @torch.no_grad()
    def __call__(self, architecture: PoseArchitecture) -> float:
        batches = (self._crops(self.calibration[i : i + BATCH])[0] for i in range(0, len(self.calibration), BATCH))
        net = calibrate(self.supernet.extract(architecture), batches)
        results: list[dict[str, Any]] = []
        mirror = self.people.flip_indices.tolist()
        for begin in range(0, len(self.people.instances), BATCH):
            chosen = self.people.instances[begin : begin + BATCH]
            images, inverse = self._crops(chosen)
            found, scores = self.codec.decode_batch(flip_test(net, images, mirror, self.codec.flip_shift).numpy())
            places = apply_affine(inverse, found)
            for person, points, values in zip(chosen, places, scores, strict=True):
                keypoints = np.concatenate([points, values[:, None]], axis=1).ravel().astype(float).tolist()
                good = values[values > 0.2]
                score = float(good.mean()) if len(good) else 0.0
                results.append(
                    {"image_id": person.image_id, "category_id": 1, "keypoints": keypoints, "score": score}
                )
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self.truth, self.truth.loadRes(results), "keypoints")
            evaluation.params.kpt_oks_sigmas = self.people.sigmas
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return float(evaluation.stats[0])

    def _crops(self, instances: Any) -> tuple[torch.Tensor, np.ndarray]:
        boxes = np.array([instance.bbox_xywh for instance in instances])
        centers, sizes = boxes_to_centers_scales(boxes, self.data.config.padding)
        sizes = fix_aspect_ratio(sizes, self.codec.input_size)
        warps = warp_matrices(centers, sizes, np.zeros(len(boxes)), self.codec.input_size, udp=self.codec.udp)
        images = [
            warp_image(read_image_bgr(person.file), warp, self.codec.input_size)[..., ::-1]
            for person, warp in zip(instances, warps, strict=True)
        ]
        return to_tensor(np.stack(images)).contiguous(), invert_affine(warps)


def search(
    space: SearchSpace, evaluate: Callable[[PoseArchitecture], Mapping[str, Any]], candidates: int
) -> tuple[list[PoseArchitecture], list[float]]:
    """The front and the CPU seconds of each candidate."""
    algorithm = EvolutionarySearch(
        space, Problem.parse(["ap", "macs"]), rng=np.random.default_rng(0), initial=[space.smallest(), space.largest()]
    )
    seconds = []
    for index in range(candidates):
        architecture = algorithm.ask()
        started = time.process_time()
        record = evaluate(architecture)
        seconds.append(time.process_time() - started)
        algorithm.tell(architecture, record["objectives"], raced=record["status"] == "raced")
        print(f"\r{index + 1}/{candidates}  {np.mean(seconds):.3f} s a candidate", end="", flush=True)
    print()
    return [member.architecture for member in algorithm.front], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--persons", type=int, default=500)
    parser.add_argument("--no-racing", action="store_true", help="leave the race out of ours")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = RunFolder.existing(arguments.run)
    config = load_config(run.config)
    space = run.load_space()
    data = PoseData(config.data, space.keypoints)
    people = data.val.sample(arguments.persons, 0)
    codec = data.codec(space.input_size)
    supernet = Supernet.load(run.supernet, space)
    settings = CandidateConfig(persons=arguments.persons, racing=not arguments.no_racing)
    ours = CandidateEvaluator(
        supernet,
        data.calibration_crops(space.input_size, settings.calibration_crops).tensor(),
        CropCache.build(data.cache_folder, people.instances, codec, padding=config.data.padding),
        CocoKeypointAP(people.ground_truth, people.sigmas),
        codec,
        people.sigmas,
        Costs(),
        ("macs",),
        settings,
    )
    exact = TheOtherWay(supernet, data, people)

    def other(architecture: PoseArchitecture) -> dict[str, Any]:
        objectives = {"ap": exact(architecture), "macs": float(count(architecture).macs)}
        return {"objectives": objectives, "status": "complete"}

    fronts, seconds = {}, {}
    for name, evaluate in (("ours", ours), ("the other way", other)):
        print(name)
        fronts[name], seconds[name] = search(space, evaluate, arguments.candidates)
    reference = (0.0, float(count(space.largest()).macs) * 1.01)
    volumes = {}
    for name, front in fronts.items():
        points = [(-exact(member), float(count(member).macs)) for member in front]
        volumes[name] = hypervolume(points, reference) / reference[1]
    ratio = np.mean(seconds["the other way"]) / np.mean(seconds["ours"])
    result = {
        "persons": len(people.instances),
        "candidates": arguments.candidates,
        "element type": str(ours.dtype),
        **{f"CPU s a candidate, {name}": round(float(np.mean(values)), 4) for name, values in seconds.items()},
        "ratio": round(float(ratio), 1),
        **{f"hypervolume, {name}": round(value, 4) for name, value in volumes.items()},
        "hypervolume ratio": round(volumes["ours"] / max(volumes["the other way"], 1e-9), 3),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
