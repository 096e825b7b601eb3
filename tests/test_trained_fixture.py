"""The network of the tests that look at what a reader makes of the data is right about the people it knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.data.config import DataConfig
from nas.data.pose_data import PoseData
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import evaluate_network
from nas.weights.files import load_network
from tests.trained_fixture import INPUT_SIZE, trained_weights, write_people


@pytest.mark.parametrize("flip_test", [False, True])
def test_the_known_people_are_found(tmp_path: Path, flip_test: bool) -> None:
    data = PoseData(DataConfig(folder=write_people(tmp_path / "people"), cache=tmp_path / "cache", codec="udp"), 17)
    net = load_network(trained_weights(tmp_path / "net.safetensors"))
    crops = data.validation_crops(INPUT_SIZE)
    found = evaluate_network(net, crops, data.val, data.codec(INPUT_SIZE), EvaluationConfig(flip_test=flip_test))
    assert found.metrics["AP"] > 0.95
