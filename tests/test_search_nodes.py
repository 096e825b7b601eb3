"""A cluster of two nodes on this machine, of which one is killed in the middle of its candidates and comes back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.search.config import SearchConfig
from nas.search.driver import run_search
from nas.search.loop import SearchProgress
from nas.search.record.journal import read_journal

from .search_toys import ToyArchitecture, ToyFactory, ToySpace

SPACE = ToySpace()


@pytest.fixture
def cluster(quiet_ray: Path) -> Iterator[Any]:
    """The head, with room for one worker, on the loopback."""
    import ray
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=options)
    try:
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@dataclass(frozen=True)
class NodeFactory(ToyFactory):
    """Tells on which node an evaluation was made, and notes when one begins."""

    begun: Path = Path()

    def evaluate(self, architecture: ToyArchitecture) -> dict[str, Any]:
        import ray

        node = ray.get_runtime_context().get_node_id()
        with self.begun.open("a") as file:
            file.write(f"{architecture.id} {node} {os.getpid()}\n")
        return super().evaluate(architecture) | {"node": node}


@pytest.mark.slow
def test_a_node_that_is_killed_costs_nothing_and_may_come_back(cluster: Any, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    cluster.wait_for_nodes()
    begun, run = tmp_path / "begun", tmp_path / "run"
    events: list[tuple[str, int]] = []

    def disturb(progress: SearchProgress) -> None:
        if progress.evaluations >= 10 and not events:
            events.append(("killed", progress.evaluations))
            cluster.remove_node(second, allow_graceful=False)
        elif events and len(events) == 1 and progress.evaluations >= events[0][1] + 20:
            events.append(("added", progress.evaluations))
            cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)

    config = SearchConfig(workers=2, evaluations=250, timeout_s=120.0)
    rng = np.random.default_rng(0)
    result = run_search(SPACE, NodeFactory(delay_s=0.1, begun=begun), config, run, rng=rng, progress=disturb)
    records = list(read_journal(run / "evaluations.jsonl"))
    assert [name for name, _ in events] == ["killed", "added"]
    assert sorted(record["number"] for record in records) == list(range(250))
    assert result.counts == {"complete": 250}, "no candidate is blamed for its node"
    nodes = list(dict.fromkeys(record["node"] for record in records))
    assert len(nodes) == 3, "the head, the node that was killed, the node that came"
    attempts = [line.split()[0] for line in begun.read_text().splitlines()]
    assert len(attempts) - len(set(attempts)) == 1, "the candidate that the node had in hand was evaluated once more"
