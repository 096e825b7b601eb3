"""Speed and agreement of COCO keypoint AP beside pycocotools, interleaved in one process, medians.

    python scripts/benchmark_ap.py [--rounds 7] [--images 500 5000] [--annotations FILE --results FILE]

pycocotools is timed for loadRes + evaluate + accumulate (its ground truth is loaded before, its summarize and output
left out); ours from the same dictionaries, or from arrays, to the ten numbers. The synthetic sets are of COCO val2017's
kind: about 1.2 labelled persons an image, a few crowds and unlabelled persons, some images with twelve persons.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from evaluators import KEYPOINT_AP_NAMES, CocoKeypointAP

Dataset = tuple[dict[str, Any], list[dict[str, Any]]]


def synthetic_set(images: int, rng: np.random.Generator) -> Dataset:
    """Ground truth and results of ``images`` images."""
    people = np.where(rng.random(images) < 0.02, 12, rng.poisson(1.3, images))
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, count in enumerate(people.tolist(), start=1):
        for _ in range(count):
            annotation = _person(image, len(annotations) + 1, rng)
            annotations.append(annotation)
            if rng.random() < 0.95:
                results.append(_detection(annotation, rng))
        results += [_detection(_person(image, 0, rng), rng) for _ in range(rng.poisson(0.1))]
    content = {"images": [{"id": i + 1} for i in range(images)], "categories": [{"id": 1, "name": "person"}]}
    return {**content, "annotations": annotations}, results


def _person(image: int, number: int, rng: np.random.Generator) -> dict[str, Any]:
    height = float(rng.lognormal(4.9, 0.7))
    x, y, width = float(rng.uniform(0, 500)), float(rng.uniform(0, 300)), 0.45 * height
    points = np.column_stack([x + rng.random(17) * width, y + rng.random(17) * height, rng.choice([0, 1, 2, 2], 17)])
    crowd = rng.random() < 0.02
    if crowd or rng.random() < 0.15:
        points[:] = 0
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "keypoints": points.round().astype(int).ravel().tolist(),
        "num_keypoints": int((points[:, 2] > 0).sum()),
        "bbox": [x, y, width, height],
        "area": 0.6 * width * height,
        "iscrowd": int(crowd),
    }


def _detection(person: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    points = np.array(person["keypoints"], dtype=np.float64).reshape(17, 3)
    x, y, width, height = person["bbox"]
    unlabelled = points[:, 2] == 0
    points[unlabelled, 0] = x + rng.random(int(unlabelled.sum())) * width
    points[unlabelled, 1] = y + rng.random(int(unlabelled.sum())) * height
    points[:, :2] += rng.normal(0, rng.choice([0.01, 0.03, 0.08]) * height, (17, 2))
    points[:, 2] = rng.random(17)
    score = float(rng.random())
    return {
        "image_id": person["image_id"], "category_id": 1, "keypoints": points.ravel().tolist(), "score": score
    }  # fmt: skip


def official(truth: COCO, results: list[dict[str, Any]]) -> tuple[float, list[float]]:
    """Seconds of pycocotools, and its ten numbers."""
    own = [dict(result) for result in results]  # loadRes writes into them
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        evaluation = COCOeval(truth, truth.loadRes(own), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        seconds = time.perf_counter() - start
        evaluation.summarize()
    return seconds, [float(value) for value in evaluation.stats]


def timed(call: Callable[[], dict[str, float]]) -> tuple[float, list[float]]:
    start = time.perf_counter()
    figures = call()
    return time.perf_counter() - start, [figures[name] for name in KEYPOINT_AP_NAMES]


def compare(name: str, dataset: Dataset, rounds: int) -> str:
    """Markdown rows of one set."""
    annotations, results = dataset
    truth = COCO()
    truth.dataset = annotations
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    start = time.perf_counter()
    measure = CocoKeypointAP(annotations)
    preparation_ms = (time.perf_counter() - start) * 1e3
    images = np.array([result["image_id"] for result in results])
    points = np.array([result["keypoints"] for result in results]).reshape(len(results), -1, 3)
    scores = np.array([result["score"] for result in results])
    seconds: dict[str, list[float]] = {"pycocotools": [], "dictionaries": [], "arrays": []}
    difference = 0.0
    for _ in range(rounds):
        runs = {
            "pycocotools": official(truth, results),
            "dictionaries": timed(lambda: measure.evaluate(results)),
            "arrays": timed(lambda: measure.evaluate_arrays(images, points, scores)),
        }
        for kind, (spent, figures) in runs.items():
            seconds[kind].append(spent)
            difference = max(difference, float(np.abs(np.subtract(figures, runs["pycocotools"][1])).max()))
    ms = {kind: statistics.median(values) * 1e3 for kind, values in seconds.items()}
    size = f"{len(annotations['images']):,} / {len(annotations['annotations']):,} / {len(results):,}"
    return (
        f"| {name} | {size} | {preparation_ms:.0f} | {ms['pycocotools']:.1f} "
        f"| {ms['dictionaries']:.2f} (×{ms['pycocotools'] / ms['dictionaries']:.0f}) "
        f"| {ms['arrays']:.2f} (×{ms['pycocotools'] / ms['arrays']:.0f}) | {difference:.1e} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved repetitions (default 7)")
    parser.add_argument("--images", type=int, nargs="*", default=[500, 5000], help="sizes of the synthetic sets")
    parser.add_argument("--annotations", type=Path, help="a COCO keypoint file to measure on as well")
    parser.add_argument("--results", type=Path, help="result file that belongs to --annotations")
    options = parser.parse_args()
    columns = ["set", "images / persons / detections", "preparation once, ms", "pycocotools, ms"]
    columns += ["dictionaries, ms", "arrays, ms", "greatest difference"]
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
    for images in options.images:
        print(compare("synthetic", synthetic_set(images, np.random.default_rng(0)), options.rounds), flush=True)
    if options.annotations and options.results:
        real = json.loads(options.annotations.read_text()), json.loads(options.results.read_text())
        print(compare(options.annotations.stem, real, options.rounds))


if __name__ == "__main__":
    main()
