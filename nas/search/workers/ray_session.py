"""A Ray to work in: a local one of our own that touches nothing but the loopback, or a cluster that is there."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from nas.run.stopped import Stopped
from search_spaces.errors import InputError

__all__ = ["LATENCY_SLOT", "ONE_THREAD", "RaySession", "check_address", "environment"]

LATENCY_SLOT = "latency_slot"
CONNECT_S = 10.0
STARTS = 3
SLOW_START = "timed out during startup"
"""What Ray says, by no class of its own, when its processes take more than 30 s: on a machine that is very busy."""
OBJECT_STORE_BYTES = 200 * 1024 * 1024
LONGEST_TEMPORARY = 38
"""Bytes of a temporary folder's path below which Ray's sockets can lie: ``ray/session_DATE_TIME_MICROSECONDS_PID/
sockets/plasma_store`` follows it, and the kernel takes 107 in all (103 on macOS)."""
SHORT_ROOTS = ("/tmp", "/var/tmp", "/dev/shm")

# What keeps a worker on one thread: two workers of two threads are five times slower than two of one.
ONE_THREAD: Mapping[str, str] = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class RaySession:
    """Connects to Ray, and takes down what it has started, nothing else.

    Args:
        address: None starts a Ray on this machine, of this process alone; ``auto`` or HOST:PORT joins a cluster. A Ray
            that this process already uses is used in any case.
        cpus: CPUs of a local Ray.

    Raises:
        InputError: no cluster answers at ``address``; or a local Ray finds no folder for its sockets.
        Stopped: a local Ray does not answer in time.
    """

    _local_is_running: ClassVar[bool] = False

    def __init__(self, address: str | None = None, *, cpus: int = 1) -> None:
        self._owned = False
        with _loopback_only() if address is None else contextlib.nullcontext():
            import ray  # some of the variables are read when it is imported

            if ray.is_initialized():
                return
            common: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
            if address is None:
                _start_local(cpus, common)
                RaySession._local_is_running = True
            else:
                check_address(address)
                try:
                    ray.init(address=address, **common)
                except (ConnectionError, ValueError) as error:
                    raise InputError(f"ray address {address!r}: no cluster answers: {error}") from error
        self._owned = True

    @property
    def is_local(self) -> bool:
        """Whether all workers are on this machine, and see its files."""
        return RaySession._local_is_running

    def close(self) -> None:
        """Ends a Ray that this session started; leaves a cluster or somebody else's Ray running."""
        if self._owned:
            import ray

            ray.shutdown()
            self._owned = RaySession._local_is_running = False

    def __enter__(self) -> RaySession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _start_local(cpus: int, options: Mapping[str, Any]) -> None:
    """Start a Ray on this machine.

    Raises:
        Stopped: it does not answer in time, however often it is started; what was started is ended.
    """
    import ray

    for _ in range(STARTS):
        try:
            # "local": the file that an unclean end leaves behind makes a plain init look for a dead cluster.
            ray.init(
                address="local",
                _temp_dir=_short_folder(),
                num_cpus=cpus,
                resources={LATENCY_SLOT: 1},
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **options,
            )
            return
        except Exception as error:
            if SLOW_START not in str(error):
                raise
            ray.shutdown()
            failure = error
    raise Stopped(
        "Ray does not start in time on this machine, which is busy or has little memory left: try again (a search goes "
        "on with --resume), or search without Ray (--search.workers 0)"
    ) from failure


def check_address(address: str) -> None:
    """Raises InputError if nobody listens at HOST:PORT. Ray itself tries for minutes, then leaves by SystemExit."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"ray address {address!r}: no cluster answers there: {error}") from None


def _loopback_only() -> contextlib.AbstractContextManager[None]:
    """The environment in which a local Ray asks the network nothing; its processes inherit it."""
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    return environment({"HOME": _quiet_home(), **quiet, **ONE_THREAD})


@contextlib.contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Variables that are set within, and put back after."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _short_folder() -> str | None:
    """Where a local Ray keeps its session: None for its own choice, or a short path where that is too long.

    Batch systems give each job a temporary folder of its own, whose path is often too long for a socket's.
    """
    chosen = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    if len(os.fsencode(chosen)) <= LONGEST_TEMPORARY:
        return None
    return _session_folder(chosen)


@functools.cache
def _session_folder(chosen: str) -> str:
    """One for all sessions of a process; removed when it ends, after Ray itself."""
    for root in SHORT_ROOTS:
        with contextlib.suppress(OSError):
            folder = tempfile.mkdtemp(prefix="vipnas-", dir=root)
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            return folder
    raise InputError(
        f"TMPDIR: its path has {len(os.fsencode(chosen))} bytes, Ray's sockets can lie below {LONGEST_TEMPORARY} at "
        f"most, and {', '.join(SHORT_ROOTS)} cannot be written; set RAY_TMPDIR to a shorter folder ({chosen})"
    )


@functools.cache
def _quiet_home() -> str:
    """A home folder with an empty description of a cluster: without one Ray asks the network for a cloud's.

    One for all sessions of a process: Ray keeps the token there by which its processes know each other, and reads it
    once. It is removed when the process ends, after Ray itself.
    """
    home = tempfile.mkdtemp(prefix="vipnas-ray-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    (Path(home) / "ray_bootstrap_config.yaml").write_text("{}\n", encoding="utf-8")
    return home
