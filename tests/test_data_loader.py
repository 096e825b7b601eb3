"""Training batches: pixels and keypoints belong together, and the stream is the same wherever it is entered."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nas.data.augment import NO_AUGMENTATION, Augmentation
from nas.data.batches import Batches
from nas.data.cache import CropCache
from nas.data.coco import CocoKeypoints, read_coco
from nas.data.codecs import Codec, CodecName
from nas.data.geometry import apply_affine, invert_affine
from nas.data.loader import CropTrainingSet, ViewSettings
from nas.data.pictures import CachedPictures, ImageFiles
from nas.data.tensors import ClipBatch
from search_spaces.errors import InputError
from tests.coco_fixture import disc_center, write_part

CODEC = Codec.of("gaussian", (128, 96))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> CocoKeypoints:
    folder = tmp_path_factory.mktemp("coco")
    return read_coco(write_part(folder, "train", images=7, seed=1), folder / "images")


def training_set(
    people: CocoKeypoints, cache: Path | None, augmentation: Augmentation | None = None, codec: Codec = CODEC
) -> CropTrainingSet:
    augmentation = augmentation or Augmentation()
    settings = ViewSettings(
        keypoint_set=people.keypoint_set, codec=codec, augmentation=augmentation, cache_folder=cache
    )
    return CropTrainingSet(people.instances, settings)


def assert_equal(a: ClipBatch, b: ClipBatch) -> None:
    assert a.step == b.step
    np.testing.assert_array_equal(a.pixels, b.pixels)
    np.testing.assert_array_equal(a.keypoints_px, b.keypoints_px)
    np.testing.assert_array_equal(a.visibility, b.visibility)


@pytest.mark.parametrize("name", ["gaussian", "udp"])
@pytest.mark.parametrize("cached", [True, False])
def test_augmented_keypoints_lie_on_the_discs_of_their_colour(
    people: CocoKeypoints, tmp_path: Path, name: CodecName, cached: bool
) -> None:
    """Mirrored people swap left and right: in a mirror, keypoint k shows the disc of its partner."""
    codec = Codec.of(name, (256, 192))
    dataset = training_set(people, tmp_path if cached else None, codec=codec)
    assert isinstance(dataset.pictures, CachedPictures if cached else ImageFiles)
    mirror = people.keypoint_set.flip_indices
    errors_px, mirrored = [], []
    for seed in range(6):
        batch = dataset.batch(np.arange(len(dataset)), np.random.default_rng(seed))
        for image, keypoints, visible in zip(
                batch.pixels[:, 0], batch.keypoints_px[:, 0], batch.visibility[:, 0], strict=True
            ):
            inside = (keypoints > 20).all(1) & (keypoints < np.array([192, 256]) - 20).all(1) & (visible > 0)
            as_is, swapped = (
                [distance_to_disc(image, color, keypoints[k]) for k, color in enumerate(colors) if inside[k]]
                for colors in (range(17), mirror)
            )
            if inside.sum() >= 4:
                mirrored.append(np.sum(swapped) < np.sum(as_is))
                errors_px += min(as_is, swapped, key=np.sum)
    assert len(errors_px) > 300
    assert np.mean(np.array(errors_px) < 1.5) > 0.99  # the rest: a disc cut by the border of the image
    assert 0.3 < np.mean(mirrored) < 0.7


def distance_to_disc(image: np.ndarray, color: int, keypoint_px: np.ndarray) -> float:
    center = disc_center(image, color, keypoint_px)
    return 20.0 if center is None else float(np.abs(center - keypoint_px).max())


def test_without_augmentation_training_sees_what_validation_sees(people: CocoKeypoints, tmp_path: Path) -> None:
    crops = CropCache.build(tmp_path, people.instances, CODEC)
    for cache in (None, tmp_path):
        dataset = training_set(people, cache, NO_AUGMENTATION)
        batch = dataset.batch(np.arange(len(dataset)), np.random.default_rng(0))
        # The small images are kept at their own resolution. A picture's own frame of reference costs a rounding.
        difference = np.abs(batch.pixels[:, 0].astype(int) - crops.images())
        assert np.mean(difference > 1) < (0 if cache is None else 1e-3) + 1e-9
        np.testing.assert_allclose(batch.keypoints_px[:, 0], crops.keypoints_input_px(), atol=1e-3)


def test_large_people_are_shrunk_in_the_cache_and_still_in_their_place(tmp_path: Path) -> None:
    """On an image whose red is x and green is y, each pixel of a picture says where it comes from."""
    y, x = np.mgrid[:240, :250]
    ramp = np.stack([np.zeros_like(x), y, x], axis=-1).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "ramp.png"), ramp)
    box = np.array([[60.3, 41.7, 80.0, 101.0]])
    pictures = CachedPictures.build(tmp_path, [tmp_path / "ramp.png"], box, (64, 48), 1.25, Augmentation())
    pixels, matrix = pictures.picture(0)
    assert matrix[0, 0] < 0.8
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    origin = apply_affine(invert_affine(matrix), np.stack([columns, rows], axis=-1).reshape(-1, 2))
    inner = (rows > 0) & (rows < rows.max()) & (columns > 0) & (columns < columns.max())
    error = (pixels[..., :2].reshape(-1, 2) - origin)[inner.ravel()]
    assert np.abs(error).max() < 1.0  # a grey level is a pixel
    assert np.abs(error.mean(axis=0)).max() < 0.1


def test_a_stream_is_the_same_from_any_step_and_with_any_workers(people: CocoKeypoints, tmp_path: Path) -> None:
    dataset = training_set(people, tmp_path)
    whole = list(Batches(dataset, 4, seed=9, workers=2, prefetch=3).batches(stop_step=10))
    assert [batch.step for batch in whole] == list(range(10))
    resumed = list(Batches(dataset, 4, seed=9).batches(start_step=6, stop_step=10))
    for a, b in zip(whole[6:], resumed, strict=True):
        assert_equal(a, b)
    other = Batches(dataset, 4, seed=8).batch(0)
    assert not np.array_equal(other.pixels, whole[0].pixels)


def test_processes_share_the_global_batch(people: CocoKeypoints, tmp_path: Path) -> None:
    dataset = training_set(people, tmp_path)
    alone = Batches(dataset, 6, seed=1).batch(5)
    ranks = [Batches(dataset, 2, seed=1, rank=rank, world_size=3).batch(5) for rank in range(3)]
    np.testing.assert_array_equal(np.concatenate([r.pixels for r in ranks]), alone.pixels)
    np.testing.assert_array_equal(np.concatenate([r.keypoints_px for r in ranks]), alone.keypoints_px)


def test_every_epoch_shows_everybody_once_in_another_order(people: CocoKeypoints, tmp_path: Path) -> None:
    dataset = training_set(people, tmp_path)
    stream = Batches(dataset, 4, seed=2)
    assert stream.steps_per_epoch == 4  # 14 people
    seen = np.concatenate([stream._samples(4 * s, 4 * s + 4) for s in range(14)]).reshape(4, 14)
    assert (np.sort(seen, axis=1) == np.arange(14)).all()
    assert len({tuple(epoch) for epoch in seen.tolist()}) == 4
    big = Batches(dataset, 40, seed=2).batch(0)  # a batch larger than the data set
    assert len(big) == 40


def test_tensors_are_images_heatmaps_and_weights(people: CocoKeypoints, tmp_path: Path) -> None:
    batch = Batches(training_set(people, tmp_path), 4).batch(0)
    images, heatmaps, weights = (values[:, 0] for values in batch.tensors()[:3])
    assert images.shape == (4, 3, 128, 96)
    assert images.is_contiguous(memory_format=torch.channels_last)
    expected, expected_weights = CODEC.encode_batch(batch.keypoints_px[:, 0], batch.visibility[:, 0])
    np.testing.assert_array_equal(heatmaps.numpy(), expected)
    np.testing.assert_array_equal(weights.numpy(), expected_weights)


def test_an_error_in_a_worker_reaches_the_consumer(people: CocoKeypoints) -> None:
    dataset = training_set(people, None)
    dataset.pictures = ImageFiles([Path("lost.png")] * len(dataset))
    with pytest.raises(InputError, match=r"lost\.png"):
        next(Batches(dataset, 4).batches())


def test_a_closed_stream_leaves_no_threads(people: CocoKeypoints, tmp_path: Path) -> None:
    stream = Batches(training_set(people, tmp_path), 4, workers=2).batches()
    next(stream)
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
    assert workers
    stream.close()  # type: ignore[attr-defined]
    for thread in workers:
        thread.join(5)
        assert not thread.is_alive()


def test_pictures_that_would_take_too_much_are_decoded_each_time(people: CocoKeypoints, tmp_path: Path) -> None:
    settings = ViewSettings(
        keypoint_set=people.keypoint_set, codec=CODEC, cache_folder=tmp_path, cache_limit_gb=1e-6
    )
    dataset = CropTrainingSet(people.instances, settings)
    assert isinstance(dataset.pictures, ImageFiles)
    assert not list(tmp_path.iterdir())


def test_the_estimate_is_an_upper_bound_and_pictures_pickle_as_a_path(people: CocoKeypoints, tmp_path: Path) -> None:
    pictures = training_set(people, tmp_path).pictures
    assert isinstance(pictures, CachedPictures)
    boxes = np.array([instance.bbox_xywh for instance in people.instances])
    estimate = CachedPictures.estimate_bytes(boxes, CODEC.input_size, 1.25, Augmentation())
    assert (pictures.path / "pictures.bin").stat().st_size < estimate
    copy = pickle.loads(pickle.dumps(pictures))
    np.testing.assert_array_equal(copy.picture(3)[0], pictures.picture(3)[0])


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"batch_size": 2, "rank": 1}, {"batch_size": 2, "workers": 0}])
def test_settings_that_make_no_sense_are_refused(people: CocoKeypoints, bad: dict[str, int]) -> None:
    with pytest.raises(InputError, match="must be at least 1"):
        Batches(training_set(people, None), **bad)


def test_tensors_are_made_on_the_device_that_is_asked_for(people: CocoKeypoints, tmp_path: Path) -> None:
    """The meta device stands for a GPU: an operand left on the CPU would be refused or show in the result."""
    tensors = Batches(training_set(people, tmp_path), 4).batch(0).tensors("meta")
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 4
    assert [tuple(tensor.shape) for tensor in tensors] == [
        (4, 1, 3, 128, 96), (4, 1, 17, 32, 24), (4, 1, 17), (4, 1, 2, 3)
    ]  # fmt: skip


def test_the_end_of_a_training_shows_people_in_its_own_way(people: CocoKeypoints, tmp_path: Path) -> None:
    def showing(augmentation: Augmentation, final: Augmentation | None = None) -> Batches:
        settings = ViewSettings(
            keypoint_set=people.keypoint_set, codec=CODEC, augmentation=augmentation, final_augmentation=final,
            cache_folder=tmp_path,
        )  # fmt: skip
        return Batches(CropTrainingSet(people.instances, settings), 4)

    wild = Augmentation(rotation_probability=1, rotation_deg=90)
    both, wild_alone, calm_alone = showing(wild, NO_AUGMENTATION), showing(wild), showing(NO_AUGMENTATION)
    ending = both.ending(3)
    for step in (0, 2):
        np.testing.assert_array_equal(ending.batch(step).keypoints_px, wild_alone.batch(step).keypoints_px)
    for step in (3, 5):
        np.testing.assert_array_equal(ending.batch(step).keypoints_px, calm_alone.batch(step).keypoints_px)
    np.testing.assert_array_equal(both.batch(5).keypoints_px, wild_alone.batch(5).keypoints_px)


def test_crops_are_spoilt_alike_however_many_processes_share_them(people: CocoKeypoints) -> None:
    dataset = training_set(people, None, Augmentation(erase_probability=1, blur_probability=0.5))
    whole = Batches(dataset, 4).batch(1)
    parts = [Batches(dataset, 2, rank=rank, world_size=2).batch(1) for rank in (0, 1)]
    np.testing.assert_array_equal(whole.pixels, np.concatenate([part.pixels for part in parts]))
    plain = Batches(training_set(people, None, Augmentation()), 4).batch(1)
    np.testing.assert_array_equal(whole.keypoints_px, plain.keypoints_px)
    assert (whole.pixels != plain.pixels).any()
