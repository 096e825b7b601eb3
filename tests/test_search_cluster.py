"""A search on several nodes: files reach a node once, nodes join and leave, latency is measured where it may be."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.latency import LatencyConfig, LatencyMeter
from nas.run.folder import RunFolder
from nas.search import session
from nas.search.candidates.config import CandidateConfig
from nas.search.config import SearchConfig
from nas.search.driver import run_search
from nas.search.loop import SearchProgress
from nas.search.record.journal import read_journal
from nas.search.workers.cluster_latency import latencies_in_slot, slot_fingerprint
from nas.search.workers.node_files import FilesMissing, NodeFiles, fetching
from nas.search.workers.ray_session import LATENCY_SLOT, RaySession
from search_spaces import InputError, get_space
from supernet import Supernet
from tests.search_toys import ToyArchitecture, ToyFactory, ToySpace
from tests.training_fixture import pose_data, small_space


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodeFiles:
    """Two files of a driver, and a cache folder of this node's."""
    monkeypatch.setenv("VIPNAS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver" / "a.bin").write_bytes(b"first")
    (tmp_path / "driver" / "b.bin").write_bytes(b"second")
    return NodeFiles.of(tmp_path / "driver", ["a.bin", "b.bin"])


def test_files_that_a_node_sees_are_read_where_they_are(files: NodeFiles, tmp_path: Path) -> None:
    assert files.here() == tmp_path / "driver"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("change", ["absent", "other content"])
