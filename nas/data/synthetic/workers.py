"""Several processes that draw at once.

They are plain interpreters that read tasks from a pipe, not :mod:`multiprocessing` workers: those import the caller's
main module again, which fails from a notebook or standard input and in scripts without a ``__main__`` guard, and costs
the caller's imports once more. A worker whose parent is killed reads the end of its pipe and ends too.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

import cv2

from .labels import PersonLabel
from .writer import Task, make

__all__ = ["make_all", "serve"]

Labels = list[list[PersonLabel]]
_CODE = "from nas.data.synthetic.workers import serve; serve()"


def make_all(tasks: list[Task], workers: int) -> Iterator[tuple[int, Labels]]:
    """Do all ``tasks``, yielding (place, labels) in the order in which they are finished.

    Raises:
        OSError: an image could not be written.
        RuntimeError: a worker process died.
    """
    if workers == 1:
        for place, task in enumerate(tasks):
            yield place, make(task)
        return
    waiting: SimpleQueue[tuple[int, Task]] = SimpleQueue()
    for place, task in enumerate(tasks):
        waiting.put((place, task))
    done: SimpleQueue[tuple[int, Labels | BaseException]] = SimpleQueue()
    processes = [_start() for _ in range(workers)]
    try:
        for process in processes:
            threading.Thread(target=_feed, args=(process, waiting, done), daemon=True).start()
        for _ in tasks:
            place, result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield place, result
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start() -> subprocess.Popen[bytes]:
    package_parent = str(Path(__file__).resolve().parents[3])
    paths = [package_parent, os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return subprocess.Popen(
        [sys.executable, "-c", _CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )


def _feed(
    process: subprocess.Popen[bytes],
    waiting: SimpleQueue[tuple[int, Task]],
    done: SimpleQueue[tuple[int, Labels | BaseException]],
) -> None:
    """Hand one task after the other to ``process`` until none is waiting."""
    assert process.stdin is not None
    assert process.stdout is not None
    while True:
        try:
            place, task = waiting.get_nowait()
        except Empty:
            return
        try:
            pickle.dump(task, process.stdin)
            process.stdin.flush()
            done.put((place, pickle.load(process.stdout)))
        except (OSError, ValueError, EOFError, pickle.UnpicklingError):
            done.put((place, RuntimeError("synthetic: a drawing process ended before its work was done")))
            return


def serve() -> None:
    """In a worker: read tasks from standard input, write their labels (or the exception) to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's affair
    cv2.setNumThreads(1)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    while True:
        try:
            task = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        result: Labels | BaseException
        try:
            result = make(task)
        except Exception as error:
            result = error
        try:
            pickle.dump(result, answers)
            answers.flush()
        except BrokenPipeError:  # the parent is gone
            return
