"""What a search has said of networks, for reports."""

from __future__ import annotations

from typing import Any

import numpy as np

from search_spaces import get_space

SPACE = get_space("resnet-tiny")


def record(number: int, ap: float, latency_ms: float, **fields: Any) -> dict[str, Any]:
    architecture = SPACE.sample(np.random.default_rng(number))
    return {
        "number": number,
        "id": architecture.id,
        "architecture": architecture.to_json(),
        "objectives": {"ap": ap, "latency_ms": latency_ms},
        "status": "complete",
        **fields,
    }
