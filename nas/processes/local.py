"""Several training processes on one CPU, without a launcher.

On a CPU, n processes of one thread each are quicker than one process of n threads: small networks give threads little
to share, and where something else runs on a core, threads that wait for each other lose a hundred times more than they
win (measured: 0.3 s a step with one thread, 50 s with two, beside one busy process).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from nas.processes.distributed import chosen_device, is_launched
from nas.processes.interruption import noticing_interruption
from nas.processes.memory import keep_freed_memory
from search_spaces import InputError

__all__ = ["run_on_processes", "wants_processes"]

END_S = 60.0
"""So long processes have to save their state when they are stopped."""


class _Training(Protocol):
    @property
    def processes(self) -> int: ...

    @property
    def device(self) -> str: ...


def wants_processes(config: _Training) -> bool:
    """Whether the configuration asks for processes that nobody has started yet.

    Raises:
        InputError: it does, and it computes on a GPU, where only a launcher can start them.
    """
    if config.processes == 1 or is_launched():
        return False
    device = chosen_device(config.device)
    if device.type != "cpu":
        raise InputError(
            f"processes: {config.processes} are wanted, and on a GPU ({device}) torchrun starts them: torchrun "
            f"--nproc-per-node {config.processes} -m nas …; or set processes to 1, or device to cpu"
        )
    return True


def run_on_processes(
    count: int,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    progress: Callable[[float, float, float], None] | None,
) -> Any:
    """Call ``function(*arguments, progress=…)`` in ``count`` processes that find each other over loopback.

    Returns:
        What the first process returned.

    Raises:
        Exception: what a process raised; the others are stopped then.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the processes were told, and have saved their state.
        RuntimeError: a process died without a word (killed for its memory, say).
    """
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    port = _free_port()
    processes = [
        context.Process(target=_child, args=(rank, count, port, messages, function, arguments), daemon=True)
        for rank in range(count)
    ]
    with noticing_interruption() as interruption:
        for process in processes:
            process.start()
        try:
            while True:
                if interruption.requested:
                    raise KeyboardInterrupt
                kind, value = _next(messages, processes)
                if kind == "progress" and progress:
                    progress(*value)
                elif kind == "interrupted":
                    _join(processes)  # they save together; another signal would break that off
                    raise KeyboardInterrupt
                elif kind == "result":
                    return value
                elif kind == "error":
                    raise value
        finally:
            _end(processes)


def _next(messages: Any, processes: Sequence[BaseProcess]) -> tuple[str, Any]:
    """The next message, or ("wait", None) after half a second without one."""
    running = any(process.is_alive() for process in processes)
    try:
        return messages.get(timeout=0.5)
    except queue.Empty:
        for process in processes:
            if process.exitcode or not running:
                raise RuntimeError(f"a training process ended with code {process.exitcode}") from None
        return "wait", None


def _end(processes: Sequence[BaseProcess]) -> None:
    """Let the processes save and leave; end those that do not."""
    for process in processes:
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, signal.SIGTERM)
    _join(processes)
    for process in processes:
        if process.is_alive():
            process.kill()


def _join(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.join(END_S)


def _child(
    rank: int, count: int, port: int, messages: Any, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    # A terminal sends Ctrl-C to all of us. The parent passes it on as SIGTERM: two signals would mean "at once".
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    import torch

    torch.set_num_threads(1)
    keep_freed_memory()

    def progress(fraction: float, loss: float, seconds_left: float) -> None:
        messages.put(("progress", (fraction, loss, seconds_left)))

    try:
        result = function(*arguments, progress=progress if rank == 0 else None)
    except KeyboardInterrupt:
        messages.put(("interrupted", None))  # what was to be saved is saved
        raise SystemExit(0) from None
    except Exception as error:
        logging.getLogger(__name__).debug("process %d", rank, exc_info=True)
        messages.put(("error", error))
        raise SystemExit(0) from None
    if rank == 0:
        messages.put(("result", result))


def _follow_parent() -> None:
    """A parent that was killed cannot tell its processes to stop: they would train on, unseen, and hold the folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
