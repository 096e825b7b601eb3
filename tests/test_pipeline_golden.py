"""Crops, heatmaps, decoding and flip test against the official code's inputs and outputs on real images."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from nas.data.coco import read_coco
from nas.data.codecs import Codec, CodecName
from nas.data.flip import flip_back, flip_test
from nas.data.geometry import (
    apply_affine,
    boxes_to_centers_scales,
    fix_aspect_ratio,
    invert_affine,
    warp_image,
    warp_matrices,
)
from nas.data.images import read_image_bgr
from nas.data.keypoint_sets import COCO_KEYPOINT_SET
from tests.paths import shared

Golden = dict[str, np.ndarray]
INPUT_SIZE = (256, 192)


def load(name: str) -> Golden:
    with np.load(shared(f"reference/golden/pipeline/{name}.npz")) as arrays:
        return {key: arrays[key] for key in arrays.files}


@pytest.fixture(scope="module")
def crops() -> Golden:
    return load("crops")


@pytest.fixture(scope="module")
def codecs() -> Golden:
    return load("codecs")


def golden_matrices(crops: Golden, udp: bool) -> np.ndarray:
    scales = fix_aspect_ratio(crops["scale_in_padded"], INPUT_SIZE)
    return warp_matrices(crops["center_in"], scales, crops["rot"], INPUT_SIZE, udp)


def test_boxes_centres_and_scales_of_annotations_are_the_official_ones(crops: Golden) -> None:
    folder = shared("data/coco_mini_orig/mmpose_tests_data_coco")
    of_id = {i.annotation_id: i for i in read_coco(folder / "test_coco.json", folder).instances}
    plain = crops["variant"] == 0
    boxes = np.array([of_id[a].bbox_xywh for a in crops["ann_id"]])
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    np.testing.assert_allclose(corners, crops["bbox_xyxy"], atol=1e-4)
    centers, scales = boxes_to_centers_scales(boxes)
    np.testing.assert_allclose(centers[plain], crops["center_in"][plain], atol=1e-4)
    np.testing.assert_allclose(scales[plain], crops["scale_in_padded"][plain], atol=1e-4)
    keypoints = np.stack([of_id[a].keypoints_px for a in crops["ann_id"]])
    np.testing.assert_array_equal(keypoints, crops["keypoints"])


@pytest.mark.parametrize(("prefix", "udp"), [("std", False), ("udp", True)])
def test_warp_matrices_and_keypoints_are_the_official_ones(crops: Golden, prefix: str, udp: bool) -> None:
    scales = fix_aspect_ratio(crops["scale_in_padded"], INPUT_SIZE)
    np.testing.assert_allclose(scales, crops[f"{prefix}_scale_fixed"], atol=1e-4)
    matrices = golden_matrices(crops, udp)
    np.testing.assert_allclose(matrices, crops[f"{prefix}_warp"], rtol=0, atol=1e-4)
    keypoints = apply_affine(matrices, crops["keypoints"])
    np.testing.assert_allclose(keypoints, crops[f"{prefix}_kpts"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("prefix", "udp"), [("std", False), ("udp", True)])
def test_crops_are_the_official_ones(crops: Golden, prefix: str, udp: bool) -> None:
    folder = shared("data/coco_mini_orig/mmpose_tests_data_coco")
    if int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip("the golden crops were made by OpenCV 5, whose warpAffine differs from OpenCV 4's")
    for i, matrix in enumerate(golden_matrices(crops, udp)):
        crop = warp_image(read_image_bgr(folder / str(crops["img_file"][i])), matrix, INPUT_SIZE)
        difference = np.abs(crop.astype(int) - crops[f"{prefix}_crop_bgr"][i])
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


NAMES: list[tuple[str, CodecName]] = [("msra", "gaussian"), ("dark", "dark"), ("udp", "udp")]


@pytest.mark.parametrize(("prefix", "name"), NAMES)
def test_heatmaps_and_weights_are_the_official_ones(codecs: Golden, prefix: str, name: CodecName) -> None:
    heatmaps, weights = Codec(name=name).encode_batch(codecs[f"{prefix}_kpts_in"], codecs[f"{prefix}_vis_in"])
    np.testing.assert_allclose(heatmaps, codecs[f"{prefix}_heatmaps"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(weights, codecs[f"{prefix}_weights"])


@pytest.mark.parametrize(("prefix", "name"), NAMES)
@pytest.mark.parametrize("noisy", [False, True])
def test_decoded_keypoints_are_the_official_ones(
    codecs: Golden, prefix: str, name: CodecName, noisy: bool
) -> None:
    keys = (f"noisy_{prefix}_dec", f"noisy_{prefix}_score") if noisy else (f"{prefix}_dec_clean",) * 2
    expected, scores = codecs[keys[0]], codecs[keys[1] if noisy else f"{prefix}_dec_clean_score"]
    codec = Codec(name=name)
    heatmaps = codecs["noisy_heatmaps" if noisy else f"{prefix}_heatmaps"]
    in_heatmap, found_scores = codec.decode_heatmap_px(heatmaps)
    found = codec.mmpose_input_px(in_heatmap)
    official_nan = ~np.isfinite(expected).all(axis=-1)
    np.testing.assert_allclose(found[~official_nan], expected[~official_nan], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found_scores[~official_nan], scores[~official_nan])
    # The traps: what is NaN there has score 0 here, and NaN reaches no result.
    assert official_nan.any() == (name == "udp")
    assert (found_scores[official_nan] == 0).all()
    assert np.isfinite(found).all()


def test_empty_maps_decode_to_minus_four_as_in_the_official_code() -> None:
    for name in ("gaussian", "dark"):
        keypoints, scores = Codec(name=name).decode_batch(np.zeros((1, 2, 64, 48), np.float32))  # type: ignore[arg-type]
        assert (keypoints == -4).all()
        assert (scores == 0).all()


@pytest.mark.parametrize(("name", "udp"), [("gaussian", False), ("dark", False), ("udp", True)])
def test_the_way_back_to_the_image_is_the_official_one(crops: Golden, name: CodecName, udp: bool) -> None:
    """MMPose: input px / input size × scale + centre - scale / 2. Ours: the inverse of the warp."""
    upright = crops["rot"] == 0
    scales = fix_aspect_ratio(crops["scale_in_padded"], INPUT_SIZE)
    inverse = invert_affine(golden_matrices(crops, udp)[upright])
    codec = Codec(name=name)
    in_heatmap = np.random.default_rng(0).uniform(0, 47, (int(upright.sum()), 17, 2)).astype(np.float32)
    ours = apply_affine(inverse, in_heatmap * codec.stride)
    scale, center = scales[upright, None], crops["center_in"][upright, None].astype(np.float64)
    official = codec.mmpose_input_px(in_heatmap) / [192, 256] * scale + center - scale / 2
    np.testing.assert_allclose(ours, official, rtol=0, atol=5e-4)  # official arithmetic is float32, places up to 640


@pytest.mark.parametrize("shift", [True, False])
def test_flip_back_and_average_are_the_official_ones(shift: bool) -> None:
    golden: dict[str, Any] = {key: torch.from_numpy(value) for key, value in load("flip_test").items()}
    indices = golden["flip_indices"].tolist()
    assert indices == COCO_KEYPOINT_SET.flip_indices.tolist()
    suffix = "shift1" if shift else "shift0"
    torch.testing.assert_close(
        flip_back(golden["xf"], indices, shift), golden[f"flip_{suffix}"], rtol=0, atol=0
    )  # fmt: skip
    images = torch.arange(2.0).reshape(1, 1, 1, 2)  # a "network" that gives the golden maps for it and its mirror
    average = flip_test(
        lambda x: golden["x"] if x[0, 0, 0, 0] == 0 else golden["xf"], images, indices, shift
    )  # fmt: skip
    torch.testing.assert_close(average, golden[f"avg_{suffix}"], rtol=0, atol=1e-6)
