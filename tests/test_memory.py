"""Freed memory that stays with the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from nas.processes.memory import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    print(-1)
    raise SystemExit
for step in range(12):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.ones(3 << 20) for _ in range(4)]  # 24 MiB each
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_a_step_finds_the_memory_of_the_step_before() -> None:
    tuned = ("GLIBC_TUNABLES", "LD_PRELOAD")
    plain = {name: v for name, v in os.environ.items() if not name.startswith("MALLOC_") and name not in tuned}

    def count(how: str) -> int:
        command = [sys.executable, "-c", FAULTS, how]
        return int(subprocess.run(command, env=plain, capture_output=True, text=True, check=True).stdout)

    faults = [count(how) for how in ("given back", "kept")]
    if faults[1] < 0:
        pytest.skip("this C library has no mallopt")
    assert faults[1] * 10 < faults[0]
