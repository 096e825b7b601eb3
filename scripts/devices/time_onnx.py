#!/usr/bin/env python3
"""Time ONNX files with onnxruntime on the machine that this runs on; needs onnxruntime and numpy alone.

    vipnas latency rtmpose-t --runtime command --command "python3 scripts/devices/time_onnx.py {onnx_files}"

Copied to a board (raspberry_pi.sh does it), it is the part that runs there. It prints what vipnas reads, as JSON on
stdout: the device's name (--name, else the board's or the processor's), and for each file the milliseconds of every
pass. The passes of all files are interleaved, so that a board that grows hot and slow does not decide which is faster.
With one thread on a CPU the time of the process counts, not the waiting for a core; else the time of the wall.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

MIN_PASS_MS = 5.0
"""A faster network is run several times a pass until it lasts this long."""
WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", metavar="FILE.onnx", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15, help="passes of each file")
    parser.add_argument("--provider", default="CPUExecutionProvider", help="onnxruntime's execution provider")
    parser.add_argument("--name", help="the device's name, in place of the one that the machine has")
    arguments = parser.parse_args()
    if arguments.provider not in onnxruntime.get_available_providers():
        parser.error(f"{arguments.provider}: this onnxruntime has {', '.join(onnxruntime.get_available_providers())}")
    is_cpu_time = arguments.threads == 1 and arguments.provider == "CPUExecutionProvider"
    clock = time.process_time if is_cpu_time else time.perf_counter
    runs = [load(path, arguments.threads, arguments.provider) for path in arguments.files]
    repeats = [warm_up(run, clock) for run in runs]
    passes: list[list[float]] = [[] for _ in runs]
    for _ in range(arguments.rounds):
        for run, count, found in zip(runs, repeats, passes):  # noqa: B905 - boards have Python 3.9, without strict
            found.append(milliseconds(run, count, clock))
    name = f"{arguments.name or machine_name()}, onnxruntime {onnxruntime.__version__} {arguments.provider}"
    by_file = {path.name: found for path, found in zip(arguments.files, passes)}  # noqa: B905
    print(json.dumps({"fingerprint": name, **by_file}))


def load(path: Path, threads: int, provider: str) -> Callable[[], Any]:
    """A session with random inputs bound."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    random = np.random.default_rng(0)
    feeds = {
        one.name: random.random([side if isinstance(side, int) else 1 for side in one.shape], dtype=np.float32)
        for one in session.get_inputs()
    }
    return lambda: session.run(None, feeds)


def warm_up(run: Callable[[], Any], clock: Callable[[], float]) -> int:
    """How many runs a pass takes."""
    for _ in range(WARM_UP):
        run()
    return max(1, math.ceil(MIN_PASS_MS / max(milliseconds(run, 1, clock), 1e-3)))


def milliseconds(run: Callable[[], Any], count: int, clock: Callable[[], float]) -> float:
    """Of one run, as the mean of ``count``."""
    start = clock()
    for _ in range(count):
        run()
    return 1e3 * (clock() - start) / count


def machine_name() -> str:
    """The board's name, as boards with a device tree have it, else the processor's."""
    try:
        return Path("/proc/device-tree/model").read_text(encoding="utf-8").strip("\0\n ")
    except OSError:
        pass
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
