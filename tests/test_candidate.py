"""A candidate of the search is evaluated as the plain way would evaluate it, only quicker."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from evaluators import CocoKeypointAP
from evaluators.oks import COCO_SIGMAS
from nas.data.cache import CropCache
from nas.data.coco import PersonInstance
from nas.data.codecs import Codec
from nas.search.candidates.chain import Chains, Evaluated, Kept, Looks
from nas.search.candidates.evaluator import CandidateConfig, CandidateEvaluator, average_recall
from nas.search.candidates.people import CropPeople, Shown
from nas.search.candidates.race import Rival
from search_spaces import PoseArchitecture, get_space
from search_spaces.video import frames_of
from supernet import Supernet, calibrate

SPACE = get_space("resnet-tiny")
PEOPLE = 24


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> CropCache:
    folder, rng = tmp_path_factory.mktemp("crops"), np.random.default_rng(0)
    instances = []
    for index in range(PEOPLE):
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (128, 96, 3), dtype=np.uint8))
        instances.append(
            PersonInstance(
                image_id=index,
                file=path,
                bbox_xywh=(10.0, 10.0, 70.0, 100.0),
                keypoints_px=rng.uniform(10, 80, (17, 2)).astype(np.float32),
                visibility=np.full(17, 2, np.uint8),
                area=4000.0,
                annotation_id=index + 1,
            )
        )
    return CropCache.build(folder / "cache", instances, CODEC, workers=1)


CODEC = Codec.of("gaussian", SPACE.input_size)


def truth(crops: CropCache) -> dict[str, object]:
    people = crops.instances
    annotations = [
        {
            "id": int(people.annotation_ids[i]),
            "image_id": int(people.image_ids[i]),
            "category_id": 1,
            "iscrowd": 0,
            "area": float(people.areas[i]),
            "bbox": people.bbox_xywh[i].tolist(),
            "num_keypoints": 17,
            "keypoints": np.column_stack([people.keypoints_px[i], people.visibility[i]]).ravel().tolist(),
        }
        for i in range(len(people))
    ]
    images = [{"id": int(i), "width": 96, "height": 128, "file_name": f"{i}.png"} for i in people.image_ids]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def supernet() -> Supernet:
    net, generator = Supernet(SPACE), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return net


def cost(architecture: PoseArchitecture) -> dict[str, float]:
    return {"latency_ms": float(sum(stage.width * stage.depth for stage in architecture.stages))}


def evaluator(crops: CropCache, **settings: object) -> CandidateEvaluator:
    device = str(settings.pop("device", "cpu"))
    config = dataclasses.replace(CandidateConfig(precision="float32", chunk=10, racing=False), **settings)
    people = CropPeople(crops, CocoKeypointAP(truth(crops)), COCO_SIGMAS)
    calibration = (crops.tensor(slice(0, 8))[:, None], None)
    shown = Shown(calibration, people, CODEC)
    return CandidateEvaluator(supernet(), shown, lambda a: (cost(a), []), (), config, device)


def looks_of(people: torch.Tensor, dtype: torch.dtype, budget: int) -> Looks:
    return Looks(supernet(), (), (people[:, None], None), (4.0, 4.0), dtype, Kept(budget))


def test_a_chain_of_shared_parts_equals_the_calibrated_network(crops: CropCache) -> None:
    nothing: Any = None
    people = Evaluated(lambda chunk, position: crops.tensor(slice(8, 16)), nothing, nothing, (4.0, 4.0))
    chains = Chains(supernet(), (), (crops.tensor(slice(0, 8))[:, None], None), people)
    rng = np.random.default_rng(4)
    for _ in range(3):
        architecture = SPACE.sample(rng)
        net = calibrate(supernet().extract(architecture), [crops.tensor(slice(0, 8))])
        with torch.no_grad():
            expected = net(crops.tensor(slice(8, 16)))
        [heatmaps] = chains.of(frames_of(architecture)).heatmaps(0)
        scale = float(expected.std())
        torch.testing.assert_close(heatmaps / scale, expected / scale, rtol=0, atol=2e-3)


@pytest.mark.parametrize("cache_mb", [0, 64])
def test_sharing_parts_changes_no_figure(crops: CropCache, cache_mb: int) -> None:
    rng = np.random.default_rng(5)
    parent = SPACE.sample(rng)
    head = dataclasses.replace(parent.head, widths=(32, 32), groups=(4, 4))
    family = [parent, parent.replace(head=head), SPACE.mutate(parent, rng), SPACE.smallest(), parent.replace(head=head)]
    shared = evaluator(crops, cache_mb=cache_mb)
    for architecture in family:
        ours, alone = shared(architecture), evaluator(crops)(architecture)
        assert ours["metrics"] == alone["metrics"]
        assert ours["status"] == "complete"


@pytest.mark.parametrize("budget", [0, 1 << 20, 1 << 30])
def test_a_first_look_normalises_by_the_people_themselves(crops: CropCache, budget: int) -> None:
    """However much is kept between candidates, each sees what its network in training mode gives."""
    people, rng = crops.tensor(slice(0, 8)), np.random.default_rng(4)
    looks = looks_of(people, torch.float32, budget)
    parent = SPACE.sample(rng)
    for architecture in (parent, *(SPACE.mutate(parent, rng) for _ in range(4)), parent, SPACE.smallest()):
        net = supernet().extract(architecture).module.train()
        with torch.no_grad():
            expected = net(people)
        [heatmaps] = looks(frames_of(architecture))
        scale = float(expected.std())
        torch.testing.assert_close(heatmaps / scale, expected / scale, rtol=0, atol=2e-3)
        assert looks.bytes <= budget


def test_a_first_look_in_bfloat16_keeps_its_statistics_in_float32(crops: CropCache) -> None:
    people, architecture = crops.tensor(slice(0, 8)), SPACE.sample(np.random.default_rng(4))
    exact, reduced = (looks_of(people, t, 0)(frames_of(architecture))[0] for t in (torch.float32, torch.bfloat16))
    assert float((exact - reduced).abs().mean()) < 0.25 * float(exact.std())


def test_a_candidate_is_looked_at_and_then_judged_to_the_end(crops: CropCache) -> None:
    evaluate, architecture = evaluator(crops, first_look=8), SPACE.sample(np.random.default_rng(6))
    look, complete = evaluate(architecture), evaluate.complete(architecture)
    assert (look["status"], look["persons"]) == ("screened", 8)
    assert 0 <= look["objectives"]["ap"] <= 1
    assert look["objectives"]["latency_ms"] == complete["objectives"]["latency_ms"]
    assert look["cpu_s"] > 0
    alone = evaluator(crops)(architecture)
    assert (complete["status"], complete["metrics"]) == ("complete", alone["metrics"])


@pytest.mark.parametrize("first_look", [0, PEOPLE, 500])
def test_there_is_no_look_at_all_the_people(crops: CropCache, first_look: int) -> None:
    evaluate = evaluator(crops, first_look=first_look)
    assert evaluate(SPACE.smallest())["status"] == "complete"


def test_the_estimate_is_the_average_recall() -> None:
    similarity = np.array([0.2, 0.49, 0.5, 0.72, 0.95, 1.0])
    thresholds = np.arange(0.5, 1.0, 0.05)
    recall = (similarity[:, None] >= thresholds).mean()
    assert average_recall(similarity) == pytest.approx(recall, abs=0.03)
    assert average_recall(np.array([0.0])) == 0
    assert average_recall(np.array([1.0])) == 1


@pytest.mark.parametrize("cache_mb", [8, 16])
def test_crops_and_parts_share_one_budget(crops: CropCache, cache_mb: int) -> None:
    evaluate, rng = evaluator(crops, cache_mb=cache_mb), np.random.default_rng(5)
    for _ in range(4):
        evaluate(SPACE.sample(rng))
        images = sum(image.nbytes for image in evaluate._images.values())
        assert images + evaluate._kept.bytes <= cache_mb << 20
    assert images > 0
    assert evaluate._kept.bytes > cache_mb << 18  # a quarter


def test_a_clearly_worse_candidate_is_dropped_and_says_why(crops: CropCache) -> None:
    evaluate = evaluator(crops, racing=True)
    evaluate._race.race_on = ("latency_ms",)
    architecture = SPACE.sample(np.random.default_rng(6))
    cost_ms = cost(architecture)["latency_ms"] - 1
    evaluate._race.rivals.append(Rival({"latency_ms": cost_ms}, 0.9, np.full(PEOPLE, 0.99)))
    record = evaluate(architecture)
    assert record["status"] == "raced"
    assert record["persons"] == 10
    assert 0 <= record["objectives"]["ap"] < 0.9
    assert "people" in record["note"]


def test_a_cheaper_candidate_is_never_dropped(crops: CropCache) -> None:
    evaluate = evaluator(crops, racing=True)
    evaluate._race.race_on = ("latency_ms",)
    architecture = SPACE.sample(np.random.default_rng(6))
    cost_ms = cost(architecture)["latency_ms"] + 1
    evaluate._race.rivals.append(Rival({"latency_ms": cost_ms}, 0.9, np.full(PEOPLE, 0.99)))
    assert evaluate(architecture)["status"] == "complete"


def test_bfloat16_ranks_people_as_float32_does(crops: CropCache) -> None:
    architecture = SPACE.sample(np.random.default_rng(7))
    exact, reduced = (evaluator(crops, precision=p)(architecture) for p in ("float32", "bfloat16"))
    assert exact["metrics"]["mean_oks"] == pytest.approx(reduced["metrics"]["mean_oks"], abs=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_judges_as_the_cpu_does(crops: CropCache) -> None:
    evaluate, rng = evaluator(crops, device="cuda", precision="auto"), np.random.default_rng(7)
    for _ in range(3):
        architecture = SPACE.sample(rng)
        expected = evaluator(crops)(architecture)["metrics"]["mean_oks"]
        assert evaluate(architecture)["metrics"]["mean_oks"] == pytest.approx(expected, abs=0.05)
    assert evaluate.dtype == torch.float32
    assert all(image.is_cuda for image in evaluate._images.values())


def test_mean_oks_is_an_objective_where_it_is_wanted(crops: CropCache) -> None:
    rng = np.random.default_rng(8)
    dear, cheap = sorted((SPACE.sample(rng) for _ in range(2)), key=lambda one: -cost(one)["latency_ms"])
    plain = evaluator(crops)(dear)
    assert "mean_oks" not in plain["objectives"]
    evaluate = evaluator(crops, first_look=8)
    evaluate.with_oks = True
    look = evaluate(dear)
    assert look["objectives"]["mean_oks"] == look["metrics"]["mean_oks"]
    whole = evaluate.complete(dear)
    assert whole["objectives"]["mean_oks"] == whole["metrics"]["mean_oks"] == plain["metrics"]["mean_oks"]
    assert whole["objectives"]["ap"] == plain["objectives"]["ap"]
    racing = evaluator(crops, racing=True)
    racing.with_oks = True
    racing._race.rivals.append(Rival(cost(cheap), 0.9, np.linspace(1, 0.8, PEOPLE)))
    dropped = racing(dear)
    assert dropped["status"] == "raced"
    estimate = dropped["objectives"]["mean_oks"]
    seen = np.linspace(1, 0.8, PEOPLE)[: dropped["persons"]]
    assert estimate == pytest.approx(0.9 * dropped["metrics"]["mean_oks"] / seen.mean())
