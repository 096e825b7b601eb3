"""What one candidate of a search costs here, against the same search done the way other engines do it.

    python scripts/benchmark_candidate.py RUN [--candidates 100] [--persons 500] [--seed 0] [--ways guided,other]

RUN is a run folder with a trained supernet (`vipnas train-supernet`). All searches have the same seed, population and
objectives (AP, MACs), each in one process on one thread (set OPENBLAS_NUM_THREADS=1), and all that a candidate costs
counts: the search itself, and what is evaluated in full after the last candidate; loading the supernet and decoding
crops once does not. `guided` is the default of `vipnas search`; `evolution` is evolution without a
model and without first looks; `other` is the same evolution the way of other engines: for each candidate the crops
are decoded and warped anew, 640 crops calibrate BatchNorm, the network runs in NCHW and float32 with BatchNorm unfolded
and a flip test, and pycocotools measures. Afterwards the members of all fronts are measured in that exact way, and
the hypervolumes are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nas import SearchConfig, SearchSpace, begin_search, candidate_evaluator, load_config
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
from nas.processes.memory import keep_freed_memory
from nas.search.algorithms.ask_tell import AskTellSearch
from nas.search.algorithms.hypervolume import hypervolume
from nas.search.candidates.config import CandidateConfig
from nas.search.candidates.evaluator import CandidateEvaluator
from search_spaces import PoseArchitecture
from search_spaces.complexity import count
from supernet import Supernet, calibrate

CALIBRATION_CROPS = 640
BATCH = 32


class OtherWay:
    """architecture → record, with everything done for each candidate anew."""

    def __init__(self, supernet: Supernet, data: PoseData, people: CocoKeypoints) -> None:
        self.supernet, self.data, self.people = supernet, data, people
        self.codec = data.codec(supernet.space.input_size)
        self.calibration = data.train.sample(CALIBRATION_CROPS, 0).instances[:CALIBRATION_CROPS]
        with contextlib.redirect_stdout(io.StringIO()):
            self.truth = COCO()
            self.truth.dataset = {"info": {}, **people.ground_truth}
            self.truth.createIndex()

    @torch.no_grad()
    def __call__(self, architecture: PoseArchitecture) -> dict[str, Any]:
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
        objectives = {"ap": float(evaluation.stats[0]), "macs": float(count(architecture).macs)}
        return {"objectives": objectives, "status": "complete"}

    complete = __call__

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
    algorithm: AskTellSearch[PoseArchitecture], evaluator: CandidateEvaluator | OtherWay, candidates: int
) -> tuple[list[PoseArchitecture], float]:
    """The front and the CPU seconds of all."""
    started = time.process_time()
    for index in range(candidates):
        tell(algorithm, algorithm.ask(), evaluator)
        print(f"\r{index + 1}/{candidates}  {(time.process_time() - started) / (index + 1):.3f} s a candidate", end="")
    while (architecture := algorithm.promote()) is not None:
        tell(algorithm, architecture, evaluator)
    seconds = time.process_time() - started
    print(f", with what was evaluated in full {seconds / candidates:.3f}", flush=True)
    return [member.architecture for member in algorithm.front], seconds


def tell(
    algorithm: AskTellSearch[PoseArchitecture], architecture: PoseArchitecture, evaluator: CandidateEvaluator | OtherWay
) -> None:
    promoted = algorithm.is_promoted(architecture)
    record = evaluator.complete(architecture) if promoted else evaluator(architecture)
    status = record["status"]
    algorithm.tell(architecture, record["objectives"], raced=status == "raced", screened=status == "screened")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--persons", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ways", default="guided,other", help="of guided, evolution, other; ratios are to the last")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    config = load_config(arguments.run / "config.yaml", [("run_dir", str(arguments.run))])
    config = replace(config, candidate=CandidateConfig(persons=arguments.persons))
    space = SearchSpace.load(arguments.run / "space.json")
    data = PoseData(config.data, space.keypoints)
    people = data.val.sample(arguments.persons, config.data.sample_seed)
    other = OtherWay(Supernet.load(arguments.run / "supernet.safetensors", space), data, people)

    def ours(settings: SearchConfig, first_look: int) -> CandidateEvaluator:
        candidate = replace(config.candidate, first_look=first_look)
        return candidate_evaluator(replace(config, candidate=candidate, search=settings))

    guided, evolution = SearchConfig(objectives=("ap", "macs")), SearchConfig(
        objectives=("ap", "macs"), algorithm="evolution"
    )
    looks = config.candidate.first_look
    known: dict[str, tuple[SearchConfig, Callable[[], CandidateEvaluator | OtherWay]]] = {
        "guided": (guided, lambda: ours(guided, looks)),
        "evolution": (evolution, lambda: ours(evolution, 0)),
        "other": (evolution, lambda: other),
    }
    ways = arguments.ways.split(",")
    initial = [space.smallest(), space.largest()]
    fronts, seconds = {}, {}
    for way in ways:
        print(way)
        algorithm = begin_search(space, known[way][0], arguments.seed, initial)
        fronts[way], seconds[way] = search(algorithm, known[way][1](), arguments.candidates)
    reference = (0.0, float(count(space.largest()).macs) * 1.01)
    rows = {}
    for way, front in fronts.items():
        points = [(-other(member)["objectives"]["ap"], float(count(member).macs)) for member in front]
        rows[way] = {
            "CPU s a candidate": round(seconds[way] / arguments.candidates, 4),
            "ratio": round(seconds[ways[-1]] / seconds[way], 1),
            "front": len(front),
            "hypervolume": round(hypervolume(points, reference) / reference[1], 4),
        }
    settled = {"persons": len(people.instances), "candidates": arguments.candidates, "seed": arguments.seed}
    print(json.dumps({**settled, "ways": rows}, indent=2))


if __name__ == "__main__":
    main()
