"""What is loaded executes nothing, leads nowhere outside its folder, and cannot ask for terabytes."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluators import MeasureInputError, read_posetrack
from nas.data.coco import read_coco
from nas.data.images import read_image_bgr
from nas.stages.architectures import resolve_architecture
from nas.weights.files import load_network
from search_spaces import HeadChoices, InputError, PoseArchitecture, SearchSpace, get_space, published
from supernet import Supernet
from tests.coco_fixture import edit, write_folder
from tests.paths import REPO

ROOMS = ("search_spaces", "supernet", "evaluators", "nas", "scripts")

# What may stand in the code although it executes or unpickles what it is given, and why.
ALLOWED = {
    ("nas/data/synthetic/workers.py", "pickle.load"): "from processes of our own, through a pipe",
    ("nas/search/workers/pool.py", "cloudpickle.loads"): "what our driver has sent through Ray",
    ("nas/search/tune.py", "cloudpickle.loads"): "what our driver has sent through Ray",
    ("nas/finalists/tune.py", "cloudpickle.loads"): "what our driver has sent through Ray",
}
FORBIDDEN = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
UNPICKLING = {"load", "loads", "Unpickler"}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The dotted names of what a file calls."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def danger(name: str, call: ast.Call) -> bool:
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    module, _, function = name.rpartition(".")
    return (
        name in FORBIDDEN
        or (module in ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve") and function in UNPICKLING)
        or (name == "torch.load" and options.get("weights_only") != "True")
        or (name in ("np.load", "numpy.load") and options.get("allow_pickle", "False") != "False")
        or options.get("shell") == "True"
    )


def test_nothing_that_is_loaded_is_executed() -> None:
    found = set()
    for room in ROOMS:
        for path in sorted((REPO / room).rglob("*.py")):
            found |= {(str(path.relative_to(REPO)), name) for name, call in calls(path) if danger(name, call)}
    assert found == ALLOWED.keys()


@pytest.mark.parametrize(
    "code",
    [
        *("eval('1')", "pickle.loads(x)", "torch.load(x)", "torch.load(x, weights_only=False)", "yaml.load(x, L)"),
        *("np.load(x, allow_pickle=True)", "subprocess.run(x, shell=True)", "os.system(x)", "joblib.load(x)"),
    ],
)
def test_the_search_for_danger_finds_it(code: str, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(code)
    [(name, call)] = calls(tmp_path / "x.py")
    assert danger(name, call)


# Paths ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "a/../../b.png", "a\x00.png", "\ud800.png"])
def test_annotations_name_no_image_outside_their_folder(name: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, train_images=1, val_images=1)
    path = folder / "annotations" / "person_keypoints_val.json"
    edit(path, lambda document: document["images"][0].update(file_name=name))
    with pytest.raises(InputError, match="must be a path within the image folder"):
        read_coco(path, folder / "images")


@pytest.mark.parametrize("name", ["../../frames/1.jpg", "/frames/1.jpg"])
def test_sequences_name_no_frame_outside_their_folder(name: str, tmp_path: Path) -> None:
    from evaluators import POSETRACK_KEYPOINTS

    category = {"id": 1, "name": "person", "keypoints": list(POSETRACK_KEYPOINTS)}
    document = {"images": [{"id": 1, "file_name": name}], "annotations": [], "categories": [category]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(MeasureInputError, match="must be a path within"):
        read_posetrack(tmp_path / "a.json")


@pytest.mark.parametrize("end", ["../secret", "*", "a/b", ""])
def test_a_networks_id_is_no_path(end: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "architecture.json").write_text(json.dumps(published("s-vipnas-res50").to_json()))
    with pytest.raises(InputError, match="write the id of a network"):
        resolve_architecture(f"{tmp_path / 'run'}:{end}")


# Sizes ----------------------------------------------------------------------------------------------------------------


def architecture(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    value = json.loads(json.dumps(published("s-vipnas-res50").to_json()))
    change(value)
    return value


def wide_head(value: dict[str, Any]) -> None:
    value["head"].update(widths=[16384] * 8, groups=[1] * 8, kernel_sizes=[4] * 8)


def many_heatmaps(value: dict[str, Any]) -> None:
    value["head"].update(widths=[8] * 8, groups=[1] * 8, kernel_sizes=[4] * 8, keypoints=1024)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["stages"][3].update(width=16384, groups=1, depth=64), "billion weights"),
        (wide_head, "billion weights"),
        (lambda v: v.update(stages=v["stages"][:1] * 32, input_size=[4096, 4096]), "features of|multiplications"),
        (lambda v: v.update(input_size=[4096, 4096], stem={**v["stem"], "width": 4096}), "stem: its features"),
        (many_heatmaps, "features"),
        (lambda v: v.update(input_size=[10**9, 10**9]), "from 8 to"),
        (lambda v: v["stages"][0].update(depth=10**12), "from 1 to"),
    ],
)
def test_an_architecture_cannot_ask_for_terabytes(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    started = time.process_time()
    with pytest.raises(InputError, match=message):
        PoseArchitecture.from_json(architecture(change))
    assert time.process_time() - started < 1


def space_with(**stage: Any) -> dict[str, Any]:
    value = json.loads(json.dumps(get_space("resnet").to_json()))
    value["stages"][3].update(stage)
    return value


def test_the_storage_of_a_space_is_bounded_though_its_networks_are_small() -> None:
    """Grouped convolutions of a few channels each that share one dense weight: one of the widths has few groups."""
    stage = {"width": [8192], "groups": [4096], "depth": [4], "kernel_size": [7], "attention": [False]}
    space = SearchSpace.from_json(space_with(**stage))
    with pytest.raises(InputError, match="billion shared weights of grouped convolutions"):
        SearchSpace.from_json(space_with(**{**stage, "width": [8192, 8190], "groups": [4096, 3]}))
    with pytest.raises(InputError, match="its shared weights, which are stored without groups"):
        space.replace(head=HeadChoices(width=(16384,), groups=(32,), layers=1))


def test_a_space_with_thousands_of_choices_is_refused_at_once() -> None:
    started = time.process_time()
    many = list(range(8, 8 * 257, 8))
    value = space_with(width=many)
    value["stages"][2]["width"] = many
    with pytest.raises(InputError, match="combinations of its widths"):
        SearchSpace.from_json(value)
    assert time.process_time() - started < 2


def test_a_small_file_does_not_make_a_large_supernet(tmp_path: Path) -> None:
    from safetensors.torch import save

    header = {"format": "vipnas-supernet/1", "space": json.dumps(get_space("resnet").to_json()), "sharing": "{}"}
    (tmp_path / "s.safetensors").write_bytes(save({"a": torch.zeros(4)}, header))
    with pytest.raises(InputError, match="holds 4 numbers"):
        Supernet.load(tmp_path / "s.safetensors")


@pytest.mark.parametrize("length", [2**63, 10**12, 100])
def test_a_header_of_weights_that_promises_more_than_the_file_has(length: int, tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", length) + header)
    for read in (load_network, Supernet.load):
        with pytest.raises(InputError, match="damaged"):
            read(tmp_path / "x")


def test_yaml_that_grows_when_it_is_read(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)]
    (tmp_path / "s.yaml").write_text("\n".join([*lines, "name: *a19"]))
    with pytest.raises(InputError, match="aliases"):
        get_space(tmp_path / "s.yaml")


def test_an_image_that_says_it_has_a_billion_pixels(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\x00" * 1000))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(png)
    with pytest.raises(InputError, match="does not decode"):
        read_image_bgr(tmp_path / "bomb.png")


# Ports ----------------------------------------------------------------------------------------------------------------


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1 and ::1 as the kernel writes them."""


LISTENING = """
import json, os
from nas.search.workers.ray_session import RaySession
from tests.test_security import descendants, listening
with RaySession(cpus=1):
    import ray

    assert ray.get(ray.remote(lambda: 1).remote()) == 1  # a worker is up
    print(json.dumps([listening(descendants(os.getpid())), ray._private.worker._global_node.webui_url]))
"""


def test_a_local_search_listens_on_loopback_alone(quiet_ray: Path) -> None:
    """All sockets that a process, its Ray's and the workers' listen on; not this one, which had other tests."""
    words = [sys.executable, "-c", LISTENING]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, timeout=120, check=True)
    opened, dashboard = json.loads(done.stdout.splitlines()[-1])
    assert not dashboard
    assert len(opened) >= 2, "the store of the cluster's state, the node"
    assert set(opened) <= LOOPBACK


def descendants(root: int) -> set[int]:
    """This process, its children, theirs, …"""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    found = {root}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening(processes: set[int]) -> list[str]:
    """The addresses of these processes' listening TCP sockets, as the kernel writes them."""
    owned = set()
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").glob("*"):
            with contextlib.suppress(OSError):
                owned.add(os.readlink(descriptor))
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    return [line[1].split(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in owned]
