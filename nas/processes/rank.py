"""Which of several processes this one is, without torch."""

from __future__ import annotations

import os

__all__ = ["is_first_process"]


def is_first_process() -> bool:
    """Whether this process writes and prints, where torchrun or srun started several."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0
