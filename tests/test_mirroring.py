"""Every stage that would mirror people asks whether it is known how; where it is not, nobody is, and that is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.data.augment import Augmentation, draw_views
from nas.data.config import DataConfig, VideoDataConfig
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES, COCO_KEYPOINT_SET, KeypointSet
from nas.data.loader import CropTrainingSet, ViewSettings
from nas.data.pose_data import PoseData
from nas.data.posetrack import read_posetrack_videos
from nas.data.video_data import VideoData
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import evaluate
from nas.export.mmpose_export import mmpose_config
from nas.latency.config import LatencyConfig
from nas.predict.model import read_keypoint_set
from nas.processes.distributed import Processes
from nas.run.folder import RunFolder
from nas.search.candidates.config import CandidateConfig
from nas.search.config import SearchConfig
from nas.search.session import search_networks
from nas.stages.evaluate_videos import evaluate_on_videos
from nas.training.clips import TrainingClips
from nas.training.config import RetrainConfig
from nas.training.retrain import retrain
from nas.training.supernet import train_supernet
from search_spaces import InputError, published
from tests.clip_toys import small_video_space
from tests.coco_fixture import edit
from tests.posetrack_fixture import write_sequence
from tests.program import call
from tests.test_keypoint_names import CONVENTIONS, coco_in
from tests.trained_fixture import architecture, people_document, trained_weights, write_people
from tests.training_fixture import quick_config, small_space

NUMBERS = tuple(str(number) for number in range(17))
OFF = "mirroring is off, in training and in the flip test: no mirror partner is known of 0, 1"
GUESS = "no OKS sigma is known of 0, 1"
ALWAYS = Augmentation(
    flip_probability=1, half_body_probability=0, rotation_probability=0, scale=0, shift_probability=0
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_weights(tmp_path_factory.mktemp("weights") / "coco.safetensors")


def people(
    folder: Path, names: Any = COCO_KEYPOINT_NAMES, category: dict[str, Any] | None = None, **options: Any
) -> PoseData:
    write_people(folder, people_document(names, **(category or {})))
    return PoseData(DataConfig(folder=folder, cache=folder / "cache", codec="udp", **options), 17)


def results(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())


# Evaluation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", ["L_Eye", "Left Eye", "eye_l", "l-eye", "lefteye", "LEye"])
def test_the_flip_test_is_right_in_every_convention(weights: Path, tmp_path: Path, convention: str) -> None:
    plain = evaluate(None, weights, people(tmp_path / "plain"))
    renamed = people(tmp_path / "renamed", coco_in(CONVENTIONS[convention]))
    assert evaluate(None, weights, renamed, out=tmp_path / "out") == plain
    assert results(tmp_path / "out")["settings"]["flip_test"] is True


def test_without_pairs_there_is_no_flip_test_which_is_said(
    weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, out = people(tmp_path / "numbered", NUMBERS), tmp_path / "out"
    found = evaluate(None, weights, data, out=out)
    assert sum(OFF in message for message in caplog.messages) == 1
    assert sum(GUESS in message for message in caplog.messages) == 1
    written = results(out)
    assert written["settings"]["flip_test"] is False
    assert written["can_mirror"] is False
    assert written["sigmas"] == dict.fromkeys(NUMBERS, 0.05)
    assert written["guessed_sigmas"] == list(NUMBERS)
    caplog.clear()
    again = people(tmp_path / "again", NUMBERS)
    assert evaluate(None, weights, again, EvaluationConfig(flip_test=False)) == found
    assert not any("mirroring" in message for message in caplog.messages), "nobody asked for it"


def test_pairs_of_the_configuration_or_of_the_file_bring_the_flip_test_back(weights: Path, tmp_path: Path) -> None:
    sigmas = tuple(COCO_KEYPOINT_SET.sigmas.tolist())
    plain = evaluate(None, weights, people(tmp_path / "plain"))
    pairs = [[str(i), str(i + 1)] for i in range(1, 17, 2)]
    configured = people(tmp_path / "a", NUMBERS, flip_pairs=pairs, sigmas=sigmas)
    assert evaluate(None, weights, configured, out=tmp_path / "out") == plain
    written = results(tmp_path / "out")
    assert written["settings"]["flip_test"] is True
    assert written["flip_pairs"] == pairs
    assert written["guessed_sigmas"] == []
    of_file = people(tmp_path / "b", NUMBERS, {"flip_pairs": pairs, "sigmas": list(sigmas)})
    assert evaluate(None, weights, of_file) == plain


def test_the_options_name_pairs_and_sigmas(weights: Path, tmp_path: Path) -> None:
    folder = write_people(tmp_path / "people", people_document(NUMBERS))
    pairs = [[i, i + 1] for i in range(1, 17, 2)]
    (tmp_path / "c.yaml").write_text(
        f"data: {{folder: {folder}, cache: {tmp_path / 'cache'}, codec: udp, flip_pairs: {pairs}}}\n"
    )
    command = ["evaluate", tmp_path / "c.yaml", "--weights", weights, "--out", tmp_path / "out"]
    done = call(*command, "--data.sigmas", str(COCO_KEYPOINT_SET.sigmas.round(6).tolist()))
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / "out")["metrics"]["AP"] > 0.97
    assert results(tmp_path / "out")["settings"]["flip_test"] is True
    done = call(*command, "--data.sigmas", "{'3': 0.2}")
    assert results(tmp_path / "out")["sigmas"]["3"] == 0.2
    assert results(tmp_path / "out")["sigmas"]["4"] == 0.05


def test_a_renamed_joint_keeps_its_sigma(weights: Path, tmp_path: Path) -> None:
    renamed = [name.replace("left_", "L_").replace("right_", "R_") for name in COCO_KEYPOINT_NAMES]
    config = EvaluationConfig(flip_test=False)
    assert evaluate(None, weights, people(tmp_path / "a", renamed), config) == evaluate(
        None, weights, people(tmp_path / "b"), config
    )


# Training -----------------------------------------------------------------------------------------------------------


def training_set(data: PoseData) -> CropTrainingSet:
    settings = ViewSettings(
        keypoint_set=data.train.keypoint_set, codec=data.codec((64, 48)), augmentation=ALWAYS
    )
    return CropTrainingSet(data.train.instances, settings)


def test_training_mirrors_alike_in_every_convention_and_not_at_all_without_pairs(tmp_path: Path) -> None:
    rows, mirrored = np.arange(8), []
    for number, names in enumerate((COCO_KEYPOINT_NAMES, coco_in(CONVENTIONS["L_Eye"]), NUMBERS)):
        batch = training_set(people(tmp_path / str(number), names)).batch(rows, np.random.default_rng(0))
        mirrored.append((batch.pixels[:, 0], batch.keypoints_px[:, 0]))
    np.testing.assert_array_equal(mirrored[0][0], mirrored[1][0])
    np.testing.assert_array_equal(mirrored[0][1], mirrored[1][1])
    assert np.abs(mirrored[2][0].astype(int) - mirrored[0][0]).max() > 50, "the image is not mirrored"
    flipped = mirrored[0][1][:, COCO_KEYPOINT_SET.flip_indices]
    np.testing.assert_allclose(mirrored[2][1][..., 0], 47 - flipped[..., 0], atol=1e-3)


def test_the_other_draws_are_the_same_whether_people_are_mirrored_or_not() -> None:
    boxes = np.tile([10.0, 10, 40, 80], (20, 1))
    places, visibility = np.zeros((20, 3, 2), np.float32), np.zeros((20, 3), np.uint8)
    views = [
        draw_views(np.random.default_rng(1), Augmentation(), boxes, places, visibility, KeypointSet.of(names))
        for names in (("nose", "left_eye", "right_eye"), ("a", "b", "c"))
    ]
    assert views[0].mirrored.any()
    assert not views[1].mirrored.any()
    np.testing.assert_array_equal(views[0].sizes, views[1].sizes)
    np.testing.assert_array_equal(views[0].rotations_deg, views[1].rotations_deg)


def quick_retrain(**options: Any) -> RetrainConfig:
    return RetrainConfig(**{"epochs": 1, "batch_size": 8, "bf16": False, **options})


def test_every_stage_on_images_says_once_that_mirroring_is_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run, folder = RunFolder(tmp_path / "run"), write_people(tmp_path / "people", people_document(NUMBERS))

    def fresh() -> PoseData:
        caplog.clear()
        return PoseData(DataConfig(folder=folder, cache=folder / "cache"), 17)

    def said(text: str) -> int:
        return sum(text in message for message in caplog.messages)

    run.write_space(small_space())
    train_supernet(small_space(), fresh(), quick_config(steps=2), run.path)
    assert (said(OFF), said(GUESS)) == (1, 0)

    search = SearchConfig(evaluations=3, algorithm="evolution", objectives=("ap", "macs"), workers=0, population_size=2)
    search_networks(small_space(), fresh(), search, CandidateConfig(persons=4), LatencyConfig(), run)
    assert (said(OFF), said(GUESS)) == (0, 1), "a search mirrors nobody, and evaluates"

    retrain(architecture(), fresh(), quick_retrain(), run.retrain("a"))
    assert (said(OFF), said(GUESS)) == (1, 1)
    written = results(run.retrain("a"))
    assert written["can_mirror"] is False
    assert written["guessed_sigmas"] == list(NUMBERS)

    plain = quick_retrain(validation=EvaluationConfig(flip_test=False))
    data = fresh()
    unmirrored = DataConfig(folder=folder, cache=folder / "cache", augmentation=Augmentation(flip_probability=0))
    retrain(architecture(), PoseData(unmirrored, data.keypoints), plain, run.retrain("b"))
    assert (said(OFF), said(GUESS)) == (0, 1), "nobody wants to mirror"


def test_a_stage_of_several_processes_says_it_in_one_of_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = people(tmp_path / "people", NUMBERS)
    data.tell_of_keypoints("train", mirrors=True, evaluates=True)
    assert len(caplog.messages) == 2
    elsewhere = data.unread()
    assert "train" not in vars(elsewhere), "it reads for itself"
    elsewhere.tell_of_keypoints("train", mirrors=True, evaluates=True)
    assert len(caplog.messages) == 2


def test_the_command_names_the_annotations(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_people(tmp_path / "people", people_document(NUMBERS))
    space = """
