"""The crop cache: right pixels, built once, never half, built again when damaged; real processes and signals."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluators.errors import MeasureInputError
from nas.data import build_once as build_once_module
from nas.data.build_once import build_once, content_key, damage_of
from nas.data.cache import CropCache
from nas.data.coco import CocoKeypoints, read_coco
from nas.data.codecs import Codec, CodecName
from nas.data.config import DataConfig
from nas.data.pose_data import cache_folder
from nas.data.tensors import IMAGE_MEAN, IMAGE_STD, to_tensor
from search_spaces.errors import InputError
from tests.coco_fixture import DISC_RADIUS, disc_center, write_part
from tests.paths import REPO

CODEC = Codec.of("gaussian", (128, 96))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> CocoKeypoints:
    folder = tmp_path_factory.mktemp("coco")
    return read_coco(write_part(folder, "val", images=4, seed=2), folder / "images")


@pytest.mark.parametrize("name", ["gaussian", "udp"])
def test_each_keypoint_lies_where_its_disc_is_seen_and_comes_back_to_its_place(
    people: CocoKeypoints, tmp_path: Path, name: CodecName
) -> None:
    codec = Codec.of(name, (256, 192))
    cache = CropCache.build(tmp_path, people.instances, codec)
    in_crop = cache.keypoints_input_px()
    checked = 0
    for i, image in enumerate(cache.images()):
        for k in np.flatnonzero(cache.instances.visibility[i]):
            seen = disc_center(image, int(k), in_crop[i, k])
            assert seen is not None
            # Half a pixel of warp convention, and the disc's own pixels.
            assert np.abs(seen - in_crop[i, k]).max() < 1.0
            checked += 1
    assert checked > 50
    np.testing.assert_allclose(cache.to_image_px(in_crop), cache.instances.keypoints_px, atol=1e-2)
    assert cache.input_size == (256, 192)
    assert DISC_RADIUS > 2  # or the discs could not be told from noise


def test_tensors_are_normalised_rgb_channels_last(people: CocoKeypoints, tmp_path: Path) -> None:
    cache = CropCache.build(tmp_path, people.instances, CODEC)
    tensor = cache.tensor([3, 1])
    assert tensor.shape == (2, 3, 128, 96)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    expected = (cache.images([3, 1]) - np.array(IMAGE_MEAN)) / np.array(IMAGE_STD)
    np.testing.assert_allclose(tensor.numpy().transpose(0, 2, 3, 1), expected, atol=1e-5)
    torch.testing.assert_close(to_tensor(torch.from_numpy(cache.images([3, 1]))), tensor)
    with pytest.raises(ValueError, match="read-only"):
        cache.images(slice(0, 1))[0, 0, 0, 0] = 1


def test_it_is_built_once_and_pickles_as_a_path(
    people: CocoKeypoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = CropCache.build(tmp_path, people.instances, CODEC)
    monkeypatch.setattr("nas.data.crop_files.read_image_bgr", lambda path: pytest.fail("decoded again"))
    again = CropCache.build(tmp_path, people.instances, CODEC)
    assert again.path == cache.path
    copy = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(copy.images(), cache.images())
    np.testing.assert_array_equal(copy.instances.keypoints_px, cache.instances.keypoints_px)
    assert len(pickle.dumps(cache)) < 1000


def test_whatever_makes_a_difference_makes_another_entry(people: CocoKeypoints, tmp_path: Path) -> None:
    def path(instances: object = people.instances, codec: Codec = CODEC, padding: float = 1.25) -> Path:
        return CropCache.build(tmp_path, instances, codec, padding=padding).path  # type: ignore[arg-type]

    first = people.instances[0].file
    entries = [
        path(),
        path(people.instances[1:]),
        path(people.instances[::-1]),
        path(padding=1.3),
        path(codec=Codec.of("udp", (128, 96))),
        path(codec=Codec.of("gaussian", (64, 48))),
    ]
    assert path(codec=Codec.of("dark", (128, 96))) == entries[0]  # the same crops
    status = first.stat()
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    entries.append(path())
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(set(entries)) == len(entries)


def damage_truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(1000)


def damage_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["crops.bin", "instances.npz", "manifest.json"])
@pytest.mark.parametrize("damage", [damage_truncate, damage_byte, Path.unlink])
def test_a_damaged_cache_is_built_again_with_a_warning(
    people: CocoKeypoints, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: object
) -> None:
    if name == "manifest.json" and damage is not Path.unlink:
        damage = lambda path: path.write_text("{")  # noqa: E731
    cache = CropCache.build(tmp_path, people.instances, CODEC)
    images = cache.images().copy()
    damage(cache.path / name)  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        again = CropCache.build(tmp_path, people.instances, CODEC)
    assert "damaged" in caplog.text
    np.testing.assert_array_equal(again.images(), images)
    assert damage_of(again.path) is None


def test_a_copied_cache_is_checked_by_its_content_and_not_built_again(people: CocoKeypoints, tmp_path: Path) -> None:
    cache = CropCache.build(tmp_path, people.instances, CODEC)
    os.utime(cache.path / "crops.bin", ns=(1, 1))
    assert damage_of(cache.path) is None


def test_an_image_that_does_not_decode_is_named_and_nothing_is_left(people: CocoKeypoints, tmp_path: Path) -> None:
    file = people.instances[0].file
    content = file.read_bytes()
    try:
        file.write_bytes(b"no image")
        with pytest.raises(InputError, match=rf"{file.name}: the image does not decode"):
            CropCache.build(tmp_path, people.instances, CODEC)
        file.write_bytes(b"")
        with pytest.raises(InputError, match="does not decode"):
            CropCache.build(tmp_path, people.instances, CODEC)
    finally:
        file.write_bytes(content)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with pytest.raises(InputError, match="no person instances"):
        CropCache.build(tmp_path, [], CODEC)


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_full_disk_is_an_os_error_and_nothing_is_left(people: CocoKeypoints, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the same write fails, with another number."""
    code = """
        import resource, signal, sys
        from pathlib import Path
        from nas.data.build_once import build_once
        from nas.data.cache import CropCache
        from nas.data.coco import read_coco
        from nas.data.codecs import Codec
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        annotations, cache = map(Path, sys.argv[1:])
        people = read_coco(annotations, annotations.parent.parent / "images")
        try:
            CropCache.build(cache, people.instances, Codec.of("gaussian", (128, 96)))
        except OSError as error:
            print(type(error).__name__, error.errno)
        """
    annotations = people.images.parent / "annotations/person_keypoints_val.json"
    out, err = run_python(code, annotations, tmp_path).communicate(timeout=60)
    assert out.split() == ["OSError", "27"], err  # EFBIG
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_killed_builder_leaves_no_entry_and_no_lock_and_the_next_one_clears_up(tmp_path: Path) -> None:
    code = """
        import sys, time
        from pathlib import Path
        from nas.data.build_once import build_once
        def build(folder):
            (folder / "part").write_bytes(b"x" * 1000)
            print("building", flush=True)
            time.sleep(60)
        build_once(Path(sys.argv[1]), "key", build)
        """
    process = run_python(code, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "key").exists()
    assert list(tmp_path.glob(".building-*"))
    entry = build_once(tmp_path, "key", lambda folder: (folder / "whole").touch())
    assert {path.name for path in entry.iterdir()} == {"whole", "manifest.json"}
    assert not list(tmp_path.glob(".building-*"))