def test_other_files_are_fetched_once_and_found_again(
    files: NodeFiles, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    gotten: list[bytes] = []

    def get(reference: bytes) -> Any:
        gotten.append(reference)
        return np.frombuffer(reference, dtype=np.uint8)

    monkeypatch.setattr(ray, "get", get)
    bytes_of = {digest: path.read_bytes() for digest, path in files.paths.items()}
    if change == "absent":
        files = replace(files, folder=tmp_path / "nowhere")
    else:
        (tmp_path / "driver" / "b.bin").write_bytes(b"SECOND")
    with pytest.raises(FilesMissing) as missing:
        files.here()
    assert set(missing.value.digests) == set(bytes_of)
    with fetching(bytes_of):
        folder = files.here()
    assert folder.is_relative_to(tmp_path / "cache")
    assert [(folder / name).read_bytes() for name in ("a.bin", "b.bin")] == [b"first", b"second"]
    assert files.here() == folder
    assert sorted(gotten) == [b"first", b"second"]
    (folder / "a.bin").write_bytes(b"FIRST")  # of the same size
    with pytest.raises(FilesMissing):
        files.here()
    with fetching(bytes_of):
        assert (files.here() / "a.bin").read_bytes() == b"first"


def test_a_candidate_is_judged_the_same_from_files_that_were_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setenv("VIPNAS_CACHE", str(tmp_path / "node"))
    monkeypatch.setattr(ray, "get", lambda path: np.fromfile(path, dtype=np.uint8))
    space, data, run = small_space(), pose_data(tmp_path / "coco"), RunFolder(tmp_path / "run")
    Supernet(space).save(run.supernet)
    config = CandidateConfig(persons=6, calibration_crops=4, precision="float32")
    factory = session.candidate_factory(space, data, config, run, session.Costs(), ("macs",), "cpu")
    moved, files = factory.portable()
    kept = {}
    for digest, path in files.items():
        kept[digest] = (tmp_path / "driver" / digest).with_suffix(path.suffix)
        kept[digest].parent.mkdir(exist_ok=True)
        path.rename(kept[digest])
    with pytest.raises(FilesMissing) as missing:
        moved()
    assert set(missing.value.digests) == kept.keys()
    with fetching(kept):
        evaluate = moved()
    record = evaluate(space.smallest())
    assert record["status"] == "complete"
    assert evaluate.people.crops.path.is_relative_to(tmp_path / "node")


@dataclass(frozen=True)
class FileReadingFactory:
    """Evaluates toys; its file is on the driver's disk alone, as far as the workers are concerned."""

    path: Path
    files: NodeFiles | None = None

    def portable(self) -> tuple[FileReadingFactory, dict[str, Path]]:
        files = NodeFiles.of(self.path.parent, [self.path.name])
        return replace(self, files=replace(files, folder=Path("/nowhere"))), files.paths

    def __call__(self) -> Callable[[ToyArchitecture], dict[str, Any]]:
        import ray

        assert self.files is not None
        content = (self.files.here() / self.path.name).read_text()
        node = ray.get_runtime_context().get_node_id()
        evaluate = ToyFactory(delay_s=0.1)()
        return lambda architecture: {**evaluate(architecture), "content": content, "node": node}


def node_of_slot() -> Any:
    import ray

    node = ray.get_runtime_context().get_node_id()
    return lambda architectures: [{"latency_ms": 1.0, "node": node} for _ in architectures]


@pytest.mark.slow
def test_nodes_join_and_leave_while_a_search_goes_on(quiet_ray: Path, tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    weights = tmp_path / "driver" / "weights.bin"
    weights.parent.mkdir()
    weights.write_text("inherited")
    small = {"object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    added: list[Any] = []

    def add(**options: Any) -> Any:
        cache = {"VIPNAS_CACHE": str(tmp_path / f"cache{len(added)}")}
        added.append(cluster.add_node(num_cpus=1, env_vars=cache, object_store_memory=100 << 20, **options))
        return added[-1]

    def change_nodes(progress: SearchProgress) -> None:
        records = list(read_journal(tmp_path / "run" / "evaluations.jsonl"))
        if progress.evaluations >= 20 and len(added) == 1:
            add(resources={LATENCY_SLOT: 1})
        elif len(added) == 2 and len({record["node"] for record in records}) == 2:
            cluster.remove_node(added[0], allow_graceful=False)
            added.append(None)

    try:
        with RaySession(cluster.address):
            with pytest.raises(InputError, match="no node of the cluster has a latency slot"):
                slot_fingerprint(LatencyConfig())
            add()
            config = SearchConfig(workers=3, evaluations=250, ray_address=cluster.address)
            run_search(
                ToySpace(), FileReadingFactory(weights), config, tmp_path / "run", rng=np.random.default_rng(0),
                progress=change_nodes, measure=lambda: node_of_slot(),
            )  # fmt: skip
            fingerprint = slot_fingerprint(LatencyConfig(rounds=1))
            assert fingerprint == LatencyMeter(LatencyConfig()).fingerprint
            tiny = get_space("resnet-tiny").smallest()
            assert sum(latencies_in_slot(LatencyConfig(rounds=1), fingerprint, tiny)) > 0
    finally:
        cluster.shutdown()
    records = list(read_journal(tmp_path / "run" / "evaluations.jsonl"))
    assert len(added) == 3, "a node joined, worked, and another one left"
    assert sorted(record["number"] for record in records) == list(range(250))
    assert {record["status"] for record in records} == {"complete"}
    assert {record["content"] for record in records} == {"inherited"}
    first, second = dict.fromkeys(record["node"] for record in records)
    assert records[0]["node"] == first
    assert records[-1]["node"] == second
    for number in range(2):
        [entry] = [path for path in (tmp_path / f"cache{number}" / "nodes").iterdir() if path.is_dir()]
        assert (entry / "weights.bin").read_text() == "inherited"
    front = (tmp_path / "run" / "pareto.json").read_text()
    assert second in front
    assert first not in front.replace(f'"node": "{first}"', ""), "the front is measured in the slot"


def test_the_evaluation_environment_of_other_nodes_is_their_own(quiet_ray: Path) -> None:
    """Nothing of the driver's home folder goes to a cluster's workers."""
    from nas.search.workers.pool import EvaluationPool

    with RaySession(cpus=1) as ray_session:
        assert ray_session.is_local
        pool = EvaluationPool(ToyFactory(), ray_session, workers=0)
        assert pool._environment["HOME"] == os.environ["HOME"]
        RaySession._local_is_running = False
        assert "HOME" not in EvaluationPool(ToyFactory(), ray_session, workers=0)._environment
