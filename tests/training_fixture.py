"""A space and a data set on which a training takes a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nas.data.augment import NO_AUGMENTATION, Augmentation
from nas.data.config import DataConfig
from nas.data.pose_data import PoseData
from nas.training.config import SupernetTrainingConfig
from search_spaces import HeadChoices, SearchSpace, StageChoices, StemChoices
from tests.coco_fixture import write_folder


def small_space() -> SearchSpace:
    """48 networks for inputs of 64×48."""
    return SearchSpace(
        name="small",
        family="resnet",
        input_size=(64, 48),
        stem=StemChoices(width=(8,), kernel_size=(3,)),
        stages=(
            StageChoices(width=(8,), depth=(1, 2), kernel_size=(3, 5), groups=(1, 2), stride=1),
            StageChoices(width=(8, 16), depth=(1,), kernel_size=(3,), groups=(1, 4), attention=(False,), stride=2),
        ),
        head=HeadChoices(width=(16,), groups=(1,), layers=1),
    )


def pose_data(folder: Path, augmentation: Augmentation = NO_AUGMENTATION, **options: Any) -> PoseData:
    """Coloured discs for people: 12 to train on and 8 to evaluate by."""
    if not folder.is_dir():
        write_folder(folder)
    return PoseData(DataConfig(folder=folder, cache=folder / "cache", augmentation=augmentation, **options), 17)


def quick_config(**options: Any) -> SupernetTrainingConfig:
    """Few steps, the same on every machine."""
    defaults: dict[str, Any] = {"steps": 8, "batch_size": 4, "warmup_steps": 2, "bf16": False, "log_every": 2}
    return SupernetTrainingConfig(**{**defaults, **options})


def assert_same_curves(first: Path, second: Path, steps: list[int]) -> None:
    """Every line of metrics.jsonl is the same but for times: losses of all kinds, gradients, learning rate."""
    curves = []
    for run in (first, second):
        lines = [json.loads(line) for line in (run / "supernet" / "metrics.jsonl").read_text().splitlines()]
        timed = ("elapsed_s", "persons_per_s")
        curves.append([{name: value for name, value in line.items() if name not in timed} for line in lines])
    assert [line["step"] for line in curves[0]] == steps
    assert {"loss", "loss_largest", "loss_smallest", "loss_random", "gradient_norm"} <= curves[0][0].keys()
    for ours, theirs in zip(*curves, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
