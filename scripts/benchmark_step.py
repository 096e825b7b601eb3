"""One step of a supernet's training, now and in another version of this repository: CPU time, and what a GPU launches.

    git worktree add ../before COMMIT
    python scripts/benchmark_step.py ../before --space resnet --batch 4

Each round runs both versions, one after the other, each in a process of its own on one core; the medians of the rounds
and the range of their ratios are printed. A step here is forward and backward passes of the smallest and two random
subnets, and of the largest in every other step; the optimizer and the data are the same in both and left out. The
launches are those of tests/other_device.py, a device that counts them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parents[1]
PROGRAM = """
import json, os, sys, time
space_name, batch, steps, counts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "count"
if counts:
    sys.path.insert(0, sys.argv[5])
    import other_device
import numpy as np, torch
from search_spaces import get_space
from supernet import Supernet
torch.set_num_threads(1)
space = get_space(space_name)
supernet = Supernet(space, generator=torch.Generator().manual_seed(0)).train()
images = torch.randn(batch, 3, *space.input_size).to(memory_format=torch.channels_last)
if counts:
    supernet, images = supernet.to(other_device.OTHER), images.to(other_device.OTHER)
    if hasattr(supernet, "stack_storage"):  # as a training does on a GPU
        supernet.stack_storage()
rng, found = np.random.default_rng(0), []
for step in range(steps):
    subnets = [space.smallest(), space.sample(rng), space.sample(rng)]
    subnets = [space.largest(), *subnets] if step % 2 == 0 else subnets
    if counts:
        other_device.reset()
    began = time.process_time()
    supernet.zero_grad(set_to_none=True)
    for subnet in subnets:
        supernet(images, subnet).square().mean().backward()
    found.append(other_device.launches.total() if counts else time.process_time() - began)
print(json.dumps({"with the largest": found[2::2], "without": found[3::2]}), flush=True)
os._exit(0)  # the counting device has no orderly end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="the root of the other version")
    parser.add_argument("--space", default="resnet-nano")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.steps < 4 or arguments.rounds < 1:
        parser.error("--steps: 4 at least, of which the first two are not counted; --rounds: 1 at least")
    versions = {"before": arguments.before.resolve(), "now": HERE}
    times: dict[str, dict[str, list[float]]] = {name: {} for name in versions}
    for _ in range(arguments.rounds):
        for name, folder in versions.items():
            for kind, values in run(folder, arguments.space, arguments.batch, arguments.steps, "time").items():
                times[name].setdefault(kind, []).append(median(values))
    for kind in times["now"]:
        before, now = times["before"][kind], times["now"][kind]
        ratios = sorted(after / first for first, after in zip(before, now, strict=True))
        print(
            f"{arguments.space}, {kind}: {1e3 * median(before):.0f} → {1e3 * median(now):.0f} ms, "
            f"× {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    for kind, [before_count, now_count] in launches(versions, arguments.space).items():
        print(f"{arguments.space}, {kind}: {before_count} → {now_count} launches")


def launches(versions: dict[str, Path], space: str) -> dict[str, tuple[int, int]]:
    found = [run(folder, space, 1, 4, "count") for folder in versions.values()]
    return {kind: (int(found[0][kind][0]), int(found[1][kind][0])) for kind in found[0]}


def run(folder: Path, space: str, batch: int, steps: int, what: str) -> dict[str, list[float]]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", PROGRAM, space, str(batch), str(steps), what, str(HERE / "tests")]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
