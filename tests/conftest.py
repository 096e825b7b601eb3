"""One thread a process, the same examples on every run, and a Ray that looks at no network."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported anywhere: two workers of two threads each are five times slower than two of one.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("vipnas", derandomize=True, deadline=None, database=None)
settings.load_profile("vipnas")


# A shell starts what runs in its background deaf to Ctrl-C, and programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def quiet_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The environment in which a local Ray touches the loopback only; yields its home folder.

    Ray asks the network for a cluster's description unless one lies in the home folder, so the home is a temporary one
    with an empty description. Its path is short: Ray's sockets lie there, and their paths may have 107 bytes.
    """
    home = Path(tempfile.mkdtemp(prefix="vipnas-ray-"))
    (home / "ray_bootstrap_config.yaml").write_text("{}\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    yield home
    import ray

    ray.shutdown()
    shutil.rmtree(home, ignore_errors=True)
