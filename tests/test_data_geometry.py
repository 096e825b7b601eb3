"""Identities of the crop geometry and of the codecs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nas.data.augment import Views
from nas.data.codecs import Codec, CodecName
from nas.data.flip import flip_back
from nas.data.geometry import (
    apply_affine,
    boxes_to_centers_scales,
    clip_box_xywh,
    compose_affine,
    fix_aspect_ratio,
    invert_affine,
    mirror_affine,
    warp_matrices,
)
from nas.data.keypoint_sets import COCO_KEYPOINT_SET
from search_spaces.errors import InputError

CODEC_NAMES: list[CodecName] = ["gaussian", "dark", "udp"]
seeds = st.integers(0, 2**32 - 1)


def random_matrices(seed: int, udp: bool, count: int = 4) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    sizes = fix_aspect_ratio(generator.uniform(20, 600, (count, 2)), (128, 96))
    return warp_matrices(
        generator.uniform(0, 500, (count, 2)), sizes, generator.uniform(-180, 180, count), (128, 96), udp
    )


@given(seeds, st.booleans())
def test_inverse_and_composition(seed: int, udp: bool) -> None:
    first, second = random_matrices(seed, udp), random_matrices(seed + 1, udp)
    points = np.random.default_rng(seed).uniform(-100, 600, (4, 7, 2))
    there = apply_affine(first, points)
    np.testing.assert_allclose(apply_affine(invert_affine(first), there), points, atol=1e-6)
    np.testing.assert_allclose(
        apply_affine(compose_affine(second, first), points), apply_affine(second, there), rtol=1e-9, atol=1e-6
    )


@given(seeds)
def test_a_box_fills_the_crop(seed: int) -> None:
    """Plain: the edges of the padded box come to 0 and to the size; UDP: to 0 and size - 1."""
    box = np.random.default_rng(seed).uniform(20, 300, (1, 4))
    centers, sizes = boxes_to_centers_scales(box, padding=1.25)
    fixed = fix_aspect_ratio(sizes, (128, 96))
    assert (fixed >= sizes - 1e-9).all()
    assert fixed[0, 0] / fixed[0, 1] == pytest.approx(96 / 128)
    corners = np.stack([centers - fixed / 2, centers + fixed / 2], axis=1)
    for udp, far in ((False, [96, 128]), (True, [95, 127])):
        matrices = warp_matrices(centers, fixed, [0.0], (128, 96), udp)
        np.testing.assert_allclose(apply_affine(matrices, corners)[0], [[0, 0], far], atol=1e-3)


@given(seeds, st.booleans())
def test_a_mirrored_view_is_a_view_of_the_mirrored_image(seed: int, udp: bool) -> None:
    generator = np.random.default_rng(seed)
    center, size = generator.uniform(50, 400, (1, 2)), generator.uniform(30, 300, (1, 2))
    rotation = generator.uniform(-60, 60, 1)
    ours = Views(center, size, rotation, np.array([True])).matrices((128, 96), udp)
    width = 500
    mirror = mirror_affine(width)
    in_mirror = apply_affine(mirror[None], center[:, None])[:, 0]
    official = warp_matrices(in_mirror, fix_aspect_ratio(size, (128, 96)), rotation, (128, 96), udp)
    np.testing.assert_allclose(ours, compose_affine(official, mirror), rtol=1e-4, atol=2e-3)


def test_clipping_keeps_corners_inside() -> None:
    clipped = clip_box_xywh([[-5, -5, 20, 20], [90, 40, 50, 50]], (60, 100))
    assert clipped.tolist() == [[0, 0, 15, 15], [90, 40, 9, 19]]


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from(CODEC_NAMES), st.sampled_from([(128, 96), (256, 192), (64, 64)]))
def test_decoding_is_the_inverse_of_encoding(seed: int, name: CodecName, input_size: tuple[int, int]) -> None:
    codec = Codec.of(name, input_size)
    height, width = input_size
    border = 16 * codec.sigma
    points = np.random.default_rng(seed).uniform(border, [width - border, height - border], (3, 5, 2))
    heatmaps, weights = codec.encode_batch(points, np.ones((3, 5)))
    assert (weights == 1).all()
    keypoints, scores = codec.decode_batch(heatmaps)
    # The plain Gaussian knows the nearest pixel alone and then goes a quarter pixel one way or the other.
    allowed = 4 * 0.76 if name == "gaussian" else 0.15
    assert np.abs(keypoints - points).max() <= allowed
    assert (scores > np.exp(-0.26 / codec.sigma**2)).all()  # a peak at most half a pixel away, along both axes


@given(seeds)
def test_udp_targets_commute_with_mirroring_and_gaussian_targets_need_the_shift(seed: int) -> None:
    points = np.random.default_rng(seed).uniform(40, [150, 200], (2, 17, 2)).astype(np.float32)
    for name, edge in (("udp", 191.0), ("dark", 192.0)):
        codec = Codec(name=name)  # type: ignore[arg-type]
        mirrored = (points * [-1, 1] + [edge, 0])[:, COCO_KEYPOINT_SET.flip_indices]
        seen, _ = codec.encode(torch.from_numpy(points), torch.ones(2, 17))
        in_mirror, _ = codec.encode(torch.from_numpy(mirrored.astype(np.float32)), torch.ones(2, 17))
        back = flip_back(in_mirror, COCO_KEYPOINT_SET.flip_indices.tolist(), codec.flip_shift)
        torch.testing.assert_close(back[..., 1:], seen[..., 1:], rtol=0, atol=1e-3 if name == "dark" else 0.2)


def test_invisible_and_outside_keypoints_leave_no_target() -> None:
    points = np.array([[[50, 50], [50, 50], [-60, 50], [50, 900]]], dtype=np.float32)
    for name in CODEC_NAMES:
        heatmaps, weights = Codec(name=name).encode_batch(points, np.array([[1, 0, 1, 1]]))
        assert weights.tolist() == [[1, 0, 0, 0]]
        assert heatmaps[0, 0].max() > 0.9
        assert not heatmaps[0, 1:].any()


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_nan_never_reaches_a_result(name: CodecName) -> None:
    heatmaps = np.random.default_rng(0).uniform(0, 1, (1, 4, 64, 48)).astype(np.float32)
    heatmaps[0, 1] = np.nan
    heatmaps[0, 2] = 0
    heatmaps[0, 3, 5, 5] = np.nan
    keypoints, scores = Codec(name=name).decode_batch(heatmaps)
    assert np.isfinite(keypoints).all()
    assert np.isfinite(scores).all()
    assert scores[0, 0] > 0.9
    assert (scores[0, 1:] == 0).all()


def test_a_codec_refuses_what_makes_no_sense() -> None:
    with pytest.raises(InputError, match="gaussian, dark, udp"):
        Codec(name="simcc")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sigma"):
        Codec(sigma=0)
    with pytest.raises(InputError, match="at least 2"):
        Codec(heatmap_size=(1, 48))
