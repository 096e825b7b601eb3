"""What a search has said of networks, made up."""

from __future__ import annotations

from typing import Any

import numpy as np

from search_spaces import PoseArchitecture, SearchSpace


def record(architecture: PoseArchitecture, ap: float, latency: float, **more: Any) -> dict[str, Any]:
    objectives = {"ap": ap, "latency_ms": latency}
    return {"id": architecture.id, "architecture": architecture.to_json(), "objectives": objectives,
            "status": "complete", **more}  # fmt: skip


def some_networks(space: SearchSpace, count: int) -> list[PoseArchitecture]:
    found = {space.sample(np.random.default_rng(seed)) for seed in range(60)}
    return sorted(found, key=lambda architecture: architecture.id)[:count]