name: two-stages
family: resnet
input_size: [64, 64]
keypoints: 17
stem: {width: 8}
stages:
  - {width: [8, 16], depth: [1], groups: [1], attention: [false], stride: 1}
  - {width: [16], depth: 1, groups: [1], attention: [false]}
head: {width: [8], groups: [1], layers: 1}
"""
    (tmp_path / "space.yaml").write_text(space)
    (tmp_path / "c.yaml").write_text(
        f"{{run_dir: {tmp_path}/run, space: {tmp_path}/space.yaml, data: {{folder: {folder}, cache: {tmp_path}/cache}},"
        " train: {steps: 2, batch_size: 2, bf16: false}}"
    )
    assert call("train-supernet", tmp_path / "c.yaml").returncode == 0
    [message] = [message for message in caplog.messages if "mirroring" in message]
    assert message.startswith(f"{folder}/annotations/person_keypoints_train.json: mirroring is off")


def test_a_training_goes_on_with_the_pairs_that_it_was_begun_with(tmp_path: Path) -> None:
    config, pairs = quick_config(steps=2), [["1", "2"]]
    data = people(tmp_path / "people", NUMBERS)
    train_supernet(small_space(), data, config, tmp_path / "run")
    train_supernet(small_space(), data, config, tmp_path / "run", resume=True)
    stated = PoseData(DataConfig(folder=data.config.folder, cache=data.config.cache, codec="udp", flip_pairs=pairs), 17)
    with pytest.raises(InputError, match="another run: flip_pairs was None"):
        train_supernet(small_space(), stated, config, tmp_path / "run", resume=True)


# Videos -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for part in ("train", "val"):
        write_sequence(folder, part, 1, 4)
    return folder


def test_videos_have_the_pairs_and_sigmas_of_their_layout_and_of_the_configuration(videos: Path) -> None:
    for layout in ("posetrack", "coco"):
        found = read_posetrack_videos(videos / "annotations/val", layout=layout)  # type: ignore[arg-type]
        assert found.keypoint_set.can_mirror
        assert found.people.keypoint_set == found.keypoint_set
    stated = DataConfig(
        video=VideoDataConfig(folder=videos), flip_pairs=(("left_hip", "right_hip"),), sigmas={"head_top": 0.2}
    )
    data = VideoData(stated, 2)
    assert data.keypoint_set.flip_pairs == ((11, 12),)
    assert data.val.people.sigmas[2] == 0.2
    assert data.train.sample(1).keypoint_set.sigmas[2] == 0.2
    with pytest.raises(InputError, match=r"data\.sigmas: 'left_eye' is no keypoint"):
        VideoData(DataConfig(video=VideoDataConfig(folder=videos), sigmas={"left_eye": 0.2}), 2).val  # noqa: B018


def test_stages_on_videos_say_whose_sigmas_are_guessed(
    weights: Path, videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = VideoData(DataConfig(video=VideoDataConfig(folder=videos), cache=tmp_path / "cache", codec="udp"), 2, 17)
    header = trained_weights(tmp_path / "w.safetensors", data.keypoint_set.names)
    evaluate_on_videos(header, data, EvaluationConfig(flip_test=False), tmp_path / "out")
    [message] = [message for message in caplog.messages if "sigma" in message]
    assert "no OKS sigma is known of head_bottom, head_top" in message
    written = results(tmp_path / "out")
    assert written["guessed_sigmas"] == ["head_bottom", "head_top"]
    assert written["sigmas"]["head_top"] == 0.05
    assert written["can_mirror"] is True


def test_clips_are_not_mirrored_without_pairs_which_is_said(videos: Path, caplog: pytest.LogCaptureFixture) -> None:
    space = small_video_space()
    config = DataConfig(video=VideoDataConfig(folder=videos), augmentation=ALWAYS, picture_cache_gb=0)
    seen = []
    for names in (None, [f"k{index}" for index in range(17)]):
        data = VideoData(config, space.length)
        if names is not None:
            data.__dict__["train"] = replaced(data, names)
        clips = TrainingClips(data, space.input_size, space.heatmap_size)
        batches = clips.training_batches(quick_config(steps=2), Processes())
        seen.append(next(iter(batches.batches())).keypoints_px)
    [message] = caplog.messages
    assert "mirroring is off" in message
    assert not np.allclose(seen[0], seen[1])


def replaced(data: VideoData, names: list[str]) -> Any:
    return dataclasses.replace(data.train, keypoint_set=KeypointSet.of(names))


# Export -------------------------------------------------------------------------------------------------------------


def test_mmpose_is_told_of_pairs_and_sigmas() -> None:
    unknown = mmpose_config(published("s-vipnas-res50"), keypoints=NUMBERS)
    assert "RandomFlip" not in unknown
    assert "flip_test=False" in unknown
    stated = KeypointSet.of(NUMBERS).stating([["3", "4"]], {"3": 0.123})
    known = mmpose_config(published("s-vipnas-res50"), keypoints=stated)
    assert "RandomFlip" in known
    assert "0.123" in known


def test_a_file_of_names_for_predict_may_state_pairs(tmp_path: Path) -> None:
    folder = write_people(tmp_path)
    path = folder / "annotations/person_keypoints_val.json"
    edit(path, lambda content: content["categories"][0].update(sigmas=[0.3] * 17))
    assert read_keypoint_set(str(path)).sigmas.tolist() == [0.3] * 17
