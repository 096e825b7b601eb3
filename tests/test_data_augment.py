"""Random views: their distributions, and that keypoints stay on what they name."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nas.data.augment import (
    NO_AUGMENTATION,
    Augmentation,
    Views,
    change_colors,
    draw_color_tables,
    draw_spoils,
    draw_views,
)
from nas.data.keypoint_sets import COCO_KEYPOINT_SET
from search_spaces.errors import InputError

N = 4000
BOX = np.array([100.0, 50.0, 80.0, 160.0])


def views_of(augmentation: Augmentation, visibility: int | NDArray = 2, seed: int = 0) -> Views:
    generator = np.random.default_rng(seed)
    boxes = np.tile(BOX, (N, 1))
    keypoints = (BOX[:2] + np.random.default_rng(1).uniform(0, 1, (17, 2)) * BOX[2:]).astype(np.float32)
    seen = np.broadcast_to(np.asarray(visibility, dtype=np.uint8), (N, 17))
    return draw_views(generator, augmentation, boxes, np.tile(keypoints, (N, 1, 1)), seen, COCO_KEYPOINT_SET)


def test_without_augmentation_every_view_is_the_padded_box() -> None:
    views = views_of(NO_AUGMENTATION)
    assert (views.centers == [140, 130]).all()
    assert (views.sizes == [100, 200]).all()
    assert not views.rotations_deg.any()
    assert not views.mirrored.any()


@pytest.mark.parametrize("distribution", ["truncated", "clipped"])
def test_bounds_and_frequencies_are_the_recipes(distribution: str) -> None:
    views = views_of(Augmentation(distribution=distribution, half_body_probability=0))  # type: ignore[arg-type]
    scales = views.sizes / [100, 200]
    shifts = (views.centers - [140, 130]) / views.sizes * scales
    assert scales[:, 0] == pytest.approx(scales[:, 1])
    assert 0.75 - 1e-9 <= scales.min() < 0.76
    assert 1.24 < scales.max() <= 1.25 + 1e-9
    assert 0.15 < np.abs(shifts).max() <= 0.16 + 1e-9
    assert 59 < np.abs(views.rotations_deg).max() <= 60 + 1e-9
    assert np.mean(views.rotations_deg != 0) == pytest.approx(0.6, abs=0.03)
    assert np.mean(shifts.any(axis=1)) == pytest.approx(0.3, abs=0.03)
    assert np.mean(views.mirrored) == pytest.approx(0.5, abs=0.03)
    for values in (scales[:, 0] - 1, shifts[:, 0], views.rotations_deg / 60):
        assert np.mean(values) == pytest.approx(0, abs=0.02)
    rotated = views.rotations_deg[views.rotations_deg != 0]
    # A normal distribution cut at one standard deviation has 0.54 of it left; half as wide and clipped at two, 0.49.
    assert np.std(rotated) / 60 == pytest.approx(0.54 if distribution == "truncated" else 0.49, abs=0.02)
    # What is clipped piles up at the bound (a third of the scales), what is truncated does not.
    assert np.mean(np.isclose(np.abs(scales[:, 0] - 1), 0.25)) == pytest.approx(
        0.0 if distribution == "truncated" else 0.32, abs=0.03
    )


def test_half_bodies_show_the_upper_or_the_lower_keypoints() -> None:
    only_half = Augmentation(half_body_probability=1, scale=0, shift_probability=0, rotation_probability=0)
    views = views_of(only_half)
    keypoints = BOX[:2] + np.random.default_rng(1).uniform(0, 1, (17, 2)) * BOX[2:]
    upper, lower = keypoints[:11], keypoints[11:]
    is_upper = np.isclose(views.centers, upper.mean(0), atol=1e-3).all(1)
    is_lower = np.isclose(views.centers, lower.mean(0), atol=1e-3).all(1)
    assert (is_upper | is_lower).all()
    assert np.mean(is_upper) == pytest.approx(0.7, abs=0.03)
    np.testing.assert_allclose(views.sizes[is_lower][0], np.ptp(lower, axis=0) * 1.5, rtol=1e-5)
    assert np.mean(views_of(Augmentation()).centers != [140, 130]) > 0.2  # with the default probabilities too


def test_half_bodies_need_enough_keypoints() -> None:
    always = Augmentation(half_body_probability=1, scale=0, shift_probability=0)
    few = np.array([2] * 8 + [0] * 9)
    assert (views_of(always, few).centers == [140, 130]).all()
    no_legs = np.array([2] * 11 + [0] * 6)
    centers = views_of(always, no_legs).centers
    assert (centers == centers[0]).all()  # always the upper body, never the mean of nothing
    assert np.isfinite(centers).all()
    same_spot = np.zeros((N, 17, 2), np.float32)
    views = draw_views(
        np.random.default_rng(0), always, np.tile(BOX, (N, 1)), same_spot, np.full((N, 17), 2, np.uint8),
        COCO_KEYPOINT_SET,
    )  # fmt: skip
    assert (views.sizes == [100, 200]).all()


def test_the_generator_alone_decides() -> None:
    a, b, c = views_of(Augmentation(), seed=3), views_of(Augmentation(), seed=3), views_of(Augmentation(), seed=4)
    np.testing.assert_array_equal(a.matrices((128, 96), False), b.matrices((128, 96), False))
    assert not np.array_equal(a.centers, c.centers)


def test_color_tables_keep_black_and_order_and_are_nothing_at_strength_0() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    (same,) = draw_color_tables(np.random.default_rng(0), 0.0, 1)
    np.testing.assert_array_equal(change_colors(image, same), image)
    tables = draw_color_tables(np.random.default_rng(0), 0.3, 50)
    assert tables.shape == (50, 256, 1, 3)
    assert (tables[:, 0] == 0).all()
    assert (np.diff(tables[:, 1:].astype(int), axis=1) >= 0).all()
    changed = np.stack([change_colors(image, table) for table in tables]).astype(float).mean(axis=(1, 2))
    assert changed.std(axis=0).min() > 5
    assert np.abs(changed[:, 0] - changed[:, 1]).max() > 5  # the tint


@pytest.mark.parametrize(
    ("field", "value"),
    [("flip_probability", 1.5), ("scale", 1.0), ("shift", -0.1), ("rotation_deg", 200), ("color", 2)],
)
def test_settings_that_make_no_sense_are_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field):
        Augmentation(**{field: value})  # type: ignore[arg-type]


def test_by_default_nothing_is_spoilt_and_nothing_drawn_for_it() -> None:
    generator = np.random.default_rng(3)
    assert draw_spoils(generator, Augmentation(), 5) is None
    assert generator.random() == np.random.default_rng(3).random()


def test_erased_rectangles_have_the_recipes_sizes_and_lie_inside() -> None:
    spoils = draw_spoils(np.random.default_rng(0), Augmentation(erase_probability=0.5), N)
    assert spoils is not None
    assert not spoils.box.any()
    assert not spoils.median.any()
    erased = spoils.erased[spoils.erased.any(axis=1)]
    assert len(erased) / N == pytest.approx(0.5, abs=0.03)
    assert 0.2 <= erased[:, 2:].min() < 0.21
    assert 0.39 < erased[:, 2:].max() <= 0.4
    assert erased[:, :2].min() >= 0
    assert (erased[:, :2] + erased[:, 2:]).max() <= 1
    crop = np.full((100, 50, 3), 200, np.uint8)
    index = int(np.flatnonzero(spoils.erased.any(axis=1))[0])
    black = (spoils.apply(index, crop.copy()) == 0).all(axis=2)
    assert black.mean() == pytest.approx(spoils.erased[index, 2] * spoils.erased[index, 3], rel=0.1)


def test_blurs_are_as_frequent_as_said_and_smooth() -> None:
    spoils = draw_spoils(np.random.default_rng(0), Augmentation(blur_probability=0.1), N)
    assert spoils is not None
    assert not spoils.erased.any()
    noise = np.random.default_rng(1).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    for sides in (spoils.box, spoils.median):
        assert set(sides[sides > 0]) == {3, 5, 7}
        assert np.mean(sides > 0) == pytest.approx(0.1, abs=0.02)
        index = int(np.flatnonzero(sides)[0])
        assert spoils.apply(index, noise.copy()).std() < 0.7 * noise.std()


def test_options_that_came_later_leave_a_checkpoints_text_as_it_was() -> None:
    assert str(Augmentation()) == (
        "Augmentation(flip_probability=0.5, half_body_probability=0.3, rotation_deg=60.0, rotation_probability=0.6, "
        "scale=0.25, shift=0.16, shift_probability=0.3, distribution='truncated', color=0.0)"
    )
    assert "erase_probability=1.0" in str(Augmentation(erase_probability=1.0))


def test_one_augmentation_reaches_as_far_as_two() -> None:
    near, far = Augmentation(scale=0.1, shift=0.3, shift_probability=0), Augmentation(scale=0.4, shift=0.1)
    both = near.reaching(far)
    assert (both.scale, both.shift, both.shift_probability) == (0.4, 0.1, 1.0)
    assert near.reaching(None) is near