def test_of_several_processes_one_builds_and_the_others_wait(tmp_path: Path) -> None:
    code = """
        import os, sys, time
        from pathlib import Path
        from nas.data.build_once import build_once
        def build(folder):
            (folder / "builder").write_text(str(os.getpid()))
            time.sleep(1)
        print((build_once(Path(sys.argv[1]), "key", build) / "builder").read_text())
        """
    processes = [run_python(code, tmp_path) for _ in range(3)]
    builders = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert builders[0] in [str(process.pid) for process in processes]
    assert builders == [builders[0]] * 3


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "part").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(tmp_path, "key", build)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_home_that_cannot_be_written_is_named_as_the_place_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("a file")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = cache_folder(DataConfig())
    with pytest.raises(InputError, match=r"the cache cannot be kept there \(Not a directory\).*--data.cache"):
        build_once(folder, "key", lambda entry: None)
    monkeypatch.setattr(build_once_module.os, "access", lambda *_: False)
    with pytest.raises(InputError, match=r"Permission denied.*XDG_CACHE_HOME"):
        build_once(tmp_path / "cache", "key", lambda entry: None)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(MeasureInputError, match="XDG_CACHE_HOME"):
        cache_folder(DataConfig())


def test_an_intact_entry_needs_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a cache on a read-only disk works."""
    build_once(tmp_path, "key", lambda folder: None)
    monkeypatch.setattr(build_once_module, "_locked", lambda path: pytest.fail("locked"))
    build_once(tmp_path, "key", lambda folder: None)


def test_keys_tell_apart_what_joins_to_the_same_bytes() -> None:
    keys = [content_key("ab", "c"), content_key("a", "bc"), content_key("abc"), content_key(b"abc", "")]
    keys += [content_key(np.zeros(4)), content_key(np.zeros((2, 2))), content_key(np.zeros(4, np.int64))]
    assert len(set(keys)) == len(keys)
