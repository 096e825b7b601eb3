"""Whatever lies in a file: a reader reads it, or refuses it as a user's mistake; it never fails otherwise or hangs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evaluators import CocoKeypointAP, PoseTrackFrame, posetrack_per_joint, read_posetrack, write_posetrack
from nas.config import load_config
from nas.data.coco import read_coco
from nas.data.coco_check import check_annotations
from nas.data.coco_folder import find_images_folder, first_file_name
from nas.data.images import read_image_bgr
from nas.data.instances import stack_instances
from nas.data.posetrack import read_posetrack_videos
from nas.data.posetrack_check import check_posetrack
from nas.latency import LatencyConfig, LatencyMeter, LatencyTable
from nas.latency.published import measure_published, read_published
from nas.predict.boxes import BoxFile
from nas.predict.frames import FrameSource, open_frames
from nas.run.folder import RunFolder, read_json_lines
from nas.search.record.journal import Journal, read_journal
from nas.search.record.resume import read_snapshot, recorded_identity
from nas.training.checkpoint import load_checkpoint, save_checkpoint
from nas.weights.files import load_network, save_network
from nas.weights.mmpose import read_checkpoint
from search_spaces import PoseArchitecture, SearchSpace, get_space, published
from search_spaces.complexity import count
from supernet import PoseNet, Supernet
from tests.coco_fixture import write_folder
from tests.fuzzing import damaged_bytes, damaged_json, fuzzed, reads_or_refuses
from tests.paths import REPO
from tests.training_fixture import small_space

TINY = get_space("resnet-tiny")
NARROW = small_space()


@pytest.mark.parametrize("name", ["s-vipnas-res50", "s-vipnas-mobilenetv3"])
def test_architecture_files(name: str, tmp_path: Path) -> None:
    @fuzzed(100)
    @given(damaged_json(published(name).to_json()))
    def holds(data: bytes) -> None:
        (tmp_path / "a.json").write_bytes(data)
        reads_or_refuses(lambda: count(PoseArchitecture.load(tmp_path / "a.json")))

    holds()


@pytest.mark.parametrize("name", ["resnet-tiny", "mobilenetv3"])
def test_space_files(name: str, tmp_path: Path) -> None:
    def use(path: Path) -> None:
        space = get_space(path)
        space.encode(space.sample(np.random.default_rng(0)))
        assert space.size > 0
        assert SearchSpace.from_json(space.to_json()) == space

    @fuzzed(25)
    @given(damaged_json(get_space(name).to_json()), st.sampled_from(("s.json", "s.yaml")))
    def holds(data: bytes, file_name: str) -> None:
        (tmp_path / file_name).write_bytes(data)
        reads_or_refuses(lambda: use(tmp_path / file_name))
        reads_or_refuses(lambda: SearchSpace.load(tmp_path / file_name))

    holds()


def test_configuration_files(tmp_path: Path) -> None:
    text = (REPO / "configs" / "quickstart.yaml").read_bytes()
    words = st.text(max_size=60).map(lambda word: word.encode(errors="replace"))

    @fuzzed(100)
    @given(damaged_bytes(text) | st.binary(max_size=60) | words)
    def holds(data: bytes) -> None:
        (tmp_path / "c.yaml").write_bytes(data)
        reads_or_refuses(lambda: load_config(tmp_path / "c.yaml"))
        reads_or_refuses(lambda: get_space(tmp_path / "c.yaml"))

    holds()


def test_configuration_values(tmp_path: Path) -> None:
    document = {
        "seed": 1, "minutes": 3, "space": "resnet-tiny", "data": {"folder": "x", "sigma": 2.0},
        "train": {"minutes": 1, "batch_size": 8}, "search": {"objectives": ["ap"], "constraints": ["macs <= 1e6"]},
        "retrain": {"milestones": [0.5], "validation": {"flip_test": True}},
    }  # fmt: skip

    @fuzzed(100)
    @given(damaged_json(document))
    def holds(data: bytes) -> None:
        (tmp_path / "c.yaml").write_bytes(data)
        reads_or_refuses(lambda: load_config(tmp_path / "c.yaml"))

    holds()


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("coco"), train_images=1, val_images=2)


def test_coco_annotations(coco: Path, tmp_path: Path) -> None:
    document = json.loads((coco / "annotations" / "person_keypoints_val.json").read_text())

    def use(path: Path) -> None:
        people = read_coco(path, coco / "images")
        stack_instances(people.instances)
        CocoKeypointAP(people.ground_truth, people.sigmas).evaluate([])

    @fuzzed(150)
    @given(damaged_json(document))
    def holds(data: bytes) -> None:
        path = tmp_path / "a.json"
        path.write_bytes(data)
        reads_or_refuses(lambda: use(path))
        reads_or_refuses(lambda: CocoKeypointAP(path).evaluate([]))
        check_annotations(path, coco / "images", decode_images=False)

    holds()


def several_kinds(document: dict[str, Any]) -> dict[str, Any]:
    """Two categories with the same keypoints and one without, of whom each has somebody."""
    person = document["categories"][0]
    document["categories"] = [{**person, "id": 0, "name": "cat"}, {**person, "id": 5}, {"id": 2, "name": "ball"}]
    for number, annotation in enumerate(document["annotations"]):
        annotation["category_id"] = (0, 5, 2)[number % 3]
    return document


def test_categories_and_names_of_files(coco: Path, tmp_path: Path) -> None:
    document = several_kinds(json.loads((coco / "annotations" / "person_keypoints_val.json").read_text()))
    wanted = st.sampled_from((None, 0, "0", 5, "person", "CAT", "ball", "", " ", -1, "9" * 5000))
    begin = st.sampled_from((b"", b"\xef\xbb\xbf", b" \n"))

    @fuzzed(150)
    @given(damaged_json(document), wanted, begin)
    def holds(data: bytes, category: str | int | None, begin: bytes) -> None:
        path = tmp_path / "a.json"
        path.write_bytes(begin + data.replace(b"/", b"\\/"))
        name = first_file_name(path)
        assert name is None or isinstance(name, str)
        reads_or_refuses(lambda: find_images_folder(coco, path, "val"))
        reads_or_refuses(lambda: stack_instances(read_coco(path, coco / "images", category=category).instances))
        reads_or_refuses(lambda: BoxFile(path, frames, category=category))
        check_annotations(path, coco / "images", decode_images=False, category=category)

    frames = FrameSource(kind="video", name="v", fps=25, length=3)
    holds()


def test_boxes_to_predict_in(coco: Path, tmp_path: Path) -> None:
    truth = json.loads((coco / "annotations" / "person_keypoints_val.json").read_text())
    places = [annotation["bbox"] for annotation in truth["annotations"]]
    boxes = [{"image_id": n, "category_id": 1, "bbox": box, "score": 0.5} for n, box in enumerate(places)]
    source = open_frames(str(coco / "images"))
    frames = list(source)

    def use(path: Path) -> None:
        found = BoxFile(path, source)
        for frame in frames:
            assert np.isfinite(found(frame).bbox_xywh).all()
            json.dumps(found.image_id(frame))

    @fuzzed(150)
    @given(damaged_json(boxes) | damaged_json(truth))
    def holds(data: bytes) -> None:
        (tmp_path / "b.json").write_bytes(data)
        reads_or_refuses(lambda: use(tmp_path / "b.json"))

    holds()


def test_detections(coco: Path, tmp_path: Path) -> None:
    annotations = coco / "annotations" / "person_keypoints_val.json"
    truth = json.loads(annotations.read_text())
    people = truth["annotations"]
    boxes = [{"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": 0.5} for a in people]
    poses = [{**box, "keypoints": a["keypoints"]} for box, a in zip(boxes, people, strict=True)]
    ap = CocoKeypointAP(annotations)

    @fuzzed(150)
    @given(damaged_json(boxes), damaged_json(poses))
    def holds(data: bytes, results: bytes) -> None:
        path = tmp_path / "d.json"
        path.write_bytes(data)
        reads_or_refuses(lambda: stack_instances(read_coco(annotations, coco / "images", path).instances))
        try:
            parsed = json.loads(results)
        except (ValueError, RecursionError):
            return
        reads_or_refuses(lambda: ap.evaluate(parsed))

    holds()


def test_posetrack_sequences(tmp_path: Path) -> None:
    frames = []
    for number in range(2):
        points = np.dstack([np.arange(34.0).reshape(2, 17), np.arange(34.0).reshape(2, 17) * 2, np.ones((2, 17))])
        frames.append(
            PoseTrackFrame(
                image_id=number, file_name=f"images/val/a/{number:06d}.jpg", keypoints_px=points,
                track_ids=np.arange(2), scores=np.ones((2, 17)), bboxes_xywh=np.ones((2, 4)) * 9,
                head_bboxes_xywh=np.ones((2, 4)) * 5, ignore_regions=(np.eye(3, 2) * 9,),
            )
        )  # fmt: skip
    for folder in ("truth", "found"):
        write_posetrack(tmp_path / folder / "a.json", frames)
    for frame in frames:
        (tmp_path / frame.file_name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / frame.file_name), np.zeros((80, 80, 3), np.uint8))
    boxes = [{"image_id": n % 2, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5} for n in range(4)]
    document = json.loads((tmp_path / "truth" / "a.json").read_text())
    assert posetrack_per_joint(tmp_path / "truth", tmp_path / "found")["AP"]

    @fuzzed(100)
    @given(damaged_json(document), st.sampled_from(("truth", "found")), damaged_json(boxes))
    def holds(data: bytes, folder: str, detections: bytes) -> None:
        path = tmp_path / folder / "a.json"
        good = path.read_bytes()
        path.write_bytes(data)
        reads_or_refuses(lambda: read_posetrack(path))
        (tmp_path / "d.json").write_bytes(detections)
        for file in (None, tmp_path / "d.json"):
            reads_or_refuses(lambda file=file: read_posetrack_videos(path, tmp_path, file).people)  # type: ignore[misc]
        check_posetrack(path, decode_images=False)
        with np.errstate(all="ignore"):
            reads_or_refuses(lambda: posetrack_per_joint(tmp_path / "truth", tmp_path / "found"))
        path.write_bytes(good)

    holds()


def test_weights_files(tmp_path: Path) -> None:
    net = PoseNet(NARROW.smallest())
    save_network(tmp_path / "good.safetensors", net)
    Supernet(NARROW).save(tmp_path / "super.safetensors")
    good = (tmp_path / "good.safetensors").read_bytes()
    store = (tmp_path / "super.safetensors").read_bytes()
    path = tmp_path / "x.safetensors"

    def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
        end = 8 + int.from_bytes(data[:8], "little")
        return json.loads(data[8:end]), data[end:]

    @fuzzed(60)
    @given(st.data())
    def holds(draw: st.DataObject) -> None:
        whole = draw.draw(st.sampled_from((good, store)))
        header, tensors = parts(whole)
        if draw.draw(st.booleans()):
            damaged = draw.draw(damaged_json(header))
            data = len(damaged).to_bytes(8, "little") + damaged + tensors
        else:
            data = draw.draw(damaged_bytes(whole))
        path.write_bytes(data)
        reads_or_refuses(lambda: load_network(path))
        reads_or_refuses(lambda: Supernet.load(path))

    holds()


@pytest.mark.parametrize("key", ["architecture", "space", "sharing"])
def test_what_stands_in_the_header_of_weights(key: str, tmp_path: Path) -> None:
    from safetensors.torch import save

    values = {"architecture": NARROW.smallest().to_json(), "space": NARROW.to_json(), "sharing": {"groups": "diagonal"}}

    @fuzzed(40)
    @given(damaged_json(values[key]))
    def holds(data: bytes) -> None:
        for kind, read in (("network", load_network), ("supernet", Supernet.load)):
            header = {"format": f"vipnas-{kind}/1", **{name: json.dumps(value) for name, value in values.items()}}
            header[key] = data.decode(errors="replace")
            (tmp_path / "x").write_bytes(save({"a": torch.zeros(1)}, header))
            reads_or_refuses(lambda read=read: read(tmp_path / "x"))  # type: ignore[misc]

    holds()


def test_journals_and_run_files(tmp_path: Path) -> None:
    record = {
        "number": 0, "id": TINY.smallest().id, "architecture": TINY.smallest().to_json(), "status": "complete",
        "objectives": {"ap": 0.1, "latency_ms": 2.0}, "reason": None, "elapsed_s": 1.0,
    }  # fmt: skip
    front = {"format": "vipnas-pareto/1", "front": [record], "fingerprint": {"a": 1}}
    snapshot = {"format": "vipnas-search/1", "records": 1, "bytes": 9, "settings": {}, "search": {}, "identity": {}}
    run = RunFolder(tmp_path)

    @fuzzed(100)
    @given(damaged_json(record), damaged_json(front), damaged_json(snapshot))
    def holds(line: bytes, pareto: bytes, state: bytes) -> None:
        run.journal.write_bytes(line + b"\n" + line)
        run.front.write_bytes(pareto)
        (tmp_path / "search_state.json").write_bytes(state)
        reads_or_refuses(lambda: list(read_journal(run.journal)))
        reads_or_refuses(lambda: Journal(run.journal).close())
        reads_or_refuses(run.load_front)
        read_snapshot(tmp_path / "search_state.json")
        recorded_identity(tmp_path)
        assert all(isinstance(one, dict) for one in read_json_lines(run.journal))

    holds()


def test_latency_tables(tmp_path: Path) -> None:
    machine = {
        "cpu": "c", "flags": ["avx"], "cores": 1, "system": "s", "runtime": "torch", "runtime_version": "1",
        "precision": "fp32", "threads": 1,
    }  # fmt: skip
    table = {
        "format": "vipnas-latency-table/2", "space": "s", "fingerprint": machine, "batch": 1, "reference_ms": 1.0,
        "fit": {"slope": 1.0, "constant_ms": 0.0}, "measured": 1, "blocks": {"b": 1.0},
    }  # fmt: skip
    path = tmp_path / "t.json"
    path.write_text(json.dumps(table))
    assert LatencyTable.load(path).blocks == {"b": 1.0}

    @fuzzed(80)
    @given(damaged_json(table))
    def holds(data: bytes) -> None:
        path.write_bytes(data)
        reads_or_refuses(lambda: str(LatencyTable.load(path)))

    holds()


def test_published_latencies(tmp_path: Path) -> None:
    run, meter = RunFolder(tmp_path), LatencyMeter(LatencyConfig())
    value = {"latency_ms": 1.0, "spread_ms": 0.1}
    measure_published(run, TINY, meter.fingerprint, 1, lambda networks: [value for _ in networks])
    content = json.loads(run.published.read_text())

    @fuzzed(80)
    @given(damaged_json(content))
    def holds(data: bytes) -> None:
        run.published.write_bytes(data)
        reads_or_refuses(lambda: str(getattr(read_published(run), "fingerprint", "")))

    holds()


def test_checkpoints(tmp_path: Path) -> None:
    identity = {"kind": "test"}
    save_checkpoint(tmp_path / "c.pt", identity, {"weights": torch.arange(8.0)})
    good = (tmp_path / "c.pt").read_bytes()

    @fuzzed(60)
    @given(damaged_bytes(good))
    def holds(data: bytes) -> None:
        (tmp_path / "c.pt").write_bytes(data)
        reads_or_refuses(lambda: load_checkpoint(tmp_path / "c.pt", identity))
        reads_or_refuses(lambda: read_checkpoint(tmp_path / "c.pt"))

    holds()


def test_images(coco: Path, tmp_path: Path) -> None:
    good = next((coco / "images").iterdir()).read_bytes()

    @fuzzed(60)
    @given(damaged_bytes(good))
    def holds(data: bytes) -> None:
        (tmp_path / "i.png").write_bytes(data)
        reads_or_refuses(lambda: read_image_bgr(tmp_path / "i.png"))

    holds()
